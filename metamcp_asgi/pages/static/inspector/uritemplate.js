// URI templates (RFC 6570), with texts as values. Knows nothing of resources.

const EXPRESSION = /\{([+#./;?&]?)([^{}]+)\}/g;
const OPERATORS = {
  "": { first: "", between: "," },
  "+": { first: "", between: ",", reserved: true },
  "#": { first: "#", between: ",", reserved: true },
  ".": { first: ".", between: "." },
  "/": { first: "/", between: "/" },
  ";": { first: ";", between: ";", named: true },
  "?": { first: "?", between: "&", named: true },
  "&": { first: "&", between: "&", named: true },
};

/** Returns the names of the variables of a template, each once. */
export function variables(template) {
  return [...new Set([...template.matchAll(EXPRESSION)].flatMap(([, , list]) => list.split(",").map((each) => parts(each).name)))];
}

/** Returns the URI; variables without a value, or with an empty one, are left out. */
export function expanded(template, values) {
  return template.replace(EXPRESSION, (_, sign, list) => {
    const { first, between, reserved, named } = OPERATORS[sign];
    const filled = list.split(",").map(parts).filter(({ name }) => values[name]);
    const texts = filled.map(({ name, most }) => {
      const text = encoded([...values[name]].slice(0, most).join(""), reserved);
      return named ? `${name}=${text}` : text;
    });
    return texts.length ? first + texts.join(between) : "";
  });
}

function parts(variable) {
  const [, name, most] = /^(.*?)(?:\*|:(\d+))?$/.exec(variable.trim());
  return { name, most: most === undefined ? undefined : Number(most) };
}

/** Returns a text with only those signs that may be there; of the reserved ones, where they may be, too (3.2.3). */
function encoded(text, reserved) {
  const as = (part) => encodeURIComponent(part).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
  return reserved ? text.replace(/(%[0-9A-Fa-f]{2}|[:/?#[\]@!$&'()*+,;=])|[^]/gu, (part, kept) => kept ?? as(part)) : as(text);
}
