// What a server offers, each kind with its list: tools, resources, templates of resources, and prompts.

import { Choosing } from "./choosing.js";
import { completing } from "./completing.js";
import { promptResult, resourceResult, toolResult } from "./content.js";
import { block, field, h, labelOf } from "./dom.js";
import { Form } from "./form.js";
import { pretty } from "./json.js";
import { running } from "./running.js";
import { t } from "./texts.js";
import { expanded, variables } from "./uritemplate.js";

/**
 * Returns the list of tools.
 * @param {HTMLElement} place
 * @param {function(): Session} session gives the one that is open.
 * @param {function(string): void} read shows a resource.
 */
export function tools(place, session, read) {
  const view = (tool) => {
    const form = new Form(tool.inputSchema);
    const call = async (how) => {
      const params = { name: tool.name, arguments: form.value() };
      return toolResult(await session().request("tools/call", params, { ...how, schema: tool.inputSchema }), read);
    };
    return about(tool, tool.name, hints(tool.annotations), form.element, running(t("Call"), call));
  };
  const load = () => session().list("tools/list", "tools");
  return new Choosing(place, { name: t("Tools"), key: ({ name }) => String(name), load, view });
}

/** Returns the list of resources, and what shows one by its address; the arguments are those of `tools`. */
export function resources(place, session) {
  const view = (resource) => {
    const size = Number.isFinite(resource.size) ? t("{bytes} bytes", { bytes: resource.size }) : null;
    const kind = h("p.hint", {}, [resource.mimeType, size].filter(Boolean).join(" · "));
    return about(resource, resource.uri, kind, reading(session, () => resource.uri), watching(session, resource.uri));
  };
  const load = () => session().list("resources/list", "resources");
  const list = new Choosing(place, { name: t("Resources"), key: ({ uri }) => String(uri), load, view });
  const address = h("input", { type: "text", autocomplete: "off", spellcheck: "false" });
  const read = reading(session, () => address.value.trim());
  place.append(h("section", {}, h("h3", {}, t("Another address")), field(t("URI"), address), read));
  const open = (uri) => {
    address.value = uri;
    address.focus();
    read.querySelector("button").click();
  };
  return { list, open };
}

/** Returns the list of templates; the arguments are those of `tools`. */
export function templates(place, session) {
  const view = (template) => {
    const inputs = new Map(variables(template.uriTemplate).map((name) => [name, h("input", { type: "text", autocomplete: "off" })]));
    const uri = () => expanded(template.uriTemplate, values(inputs));
    const shown = h("output", {}, h("code", {}, uri()));
    for (const input of inputs.values()) input.addEventListener("input", () => shown.replaceChildren(h("code", {}, uri())));
    const ref = { type: "ref/resource", uri: template.uriTemplate };
    const fields = written(inputs, session(), ref, new Map());
    return about(template, template.uriTemplate, fields, h("p", {}, shown), reading(session, uri));
  };
  const load = () => session().list("resources/templates/list", "resourceTemplates");
  return new Choosing(place, { name: t("Templates"), key: ({ uriTemplate }) => String(uriTemplate), load, view });
}

/** Returns the list of prompts; the arguments are those of `tools`. */
export function prompts(place, session, read) {
  const view = (prompt) => {
    const wanted = Array.isArray(prompt.arguments) ? prompt.arguments : [];
    const inputs = new Map(wanted.map(({ name }) => [String(name), h("input", { type: "text", autocomplete: "off" })]));
    const notes = new Map(wanted.map((each) => [String(each.name), each]));
    const get = async (how) => {
      const params = { name: prompt.name, arguments: values(inputs) };
      return promptResult(await session().request("prompts/get", params, how), read);
    };
    const fields = written(inputs, session(), { type: "ref/prompt", name: prompt.name }, notes);
    return about(prompt, prompt.name, fields, running(t("Get"), get));
  };
  const load = () => session().list("prompts/list", "prompts");
  return new Choosing(place, { name: t("Prompts"), key: ({ name }) => String(name), load, view });
}

function about(item, name, ...parts) {
  const title = item.title ?? item.annotations?.title ?? item.name;
  return h(
    "article", {},
    h("h3.mono", {}, name),
    title && title !== name ? h("p", {}, title) : null,
    item.description ? h("p.said", {}, item.description) : null,
    parts,
    h("details", {}, h("summary", {}, t("As the server describes it")), block(pretty(item))),
  );
}

function hints(annotations) {
  const names = {
    readOnlyHint: t("reads only"), destructiveHint: t("may destroy"), idempotentHint: t("may be repeated"), openWorldHint: t("reaches out"),
  };
  const said = Object.keys(names).filter((name) => annotations?.[name] === true);
  return said.length ? h("p", {}, said.map((name) => [h("span.badge", {}, names[name]), " "])) : null;
}

function reading(session, uri) {
  return running(t("Read"), async (how) => resourceResult(await session().request("resources/read", { uri: uri() }, how)));
}

/** Returns the switch that subscribes to a resource. */
function watching(session, uri) {
  if (!session().server.capabilities?.resources?.subscribe) return null;
  const name = () => (session().subscribed.has(uri) ? t("Unsubscribe") : t("Subscribe"));
  const change = async () => {
    const open = session();
    await (open.subscribed.has(uri) ? open.unsubscribe(uri) : open.subscribe(uri));
    toggle.querySelector("button").textContent = name();
    return h("p.hint", {}, open.subscribed.has(uri) ? t("Its changes are among the notifications.") : "");
  };
  const toggle = running(name(), change, "");
  return toggle;
}

/** Returns a field for each argument, with what its note says of it, and with suggestions. */
function written(inputs, session, ref, notes) {
  return [...inputs].map(([name, input]) => {
    const others = () => {
      const { [name]: gone, ...rest } = values(inputs);
      return rest;
    };
    const { title, description, required } = notes.get(name) ?? {};
    const hint = [title, description].filter(Boolean).join(" · ");
    return [field(labelOf(name, required), input, hint), completing(input, session, ref, name, others)];
  });
}

function values(inputs) {
  return Object.fromEntries([...inputs].map(([name, input]) => [name, input.value]).filter(([, value]) => value !== ""));
}
