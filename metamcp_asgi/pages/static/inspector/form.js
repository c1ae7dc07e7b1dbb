// A form for what a JSON Schema describes, field by field or all of it as JSON.

import { Invalid, json } from "./controls.js";
import { button, h } from "./dom.js";
import { Fields } from "./fields.js";
import { resolved } from "./schema.js";
import { t } from "./texts.js";

export class Form {
  #fields;
  #raw = json(true, 8);
  #asJSON = false;

  /** @param {object} schema of an object. */
  constructor(schema) {
    const root = schema ?? {};
    this.#fields = new Fields(resolved(root, root) ?? {}, root);
    this.#raw.element.setAttribute("aria-label", t("All of it as JSON"));
    this.whole = h("div.field", { hidden: true }, this.#raw.element);
    this.toggle = button(t("Edit as JSON"), () => this.#switch(), { class: "small", "aria-pressed": "false" });
    this.fault = h("p.wrong", { role: "alert" });
    this.element = h("div.form", {}, this.#fields.element, this.whole, this.fault, this.toggle);
  }

  /**
   * Returns the value.
   * @throws {Invalid} It is not complete; the form says where, and leads there.
   */
  value() {
    this.fault.textContent = "";
    if (!this.#asJSON) {
      try {
        return this.#fields.value();
      } catch (error) {
        this.#fields.focus();
        throw error;
      }
    }
    try {
      const value = this.#raw.read();
      if (value === null || typeof value !== "object" || Array.isArray(value)) {
        throw new Invalid(t("An object is needed here: {example}", { example: '{"name": "value"}' }));
      }
      return value;
    } catch (error) {
      this.fault.textContent = error.message;
      this.#raw.element.focus();
      throw error;
    }
  }

  #switch() {
    if (this.#asJSON) {
      try {
        this.#fields.set(this.value());
      } catch (error) {
        if (!(error instanceof Invalid)) throw error;
        return; // the form says what is wrong
      }
    } else this.#raw.write(this.#fields.soFar().found);
    this.#asJSON = !this.#asJSON;
    this.#fields.element.hidden = this.#asJSON;
    this.whole.hidden = !this.#asJSON;
    this.toggle.setAttribute("aria-pressed", String(this.#asJSON));
    this.fault.textContent = "";
  }
}
