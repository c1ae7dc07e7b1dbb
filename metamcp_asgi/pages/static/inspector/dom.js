// Elements, made of names, attributes and texts. Whatever a server says becomes a text node, never markup.

import { t } from "./texts.js";

let numbers = 0;

/** Returns an id that no other element has. */
export function fresh(name) {
  numbers += 1;
  return `${name}-${numbers}`;
}

/**
 * Returns an element.
 * @param {string} name of the element, with its classes: "p.hint".
 * @param {object} attributes; those that begin with "on" are listeners, `true` is an empty one, and `null`, `undefined`
 *   and `false` are none.
 * @param {...(Node|string|number|null|undefined|Array)} children
 */
export function h(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined).map(textOr));
  return element;
}

function textOr(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

/** Returns a button that does something. */
export function button(text, onclick, attributes = {}) {
  return h("button", { type: "button", onclick, ...attributes }, text);
}

/** Returns a button that copies what `text()` gives. */
export function copier(text, name = t("Copy")) {
  const copy = async (event) => {
    const it = event.currentTarget;
    await navigator.clipboard.writeText(text());
    it.textContent = t("Copied");
    setTimeout(() => { it.textContent = name; }, 1500);
  };
  return button(name, copy, { class: "small" });
}

/** Returns a block of text that keeps its lines. */
export function block(text, attributes = {}) {
  return h("pre", { tabindex: "0", ...attributes }, text);
}

/** Returns the text of a label, which says whether a value is required. */
export function labelOf(name, required) {
  return h("span", {}, name, required ? h("span.hint", {}, ` · ${t("required")}`) : null);
}

/** Returns a labelled part of a form. `control` gets the id that the label is for. */
export function field(label, control, hint = "") {
  control.id ||= fresh("field");
  const told = hint ? h("div.hint", { id: `${control.id}-hint` }, hint) : null;
  if (told) control.setAttribute("aria-describedby", told.id);
  return h("div.field", {}, h("label", { for: control.id }, label), control, told);
}

/** Returns what is wrong, in a box. */
export function fault(text) {
  return h("p.notice.bad", { role: "alert" }, text);
}

/**
 * Returns a link out of here, or a mere text: only web pages are linked, and they learn nothing of this one.
 * @param {string} address as somebody else gave it.
 */
export function link(address, text = address) {
  return webPage(address)
    ? h("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, text)
    : h("code", {}, text);
}

/** Tells whether an address is that of a web page, and so safe to be followed. */
export function webPage(address) {
  try {
    return ["http:", "https:"].includes(new URL(address).protocol);
  } catch {
    return false;
  }
}
