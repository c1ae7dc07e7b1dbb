// Suggestions for an argument while it is written (completion/complete). A help that may be missing: what fails here is
// only seen in the history.

import { fresh, h } from "./dom.js";

const KNOWS_CONTEXT = "2025-06-18";

/**
 * Lets a field suggest values.
 * @param {HTMLInputElement} input
 * @param {Session} session
 * @param {object} ref what the argument belongs to.
 * @param {string} name of the argument.
 * @param {function(): object} others gives the values of the others.
 * @returns {?HTMLElement} the list of them, which belongs into the page; `null` if the server makes none.
 */
export function completing(input, session, ref, name, others) {
  if (!session.server.capabilities?.completions) return null;
  const list = h("datalist", { id: fresh("suggestions") });
  input.setAttribute("list", list.id);
  let asking = false;
  let asked = null;
  const ask = async () => {
    const context = session.revision < KNOWS_CONTEXT ? {} : { context: { arguments: others() } };
    const { completion } = await session.request("completion/complete", { ref, argument: { name, value: asked }, ...context });
    list.replaceChildren(...completion.values.map((value) => h("option", { value })));
  };
  const complete = async () => {
    if (asking) return; // one at a time; it goes on with what is written by then
    asking = true;
    try {
      while (asked !== input.value) {
        asked = input.value;
        await ask();
      }
    } catch {
      list.replaceChildren();
    } finally {
      asking = false;
    }
  };
  input.addEventListener("input", complete);
  input.addEventListener("focus", complete);
  return list;
}
