// One request that a person starts: a button, its progress, a way to cancel it, and what came of it.

import { failure } from "./content.js";
import { button, h } from "./dom.js";
import { Invalid } from "./controls.js";
import { t } from "./texts.js";

/**
 * Returns the button and what it leads to.
 * @param {string} text of the button.
 * @param {function({signal: AbortSignal, onProgress: function}): Promise<Node>} start returns what is shown in the end.
 * @param {string} look of the button.
 */
export function running(text, start, look = "primary") {
  const bar = h("progress", { max: 1, "aria-label": t("Progress") });
  const told = h("span.hint", { role: "status" });
  const progress = h("p.progress", { hidden: true }, bar);
  const result = h("div.outcome");
  let ends = null;

  const onProgress = ({ progress: done, total, message }) => {
    if (total > 0) {
      bar.max = total;
      bar.value = Math.min(done, total);
    } else bar.removeAttribute("value");
    told.textContent = [total > 0 ? `${done} / ${total}` : String(done), message ?? ""].join(" ").trim();
  };
  const run = async () => {
    ends = new AbortController();
    begin.disabled = true;
    cancel.hidden = false;
    progress.hidden = false;
    bar.removeAttribute("value");
    told.textContent = t("Running …");
    result.replaceChildren();
    const began = performance.now();
    try {
      const shown = await start({ signal: ends.signal, onProgress });
      const seconds = ((performance.now() - began) / 1000).toFixed(2);
      told.textContent = t("Done in {seconds} s", { seconds });
      result.replaceChildren(shown);
    } catch (error) {
      told.textContent = "";
      // What is wrong with a form, the form says itself.
      result.replaceChildren(...(error instanceof Invalid ? [] : [failure(error)]));
    } finally {
      begin.disabled = false;
      cancel.hidden = true;
      progress.hidden = true;
    }
  };
  const begin = button(text, run, { class: look });
  const cancel = button(t("Cancel"), () => ends?.abort(), { hidden: true });
  return h("div.running", {}, h("div.actions", {}, begin, cancel, told), progress, result);
}
