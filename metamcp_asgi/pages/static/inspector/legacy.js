// The client of the revisions with a handshake, to 2025-11-25: a session, and a stream for what belongs to no request.
// Source: MCP 2025-11-25 basic/lifecycle and basic/transports.

import { CAPABILITIES, CLIENT, Declined, Session, pause } from "./session.js";
import { t } from "./texts.js";
import { Refused } from "./wire.js";

const METHOD_NOT_FOUND = -32601;
const REJECTED = -1; // "User rejected sampling request"
const KNOWS_VERSION_HEADER = "2025-06-18";
const KNOWS_ELICITATION = "2025-06-18";
const KNOWS_PAGES = "2025-11-25";

export class LegacySession extends Session {
  #id = null;
  #questions = new Map();
  #retry = 1000;
  #last = null;

  /** Opens the session. */
  async open() {
    const params = { protocolVersion: this.revision, capabilities: this.#capabilities(), clientInfo: CLIENT };
    const message = this.message("initialize", params);
    const response = await this.wire.post(message, {}, this.closing.signal);
    this.#id = response.headers.get("mcp-session-id");
    this.server = await this.#answer(message, response);
    this.revision = this.server.protocolVersion;
    await this.#tell("notifications/initialized");
    this.#listen();
  }

  /** What a revision calls looking whether somebody is there. */
  ping() {
    return this.request("ping");
  }

  /**
   * Asks the server something.
   * @param {{signal?: AbortSignal, onProgress?: function(object): void}} how
   */
  async request(method, params = undefined, { signal, onProgress } = {}) {
    const message = this.message(method, params, onProgress);
    // Leaving would not end the call (basic/utilities/cancellation), so the server is told.
    const cancel = () => this.#tell("notifications/cancelled", { requestId: message.id, reason: "Cancelled by hand" });
    signal?.addEventListener("abort", cancel, { once: true });
    const cancelled = new Promise((_, reject) => {
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    try {
      const answered = this.wire
        .post(message, this.#headers(), this.closing.signal)
        .then((response) => this.#answer(message, response, signal));
      return await (signal ? Promise.race([answered, cancelled]) : answered);
    } finally {
      this.progress.delete(message.id);
      signal?.removeEventListener("abort", cancel);
    }
  }

  async setLevel(level) {
    if (level) await this.request("logging/setLevel", { level });
  }

  async subscribe(uri) {
    await this.request("resources/subscribe", { uri });
    this.subscribed.add(uri);
  }

  async unsubscribe(uri) {
    await this.request("resources/unsubscribe", { uri });
    this.subscribed.delete(uri);
  }

  close() {
    this.closing.abort();
    if (this.#id) this.wire.end(this.#headers()).catch(() => {}); // nobody is left whom that would concern
  }

  #capabilities() {
    const { elicitation, ...older } = CAPABILITIES;
    if (this.revision < KNOWS_ELICITATION) return older;
    return { ...older, elicitation: this.revision < KNOWS_PAGES ? {} : elicitation };
  }

  #headers() {
    const session = this.#id ? { "Mcp-Session-Id": this.#id } : {};
    return this.revision < KNOWS_VERSION_HEADER ? session : { ...session, "MCP-Protocol-Version": this.revision };
  }

  /** Returns the result of a request, and takes what comes before it. */
  async #answer({ id }, response, signal) {
    for await (const message of this.wire.messages(response)) {
      for (const each of [message].flat()) {
        if (each.method === undefined && each.id === id) return Session.result(each);
        if (each.method === undefined && each.error && each.id == null) return Session.result(each);
        this.#take(each, signal);
      }
    }
    throw new Error(t("The answer broke off before there was a result."));
  }

  #take(message, signal = undefined) {
    if (message.method === undefined) return;
    if (message.id !== undefined) this.#asked(message, signal);
    else {
      if (message.method === "notifications/cancelled") this.#questions.get(message.params?.requestId)?.abort();
      this.notified(message);
    }
  }

  /** Answers a question; it ends with the call on whose stream it came, too. */
  async #asked({ id, method, params }, call) {
    const withdrawal = new AbortController();
    const withdrawn = AbortSignal.any([this.closing.signal, withdrawal.signal, ...(call ? [call] : [])]);
    this.#questions.set(id, withdrawal);
    try {
      const result = method === "ping" ? {} : await this.told.asked(method, params ?? {}, withdrawn);
      await this.#post({ jsonrpc: "2.0", id, result });
    } catch (error) {
      if (withdrawn.aborted) return;
      const code = error instanceof Declined ? REJECTED : METHOD_NOT_FOUND;
      await this.#post({ jsonrpc: "2.0", id, error: { code, message: error.message } });
    } finally {
      this.#questions.delete(id);
    }
  }

  #tell(method, params) {
    return this.#post({ jsonrpc: "2.0", method, ...(params && { params }) });
  }

  /** Posts what is not answered with a message. */
  async #post(message) {
    try {
      const response = await this.wire.post(message, this.#headers());
      for await (const each of this.wire.messages(response)) if (each.error) throw new Error(each.error.message);
    } catch (error) {
      this.told.failed(error);
    }
  }

  /** Reads the session's own stream, again and again, as it may end at any time. */
  async #listen() {
    const { signal } = this.closing;
    while (!signal.aborted) {
      try {
        const response = await this.wire.stream({ ...this.#headers(), ...(this.#last && { "Last-Event-ID": this.#last }) }, signal);
        if (response.status === 405) return; // there is none
        if (response.status === 404) throw new Refused(404, t("The session has ended. Connect again."));
        if (!response.ok) throw new Refused(response.status, t("The gateway answered with status {status}.", { status: response.status }));
        const came = ({ id, retry }) => {
          this.#last = id ?? this.#last;
          this.#retry = retry ?? this.#retry;
        };
        for await (const message of this.wire.messages(response, came)) this.#take(message);
      } catch (error) {
        if (signal.aborted || !this.again(error)) return;
      }
      await pause(this.#retry, signal);
    }
  }
}
