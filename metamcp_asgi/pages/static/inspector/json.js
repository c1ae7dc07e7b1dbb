// JSON for people: texts are laid out without being read, so that no number in them is another one afterwards.

/** Returns a value as JSON on several lines. */
export function pretty(value) {
  return JSON.stringify(value, null, 2) ?? "";
}

/** Returns a text of JSON on several lines, with every value as it was. */
export function laidOut(text) {
  let out = "", depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/gs)) {
    if (token === "{" || token === "[") {
      depth += 1;
      out += token + line();
    } else if (token === "}" || token === "]") {
      depth -= 1;
      const empty = /[{[]\s*$/.test(out.slice(-200));
      out = empty ? out.trimEnd() + token : out + line() + token;
    } else if (token === ",") out += token + line();
    else out += token === ":" ? ": " : token;
  }
  return out;
}

/** Returns a text laid out if it is an object or an array in JSON, else `null`. */
export function structured(text) {
  if (!/^\s*[{[]/.test(text)) return null;
  try {
    JSON.parse(text);
    return laidOut(text);
  } catch {
    return null;
  }
}
