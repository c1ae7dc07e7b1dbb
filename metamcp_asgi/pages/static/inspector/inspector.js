// The inspector: connects by the revision that the person chose, and puts what comes into its places.

import { block, fault, h } from "./dom.js";
import { History } from "./history.js";
import { pretty } from "./json.js";
import { LegacySession } from "./legacy.js";
import { ModernSession } from "./modern.js";
import { Notices } from "./notices.js";
import { Questions } from "./questions.js";
import { prompts, resources, templates, tools } from "./rooms.js";
import { LEVELS } from "./session.js";
import { tabs } from "./tabs.js";
import { setup, t } from "./texts.js";
import { Wire } from "./wire.js";

const place = (name) => document.getElementById(`inspector-${name}`);

class Inspector {
  #session = null;

  constructor() {
    this.history = new History(place("history"));
    this.notices = new Notices(place("notices"));
    this.questions = new Questions(place("questions"));
    const session = () => this.#session;
    const show = tabs(place("tabs"));
    const read = (uri) => {
      show("inspector-tab-resources");
      resourceRoom.open(uri);
    };
    const resourceRoom = resources(place("resources"), session);
    this.lists = {
      tools: [tools(place("tools"), session, read)],
      resources: [resourceRoom.list, templates(place("templates"), session)],
      prompts: [prompts(place("prompts"), session, read)],
    };
    const levels = [["", t("As the server likes")], ...LEVELS.map((level) => [level, level])];
    place("level").append(...levels.map(([value, name]) => h("option", { value }, name)));
    place("connection").addEventListener("submit", (event) => {
      event.preventDefault();
      this.connect(place("revision").value);
    });
    place("disconnect").addEventListener("click", () => this.disconnect(t("Not connected.")));
    place("ping").addEventListener("click", () => this.#do(() => this.#ping()));
    place("level").addEventListener("change", () => this.#do(() => this.#session.setLevel(place("level").value)));
    window.addEventListener("pagehide", () => this.#session?.close());
    place("connect").disabled = false; // from now on it does what it says
  }

  async connect(revision) {
    this.disconnect(t("Connecting …"));
    const era = setup.modern.includes(revision) ? ModernSession : LegacySession;
    const session = new era(new Wire(setup.address, setup.token, this.history), revision, {
      notified: (message) => this.#notified(message),
      asked: (method, params, signal) => this.questions.ask(method, params, signal),
      failed: (error) => this.notices.add(t("Failed"), error.message),
      lost: (text) => { if (this.#session === session) this.disconnect(text); },
    });
    this.#session = session;
    try {
      await session.open();
    } catch (error) {
      if (this.#session === session) this.disconnect(error.message, true);
      return;
    }
    if (this.#session !== session) return;
    this.#show(session);
    for (const kind of Object.keys(this.lists)) if (session.server.capabilities?.[kind]) this.#load(kind);
  }

  disconnect(text, wrong = false) {
    this.#session?.close();
    this.#session = null;
    for (const list of Object.values(this.lists).flat()) list.clear();
    this.#state(text, wrong);
    place("open").hidden = true;
    place("disconnect").hidden = true;
    place("level").value = "";
  }

  async #ping() {
    const began = performance.now();
    await this.#session.ping();
    this.#state(t("Answered in {milliseconds} ms.", { milliseconds: Math.round(performance.now() - began) }));
  }

  /** Does something of which only a fault is shown. */
  async #do(act) {
    try {
      await act();
    } catch (error) {
      this.#state(error.message, true);
    }
  }

  #show({ server, revision }) {
    const { name = "", version = "", websiteUrl } = server.serverInfo ?? {};
    this.#state(t("Connected to {name} {version}, by revision {revision}.", { name, version, revision }));
    place("server").replaceChildren(
      server.instructions ? h("p.said", {}, server.instructions) : h("p.hint", {}, t("It gives no instructions.")),
      websiteUrl ? h("p", {}, String(websiteUrl)) : "",
      h("h3", {}, t("What it is able to")),
      block(pretty(server.capabilities ?? {})),
    );
    place("open").hidden = false;
    place("disconnect").hidden = false;
  }

  #notified(message) {
    this.notices.put(message);
    const kind = /^notifications\/(\w+)\/list_changed$/.exec(message.method)?.[1];
    if (kind in this.lists) this.#load(kind);
  }

  #load(kind) {
    for (const list of this.lists[kind]) list.load();
  }

  #state(text, wrong = false) {
    place("state").replaceChildren(wrong ? fault(text) : text);
  }
}

new Inspector();
