// A list beside what is shown of the chosen item; a filter finds items in long lists.

import { button, fault, h } from "./dom.js";
import { t } from "./texts.js";

const MOST_SHOWN = 200;

export class Choosing {
  #items = [];
  #views = new Map();
  #chosen = null;
  #reads = 0;

  /**
   * @param {HTMLElement} place
   * @param {object} how `load()` gives the items, `key(item)` what tells them apart and names them, `view(item)` what is
   *   shown of one, `name` what they are called.
   */
  constructor(place, how) {
    this.how = how;
    this.filter = h("input", { type: "search", "aria-label": t("Filter"), placeholder: t("Filter"), oninput: () => this.#list() });
    this.list = h("ul.items", { "aria-label": how.name });
    this.status = h("p.hint", { role: "status" });
    this.detail = h("div.detail");
    const refresh = button(t("Refresh"), () => this.load(), { class: "small" });
    place.append(
      h("div.choosing", {}, h("div.choices", {}, h("div.actions", {}, this.filter, refresh), this.status, this.list), this.detail),
    );
  }

  /** Reads the list; the chosen item stays the chosen one as long as it is there. */
  async load() {
    this.#reads += 1;
    const read = this.#reads;
    this.status.textContent = t("Reading …");
    let items = [], failed = null;
    try {
      items = await this.how.load();
    } catch (error) {
      failed = error;
    }
    if (read !== this.#reads) return; // it is being read anew
    this.#items = items;
    const said = new Map(items.map((item) => [this.how.key(item), JSON.stringify(item)]));
    for (const [key, view] of this.#views) if (said.get(key) !== view.said) this.#views.delete(key);
    this.#show(items.find((item) => this.how.key(item) === this.#chosen) ?? null);
    this.#list();
    if (failed) this.status.replaceChildren(fault(failed.message));
  }

  /** Forgets everything. */
  clear() {
    this.#reads += 1;
    this.#items = [];
    this.#views.clear();
    this.#show(null);
    this.list.replaceChildren();
    this.status.replaceChildren();
  }

  #list() {
    const wanted = this.filter.value.toLowerCase();
    const found = this.#items.filter((item) => this.how.key(item).toLowerCase().includes(wanted));
    const shown = found.slice(0, MOST_SHOWN);
    this.list.replaceChildren(...shown.map((item) => h("li", {}, button(this.how.key(item), () => this.#show(item)))));
    this.#mark();
    this.status.textContent = shown.length < found.length
      ? t("{shown} of {count}; the filter finds the others", { shown: shown.length, count: found.length })
      : t("{count} in all", { count: found.length });
  }

  #show(item) {
    this.#chosen = item && this.how.key(item);
    // A view is kept, so that a call that goes on is found again.
    if (item && !this.#views.has(this.#chosen)) {
      this.#views.set(this.#chosen, { said: JSON.stringify(item), view: this.how.view(item) });
    }
    const view = item ? this.#views.get(this.#chosen).view : h("p.hint.nothing", {}, t("Choose one from the list."));
    if (this.detail.firstChild !== view) this.detail.replaceChildren(view);
    this.#mark();
  }

  #mark() {
    for (const { firstChild: each } of this.list.children) {
      if (each.textContent === this.#chosen) each.setAttribute("aria-current", "true");
      else each.removeAttribute("aria-current");
    }
  }
}
