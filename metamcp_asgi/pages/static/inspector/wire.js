// MCP messages over HTTP, to our own site only, where the cookie says who it is and the token that it is this page.
// Keeps what goes over the wire for the history. Knows no method and no era.

import { events } from "./sse.js";
import { t } from "./texts.js";

/** An answer that is no message: the request was refused before anybody looked at what it asks for. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export class Wire {
  /**
   * @param {string} address where to post.
   * @param {string} token of this page.
   * @param {{put: function(object): void}} history
   */
  constructor(address, token, history) {
    this.address = address;
    this.token = token;
    this.history = history;
  }

  /**
   * Posts a message.
   * @returns {Promise<Response>} whose messages `messages` reads.
   */
  async post(message, headers = {}, signal = undefined) {
    const text = JSON.stringify(message);
    this.history.put({ sent: true, message, text, headers });
    return this.#fetch("POST", {
      signal,
      body: text,
      headers: { "Content-Type": "application/json", Accept: "application/json, text/event-stream", ...headers },
    });
  }

  /** Opens a stream of what the server says by itself. */
  async stream(headers, signal) {
    return this.#fetch("GET", { signal, headers: { Accept: "text/event-stream", ...headers } });
  }

  /** Ends a session; also while the page is being left. */
  async end(headers) {
    await this.#fetch("DELETE", { headers, keepalive: true });
  }

  async #fetch(method, { headers, ...rest }) {
    const all = { "X-CSRF-Token": this.token, ...headers };
    try {
      return await fetch(this.address, { method, headers: all, cache: "no-store", redirect: "error", ...rest });
    } catch (error) {
      if (rest.signal?.aborted) throw error;
      throw new Error(t("The gateway cannot be reached."));
    }
  }

  /**
   * Yields the messages of an answer, be it one or a stream, of whose events `came` is told.
   * @throws {Refused} There is none, and the status is that of a refusal.
   */
  async *messages(response, came = () => {}) {
    const kind = response.headers.get("content-type") ?? "";
    if (kind.startsWith("text/event-stream")) {
      for await (const event of events(response.body)) {
        came(event);
        if (event.data) yield this.#received(event.data, response.status);
      }
      return;
    }
    const text = await response.text();
    if (!text && response.ok) return;
    const message = kind.startsWith("application/json") ? this.#received(text, response.status) : null;
    if (Array.isArray(message) || message?.jsonrpc) yield message;
    else if (!response.ok) throw new Refused(response.status, reason(message, response));
  }

  #received(text, status) {
    let message = null;
    try {
      message = JSON.parse(text);
    } finally {
      this.history.put({ sent: false, message, text, status });
    }
    return message;
  }
}

function reason(body, response) {
  return body?.message ?? body?.error_description ?? t("The gateway answered with status {status}.", { status: response.status });
}
