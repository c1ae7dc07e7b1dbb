// The fields of an object, which may have lists and objects in them; each is made when it is shown.

import { Invalid, choice, choices, json, number, text } from "./controls.js";
import { button, fresh, h, labelOf } from "./dom.js";
import { shape } from "./schema.js";
import { t } from "./texts.js";

const DEEPEST = 6;

/** The fields of one object. */
export class Fields {
  #fields;
  #beside = {};

  /**
   * @param {object} schema of an object.
   * @param {object} root the whole schema, to which references lead.
   * @param {number} depth how many objects and lists it is in.
   */
  constructor(schema, root, depth = 0) {
    const required = new Set(Array.isArray(schema.required) ? schema.required : []);
    this.#fields = Object.entries(schema.properties ?? {}).map(
      ([name, property]) => new Field(name, shape(property, root), root, required.has(name), depth),
    );
    this.element = h("div.fields", {}, this.#fields.map((each) => each.element));
    if (!this.#fields.length) this.element.append(h("p.hint", {}, t("There is nothing to fill in.")));
  }

  /**
   * Returns the object.
   * @throws {Invalid} It is not complete; the fields say where.
   */
  value() {
    const { found, wrong } = this.soFar();
    if (wrong.length) throw new Invalid(t("Some of this is not right yet."));
    return found;
  }

  /** Returns the object as far as it is right, and the fields that are wrong. */
  soFar() {
    const found = { ...this.#beside };
    return { found, wrong: this.#fields.filter((each) => !each.put(found)) };
  }

  /** Leads to the first field that is wrong. */
  focus() {
    (this.soFar().wrong[0] ?? this.#fields[0])?.focus();
  }

  /** Shows an object; of what no field is for, `value` gives it back. */
  set(value) {
    const given = value !== null && typeof value === "object" ? value : {};
    const names = new Set(this.#fields.map((each) => each.name));
    this.#beside = Object.fromEntries(Object.entries(given).filter(([name]) => !names.has(name)));
    for (const each of this.#fields) each.write(given[each.name]);
  }
}

/** Returns the control of a value, as `controls.js` describes them; those of several parts have `focus`, too. */
function control(found, root, required, depth) {
  const { kind, schema } = found;
  if (kind === "text") return text(schema, required);
  if (kind === "number" || kind === "integer") return number(schema, kind === "integer", required);
  if (kind === "boolean") return choice([[true, t("Yes")], [false, t("No")]], required);
  if (kind === "choice") return choice(found.choices, required);
  if (kind === "choices") return choices(found.choices, required);
  if (kind === "json" || depth >= DEEPEST) return json(required);
  return kind === "list" ? list(schema.items, root, required, depth + 1) : object(schema, root, required, depth + 1);
}

function list(items, root, required, depth) {
  const rows = h("div.rows");
  let parts = [];
  const add = (value) => {
    const part = control(shape(items, root), root, true, depth);
    part.labelled.setAttribute("aria-label", t("Item {number}", { number: parts.length + 1 }));
    if (value !== undefined) part.write(value);
    const remove = () => {
      parts = parts.filter((each) => each !== part);
      row.remove();
      more.focus();
    };
    const row = h("div.row", {}, part.element, button(t("Remove"), remove, { class: "small" }));
    parts.push(part);
    rows.append(row);
    return part;
  };
  const more = button(t("Add an item"), () => toPart(add()), { class: "small" });
  const group = h("div", { role: "group" }, rows, more);
  const read = () => (parts.length || required ? parts.map((part) => part.read()) : undefined);
  const write = (values) => {
    parts = [];
    rows.replaceChildren();
    if (Array.isArray(values)) values.forEach((value) => add(value));
  };
  const focus = () => toPart(parts.find(isWrong) ?? { labelled: more });
  return { element: group, labelled: group, read, write, focus };
}

function object(schema, root, required, depth) {
  const inside = h("div.inside");
  const box = h("input", { type: "checkbox", id: fresh("given"), onchange: () => give(box.checked) });
  const given = required ? null : h("div.box", {}, box, " ", h("label", { for: box.id }, t("Given")));
  const group = h("div", { role: "group" }, given, inside);
  let fields = null;
  const give = (is) => {
    box.checked = is;
    fields = is ? new Fields(schema, root, depth) : null;
    inside.replaceChildren(...(fields ? [fields.element] : []));
  };
  give(required);
  const read = () => fields?.value();
  const write = (value) => {
    give(required || (value !== undefined && value !== null));
    fields?.set(value);
  };
  return { element: group, labelled: group, read, write, focus: () => fields?.focus() };
}

function toPart(part) {
  if (part.focus) part.focus();
  else part.labelled.focus();
}

function isWrong(part) {
  try {
    part.read();
    return false;
  } catch (error) {
    if (!(error instanceof Invalid)) throw error;
    return true;
  }
}

/** One property: its name, its control, and what is to be said of it. */
class Field {
  #nullable;

  constructor(name, found, root, required, depth) {
    const { schema, nullable } = found;
    this.name = name;
    this.#nullable = required && nullable;
    this.control = control(found, root, required && !nullable, depth);
    const { labelled } = this.control;
    const title = sounds(schema.title) === sounds(name) ? "" : schema.title; // many are made of the name
    const told = labelOf(name, required);
    labelled.id ||= fresh("argument");
    const grouped = labelled.getAttribute("role") === "group";
    const label = grouped ? h("div.label", { id: `${labelled.id}-label` }, told) : h("label", { for: labelled.id }, told);
    if (grouped) labelled.setAttribute("aria-labelledby", `${labelled.id}-label`);
    this.wrong = h("span.wrong");
    const hints = [title, schema.description, ...bounds(schema)].filter((each) => typeof each === "string" && each);
    const hint = h("div.hint", { id: `${labelled.id}-hint` }, this.wrong, hints.join(" · "));
    labelled.setAttribute("aria-describedby", hint.id);
    this.element = h("div.field", {}, label, this.control.element, hint);
    // A default of null is what happens when nothing is given, too.
    if (schema.default !== undefined && schema.default !== null) this.control.write(schema.default);
  }

  focus() {
    toPart(this.control);
  }

  write(value) {
    this.control.write(value);
  }

  /** Puts the value into an object, and tells whether that was possible. */
  put(found) {
    const { labelled } = this.control;
    this.wrong.textContent = "";
    labelled.removeAttribute("aria-invalid");
    try {
      const value = this.control.read() ?? (this.#nullable ? null : undefined);
      if (value !== undefined) found[this.name] = value;
      return true;
    } catch (error) {
      if (!(error instanceof Invalid)) throw error;
      this.wrong.textContent = `${error.message} `;
      labelled.setAttribute("aria-invalid", "true");
      return false;
    }
  }
}

function sounds(name) {
  return String(name).toLowerCase().replace(/[\s_-]/g, "");
}

function bounds({ minimum, maximum, minLength, maxLength, pattern, format }) {
  return [
    minimum !== undefined ? t("at least {number}", { number: minimum }) : "",
    maximum !== undefined ? t("at most {number}", { number: maximum }) : "",
    minLength > 0 ? t("at least {number} characters", { number: minLength }) : "",
    maxLength !== undefined ? t("at most {number} characters", { number: maxLength }) : "",
    pattern ? t("pattern: {pattern}", { pattern }) : "",
    typeof format === "string" ? format : "",
  ];
}
