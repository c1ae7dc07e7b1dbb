// Results as people read them, by the kind of their contents. What is unknown is shown as JSON; nothing is run.

import { block, button, copier, fault, h, link } from "./dom.js";
import { pretty, structured } from "./json.js";
import { ServerError } from "./session.js";
import { t } from "./texts.js";

const PICTURE = /^image\/[a-z0-9.+-]+$/i;
const SOUND = /^audio\/[a-z0-9.+-]+$/i;
const BASE64 = /^[A-Za-z0-9+/\s]*={0,2}\s*$/;

/** Returns the result of a tool. */
export function toolResult(result, read) {
  const parts = (Array.isArray(result.content) ? result.content : []).map((each) => content(each, read));
  if (result.isError) parts.unshift(h("p.badge.bad", {}, t("The tool failed")));
  if (result.structuredContent !== undefined) parts.push(named(t("Structured content"), json(result.structuredContent)));
  if (!parts.length) parts.push(h("p.hint", {}, t("The result is empty.")));
  return h("div.result", {}, parts, more(result));
}

/** Returns the contents of a resource. */
export function resourceResult(result) {
  const contents = Array.isArray(result.contents) ? result.contents : [];
  const parts = contents.map((each) => named(each.uri, embedded(each)));
  if (!parts.length) parts.push(h("p.hint", {}, t("The resource is empty.")));
  return h("div.result", {}, parts, more(result));
}

/** Returns the messages of a prompt. */
export function promptResult(result, read) {
  return h(
    "div.result",
    {},
    result.description ? h("p", {}, result.description) : null,
    (Array.isArray(result.messages) ? result.messages : []).map((each) => message(each, read)),
    more(result),
  );
}

/** Returns one message of a conversation. */
export function message({ role, content: said }, read) {
  return named(String(role), [said].flat().map((each) => content(each, read)));
}

/** Returns what went wrong. */
export function failure(error) {
  if (error.name === "AbortError") return h("p.notice", { role: "status" }, t("Cancelled."));
  if (!(error instanceof ServerError)) return fault(error.message);
  return h(
    "div.result",
    {},
    fault(t("Error {code}: {message}", { code: error.code, message: error.message })),
    error.data === undefined ? null : json(error.data),
  );
}

function content(part, read) {
  if (part?.type === "text" && typeof part.text === "string") return written(part.text);
  if (part?.type === "image") return media(part.mimeType, part.data);
  if (part?.type === "audio") return media(part.mimeType, part.data);
  if (part?.type === "resource") return named(part.resource?.uri ?? "", embedded(part.resource ?? {}));
  if (part?.type === "resource_link") return linked(part, read);
  return json(part);
}

function written(text) {
  const laidOut = structured(text);
  return h("div.part", {}, block(laidOut ?? text), copier(() => text));
}

function json(value) {
  const text = pretty(value);
  return h("div.part", {}, block(text), copier(() => text));
}

function embedded({ mimeType, text, blob }) {
  if (typeof text === "string") return written(text);
  return typeof blob === "string" ? media(mimeType, blob) : h("p.hint", {}, t("The resource is empty."));
}

function media(type, data) {
  if (typeof data !== "string" || !BASE64.test(data)) return fault(t("This content is not Base64."));
  if (PICTURE.test(type)) return h("img.picture", { src: `data:${type};base64,${data}`, alt: t("Picture of type {type}", { type }) });
  if (SOUND.test(type)) return h("audio", { controls: true, src: `data:${type};base64,${data}` });
  const bytes = Math.floor((data.replace(/[\s=]/g, "").length * 3) / 4);
  return h(
    "p",
    {},
    t("{type}, {bytes} bytes", { type: type ?? t("Of unknown type"), bytes }),
    " ",
    h("a.button.small", { href: `data:application/octet-stream;base64,${data}`, download: "resource" }, t("Save")),
  );
}

function linked(part, read) {
  const uri = String(part.uri ?? "");
  return h(
    "p",
    {},
    part.title ?? part.name ?? "",
    " ",
    link(uri),
    " ",
    read ? button(t("Read"), () => read(uri), { class: "small" }) : null,
    part.description ? h("span.hint", {}, ` ${part.description}`) : null,
  );
}

function named(name, parts) {
  return h("section.part", {}, h("p.caption", {}, name), parts);
}

function more(result) {
  return h("details", {}, h("summary", {}, t("The whole result")), json(result));
}
