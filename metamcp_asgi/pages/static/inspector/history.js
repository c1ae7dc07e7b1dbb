// Every message that went over the wire, as it was, in both directions; the oldest are forgotten.

import { block, button, copier, h } from "./dom.js";
import { laidOut } from "./json.js";
import { t } from "./texts.js";

const MOST = 500;
const MOST_CHARACTERS = 20_000_000;

export class History {
  #entries = [];
  #characters = 0;
  #methods = new Map();

  /** @param {HTMLElement} place */
  constructor(place) {
    this.list = h("ol.messages", { "aria-label": t("Messages, the newest first") });
    this.count = h("span.hint");
    const all = () => this.#entries.map(({ sent, text }) => `${sent ? "→" : "←"} ${text}`).join("\n");
    place.append(
      h("div.actions", {}, this.count, copier(all, t("Copy all")), button(t("Clear"), () => this.clear(), { class: "small" })),
      this.list,
    );
    this.clear();
  }

  /** Keeps a message: `sent` or not, read (`null` if it is no JSON), and as it was, with headers or a status. */
  put({ sent, message, text, headers = {}, status }) {
    const row = this.#row(sent, message, text, headers, status);
    this.#entries.push({ sent, text, row });
    this.#characters += text.length;
    this.list.prepend(row);
    while (this.#entries.length > MOST || (this.#characters > MOST_CHARACTERS && this.#entries.length > 1)) {
      const oldest = this.#entries.shift();
      this.#characters -= oldest.text.length;
      oldest.row.remove();
    }
    this.#counted();
  }

  clear() {
    this.#entries = [];
    this.#characters = 0;
    this.#methods.clear();
    this.list.replaceChildren();
    this.#counted();
  }

  #counted() {
    this.count.textContent = t("{count} messages", { count: this.#entries.length });
  }

  #row(sent, message, text, headers, status) {
    const body = h("div");
    const details = h(
      "details",
      {
        ontoggle: () => {
          if (!details.open || body.firstChild) return;
          const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\n`).join("");
          body.append(block(lines ? `${lines}\n${laidOut(text)}` : laidOut(text)), copier(() => text));
        },
      },
      h(
        "summary",
        {},
        h("span.way", { "aria-label": sent ? t("Sent") : t("Received") }, sent ? "→" : "←"),
        h("code", {}, this.#title(message)),
        h("span.hint", {}, [status ?? "", new Date().toLocaleTimeString()].join(" ")),
      ),
      body,
    );
    return h("li", { class: sent ? "sent" : "received" }, details);
  }

  /** Returns what a message is: its method, or that of the request that it answers. */
  #title(message) {
    const each = Array.isArray(message) ? message[0] : message;
    if (!each) return t("No message");
    if (each.method) {
      if (each.id !== undefined) this.#methods.set(each.id, each.method);
      return each.id === undefined ? each.method : `${each.method} #${short(each.id)}`;
    }
    const named = { method: this.#methods.get(each.id) ?? "", id: short(each.id) };
    if (each.error) return t("Error of {method} #{id}", named);
    return "result" in each ? t("Result of {method} #{id}", named) : t("No message");
  }
}

/** Returns an id as far as it tells messages apart for people; the message itself has all of it. */
function short(id) {
  const text = String(id ?? "");
  return text.length > 12 ? `…${text.slice(-6)}` : text;
}
