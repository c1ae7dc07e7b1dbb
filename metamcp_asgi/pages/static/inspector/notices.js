// What servers say by themselves: changes of lists and resources, log messages.

import { block, button, h } from "./dom.js";
import { pretty } from "./json.js";
import { t } from "./texts.js";

const MOST = 500;
const SILENT = ["notifications/progress", "notifications/subscriptions/acknowledged"]; // shown where they belong

export class Notices {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.list = h("ol.messages", { "aria-label": t("Notifications, the newest first"), "aria-live": "polite" });
    this.none = h("p.hint", {}, t("None yet."));
    this.filter = h("input", { type: "search", "aria-label": t("Filter"), placeholder: t("Filter"), oninput: () => this.#show() });
    place.append(
      h("div.actions", {}, this.filter, button(t("Clear"), () => this.clear(), { class: "small" })),
      this.none,
      this.list,
    );
  }

  clear() {
    this.list.replaceChildren();
    this.none.hidden = false;
  }

  put({ method, params = {} }) {
    if (SILENT.includes(method)) return;
    const log = method === "notifications/message";
    const text = log ? shortly(params.data) : params.uri ?? "";
    this.add(log ? `${params.level ?? ""} ${params.logger ?? ""}`.trim() : method.replace("notifications/", ""), String(text), params);
  }

  /** Shows a text under a title. */
  add(title, text, params = null) {
    const row = h(
      "li",
      {},
      h("code", {}, title), " ", h("span.said", {}, text), " ",
      h("span.hint", {}, new Date().toLocaleTimeString()),
      params ? h("details", {}, h("summary", {}, t("Details")), block(pretty(params))) : null,
    );
    this.none.hidden = true;
    this.list.prepend(row);
    while (this.list.children.length > MOST) this.list.lastChild.remove();
    this.#show();
  }

  #show() {
    const wanted = this.filter.value.toLowerCase();
    for (const row of this.list.children) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  }
}

function shortly(data) {
  const text = typeof data === "string" ? data : JSON.stringify(data) ?? "";
  return text.length > 500 ? `${text.slice(0, 500)}…` : text;
}
