// What of a JSON Schema a form can show. Whatever is more than that is written as JSON.

const DEEPEST = 20;

/**
 * Returns what a value looks like in a form; what is inside of it is looked at when it is shown, so that a schema may
 * lead back to itself.
 * @param {object} schema
 * @param {object} root the whole schema, to which references lead.
 * @returns {{kind: string, schema: object, nullable: boolean, choices: ?Array}} `kind` is "text", "number", "integer",
 *   "boolean", "choice" and "choices" (one and several of `choices`, pairs of value and name), "list", "object" or "json".
 */
export function shape(schema, root) {
  const plain = resolved(schema, root);
  if (plain === null || typeof plain !== "object") return { kind: "json", schema: {}, nullable: false };
  const { rest, nullable } = withoutNull(plain, root);
  return { ...simple(rest, root), schema: rest, nullable };
}

/** Returns a schema with its local references followed; those that lead elsewhere are nobody's to follow. */
export function resolved(schema, root) {
  let found = schema;
  for (let depth = 0; typeof found?.$ref === "string"; depth += 1) {
    if (depth > DEEPEST || !found.$ref.startsWith("#/")) return {};
    const { $ref, ...beside } = found;
    const target = $ref.slice(2).split("/").map(named).reduce((at, part) => (at && Object.hasOwn(at, part) ? at[part] : undefined), root);
    found = typeof target === "object" ? { ...target, ...beside } : {};
  }
  return found;
}

/** Returns a part of a JSON pointer in a URI as the name that it is (RFC 6901 6). */
function named(part) {
  try {
    return decodeURIComponent(part).replace(/~1/g, "/").replace(/~0/g, "~");
  } catch {
    return part; // no encoding, then
  }
}

function withoutNull(schema, root) {
  if (Array.isArray(schema.type)) {
    const types = schema.type.filter((type) => type !== "null");
    if (types.length === 1) return { rest: { ...schema, type: types[0] }, nullable: types.length < schema.type.length };
  }
  for (const name of ["anyOf", "oneOf"]) {
    const options = schema[name];
    if (!Array.isArray(options)) continue;
    const others = options.filter((option) => option?.type !== "null");
    if (others.length === 1 && others.length < options.length) {
      const { [name]: gone, ...beside } = schema;
      return { rest: { ...resolved(others[0], root), ...beside }, nullable: true };
    }
  }
  return { rest: schema, nullable: false };
}

function simple(schema, root) {
  const choices = choicesOf(schema);
  if (choices) return { kind: "choice", choices };
  if (schema.type === "array") {
    const items = resolved(schema.items, root);
    if (items === null || typeof items !== "object" || Array.isArray(items)) return { kind: "json" };
    const several = choicesOf(items);
    if (several) return { kind: "choices", choices: several };
    return { kind: shape(items, root).kind === "json" ? "json" : "list" };
  }
  if (schema.type === "object") return { kind: filled(schema.properties) ? "object" : "json" };
  return { kind: { string: "text", number: "number", integer: "integer", boolean: "boolean" }[schema.type] ?? "json" };
}

function filled(properties) {
  return properties !== null && typeof properties === "object" && Object.keys(properties).length > 0;
}

function choicesOf(schema) {
  if (Array.isArray(schema?.enum)) {
    return schema.enum.map((value, index) => [value, String(schema.enumNames?.[index] ?? textOf(value))]);
  }
  if (schema && "const" in schema) return [[schema.const, String(schema.title ?? textOf(schema.const))]];
  const titled = schema?.oneOf ?? schema?.anyOf;
  if (Array.isArray(titled) && titled.length && titled.every((option) => option && "const" in option)) {
    return titled.map((option) => [option.const, String(option.title ?? textOf(option.const))]);
  }
  return null;
}

function textOf(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}
