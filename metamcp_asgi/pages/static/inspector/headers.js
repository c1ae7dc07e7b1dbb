// Headers that mirror a request, so that what stands between can see it (2026-07-28 basic/transports/streamable-http,
// "Value Encoding" and "Schema Extension").

/** Returns a text as the value of a header: as it is, or in Base64 where HTTP would not carry it unchanged. */
export function headerValue(text) {
  if (/^[\x20-\x7e]*$/.test(text) && text.trim() === text && !/^=\?base64\?.*\?=$/s.test(text)) return text;
  const bytes = new TextEncoder().encode(text);
  return `=?base64?${btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))}?=`;
}

/** Returns the headers of those arguments whose schema wants one. */
export function mirrored(schema, values, headers = {}) {
  for (const [name, property] of Object.entries(schema?.properties ?? {})) {
    const value = values?.[name];
    if (value === undefined || value === null) continue;
    const header = property?.["x-mcp-header"];
    if (typeof header === "string" && typeof value !== "object") headers[`Mcp-Param-${header}`] = headerValue(String(value));
    else if (typeof value === "object") mirrored(property, value, headers);
  }
  return headers;
}
