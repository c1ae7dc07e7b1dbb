// Controls of simple values, each with its `element`, what of it is `labelled`, and `read`, which gives the value, or
// `undefined` for none, or throws `Invalid`, and `write`.

import { fresh, h } from "./dom.js";
import { pretty } from "./json.js";
import { t } from "./texts.js";

/** A value that cannot be what the schema asks for. */
export class Invalid extends Error {}

/** Returns the control of a text. */
export function text({ format, maxLength, contentMediaType }, required) {
  const type = { date: "date", email: "email", uri: "url" }[format];
  const long = !type && !format && (contentMediaType || !(maxLength <= 100));
  const input = long ? h("textarea.line", { rows: 1 }) : h("input", { type: type ?? "text", autocomplete: "off" });
  return {
    element: input,
    labelled: input,
    // Of an optional text, an empty one and none look the same; none is what is meant.
    read: () => (input.value === "" && !required ? undefined : input.value),
    write: (value) => { input.value = value === undefined || value === null ? "" : String(value); },
  };
}

/** Returns the control of a number, which may have to be a whole one. */
export function number({ minimum, maximum }, whole, required) {
  const input = h("input", {
    type: "number",
    step: whole ? 1 : "any",
    min: minimum,
    max: maximum,
    autocomplete: "off",
    inputmode: whole ? "numeric" : "decimal",
  });
  const read = () => {
    if (input.validity.badInput) throw new Invalid(t("This is not a number."));
    if (input.value === "") {
      if (required) throw new Invalid(t("A number is needed here."));
      return undefined;
    }
    const value = Number(input.value);
    if (whole && !Number.isInteger(value)) throw new Invalid(t("A whole number is needed here."));
    if (whole && !Number.isSafeInteger(value)) throw new Invalid(t("This number is too large for a browser."));
    return value;
  };
  return { element: input, labelled: input, read, write: (value) => { input.value = value ?? ""; } };
}

/** Returns the control of one of several values, pairs of value and name. */
export function choice(pairs, required) {
  const options = pairs.map(([, name], index) => h("option", { value: index }, name));
  const select = h("select", {}, h("option", { value: "" }, required ? t("Choose") : t("Not given")), ...options);
  const read = () => {
    if (select.value === "" && required) throw new Invalid(t("Choose one of these."));
    return select.value === "" ? undefined : pairs[Number(select.value)][0];
  };
  const write = (value) => {
    const index = pairs.findIndex(([each]) => same(each, value));
    select.value = index < 0 ? "" : String(index);
  };
  return { element: select, labelled: select, read, write };
}

/** Returns the control of any of several values, pairs of value and name. */
export function choices(pairs, required) {
  const boxes = pairs.map(() => h("input", { type: "checkbox", id: fresh("choice") }));
  const rows = pairs.map(([, name], index) => h("div.box", {}, boxes[index], " ", h("label", { for: boxes[index].id }, name)));
  const group = h("div", { role: "group" }, ...rows);
  const read = () => {
    const chosen = pairs.filter((_, index) => boxes[index].checked).map(([value]) => value);
    return chosen.length || required ? chosen : undefined;
  };
  const write = (values) => {
    const chosen = Array.isArray(values) ? values : [];
    pairs.forEach(([value], index) => { boxes[index].checked = chosen.some((each) => same(each, value)); });
  };
  return { element: group, labelled: group, read, write };
}

/** Returns the control of a value that is written as JSON. */
export function json(required, rows = 3) {
  const area = h("textarea", { rows, spellcheck: "false", placeholder: t("JSON") });
  const read = () => {
    if (area.value.trim() === "") {
      if (required) throw new Invalid(t("A value is needed here, as JSON."));
      return undefined;
    }
    try {
      return JSON.parse(area.value);
    } catch (error) {
      throw new Invalid(t("This is not JSON: {reason}", { reason: error.message }));
    }
  };
  return { element: area, labelled: area, read, write: (value) => { area.value = value === undefined ? "" : pretty(value); } };
}

function same(one, other) {
  return one === other || JSON.stringify(one) === JSON.stringify(other);
}
