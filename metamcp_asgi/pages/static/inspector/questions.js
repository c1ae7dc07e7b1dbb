// What servers ask, answered by hand: words of the person, visits of a page, texts of a model, and roots.

import { Invalid, json } from "./controls.js";
import { message } from "./content.js";
import { block, button, fault, field, fresh, h, link, webPage } from "./dom.js";
import { Form } from "./form.js";
import { pretty } from "./json.js";
import { Declined } from "./session.js";
import { t } from "./texts.js";

export class Questions {
  #roots = "";

  /** @param {HTMLElement} place where questions are put to the person. */
  constructor(place) {
    this.place = place;
  }

  /**
   * Puts a question to the person.
   * @param {AbortSignal} signal that takes it back.
   * @returns {Promise<object>} the result of the request.
   */
  ask(method, params, signal) {
    if (method === "elicitation/create") return params.mode === "url" ? this.#page(params, signal) : this.#words(params, signal);
    if (method === "sampling/createMessage") return this.#model(params, signal);
    if (method === "roots/list") return this.#places(signal);
    return Promise.reject(new Error(t("The inspector does not know {method}.", { method })));
  }

  #words({ message: text, requestedSchema }, signal) {
    const form = new Form(requestedSchema);
    return this.#put(t("The server asks you"), [h("p.said", {}, String(text ?? "")), form.element], signal, [
      [t("Send"), () => ({ action: "accept", content: form.value() })],
      [t("Decline"), () => ({ action: "decline" })],
      [t("Cancel"), () => ({ action: "cancel" })],
    ]);
  }

  #page({ message: text, url }, signal) {
    const safe = webPage(url);
    const parts = [
      h("p.said", {}, String(text ?? "")),
      h("p", {}, safe ? t("It wants you to open a page of {host}:", { host: new URL(url).host }) : t("It wants you to open this, which is no web page:")),
      h("p.address", {}, link(String(url))),
    ];
    return this.#put(t("The server sends you to a page"), parts, signal, [
      [t("I agree"), () => ({ action: "accept" })],
      [t("Decline"), () => ({ action: "decline" })],
      [t("Cancel"), () => ({ action: "cancel" })],
    ]);
  }

  #model(params, signal) {
    const { messages = [], systemPrompt, ...rest } = params;
    const text = h("textarea", { rows: 4 });
    const model = h("input", { type: "text", value: "inspector", autocomplete: "off" });
    const whole = json(false, 4);
    const parts = [
      systemPrompt ? h("p.hint", {}, t("System prompt: {text}", { text: systemPrompt })) : null,
      [messages].flat().map((each) => message(each)),
      h("details", {}, h("summary", {}, t("What else it asks for")), block(pretty(rest))),
      field(t("What the model says"), text),
      field(t("Name of the model"), model),
      h("details", {}, h("summary", {}, t("Another content, as JSON")), field(t("Content"), whole.element, t("In place of the text, such as a picture or the use of a tool."))),
    ];
    return this.#put(t("The server asks a model"), parts, signal, [
      [t("Send"), () => ({
        role: "assistant",
        content: whole.read() ?? { type: "text", text: text.value },
        model: model.value || "inspector",
        stopReason: "endTurn",
      })],
      [t("Refuse"), () => { throw new Declined(t("The user refused.")); }],
    ]);
  }

  #places(signal) {
    const area = h("textarea", { rows: 3, spellcheck: "false" });
    area.value = this.#roots;
    const parts = [field(t("Your roots"), area, t("One a line: file:///home/me/project"))];
    return this.#put(t("The server asks for your roots"), parts, signal, [
      [t("Send"), () => {
        const uris = area.value.split("\n").map((line) => line.trim()).filter(Boolean);
        const odd = uris.find((uri) => !uri.startsWith("file://"));
        if (odd) throw new Invalid(t("{uri} does not begin with file://", { uri: odd }));
        this.#roots = area.value;
        return { roots: uris.map((uri) => ({ uri })) };
      }],
      [t("Refuse"), () => { throw new Declined(t("The user refused.")); }],
    ]);
  }

  /** Shows a question with its answers, each a text and what makes its result. */
  #put(title, parts, signal, answers) {
    return new Promise((resolve, reject) => {
      const heading = h("h2", { id: fresh("question"), tabindex: "-1" }, title);
      const wrong = h("div", {});
      const end = (settle, value) => {
        signal.removeEventListener("abort", withdrawn);
        card.remove();
        settle(value);
      };
      const withdrawn = () => end(reject, signal.reason ?? new DOMException("", "AbortError"));
      const choose = (make) => () => {
        wrong.replaceChildren();
        try {
          end(resolve, make());
        } catch (error) {
          if (error instanceof Declined) end(reject, error);
          else if (error instanceof Invalid) wrong.replaceChildren(fault(error.message));
          else throw error;
        }
      };
      const buttons = answers.map(([text, make], index) =>
        button(text, choose(make), { class: index ? "" : "primary" }));
      const card = h(
        "section.card.question",
        { "aria-labelledby": heading.id },
        heading, parts, wrong, h("div.actions", {}, buttons),
      );
      this.place.append(card);
      heading.focus();
      signal.addEventListener("abort", withdrawn, { once: true });
      if (signal.aborted) withdrawn();
    });
  }
}
