// The texts of the inspector in the language of the page, which the server has put into it.

const page = document.getElementById("inspector");

/** What the page was told: where to connect, and so on. */
export const setup = JSON.parse(page.dataset.setup);

/**
 * Returns a text in the visitor's language.
 * @param {string} text in English; `inspector/texts.py` has them all.
 * @param {object} values for the names in braces.
 */
export function t(text, values = {}) {
  const told = setup.texts[text] ?? text;
  return told.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}
