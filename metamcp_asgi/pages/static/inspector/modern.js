// The client of 2026-07-28: every request stands by itself; what a server wants to know comes as the result of a call,
// which is repeated with the answers; news come on the stream of a request that listens.
// Source: MCP 2026-07-28 basic/transports/streamable-http, basic/patterns/mrtr and subscriptions.

import { mirrored, headerValue } from "./headers.js";
import { CAPABILITIES, CLIENT, Session, pause } from "./session.js";
import { t } from "./texts.js";

const META = "io.modelcontextprotocol/";
const NAMED = { "tools/call": "name", "prompts/get": "name", "resources/read": "uri" };
const MOST_ROUNDS = 20;
const LISTS = { toolsListChanged: true, promptsListChanged: true, resourcesListChanged: true };
const AGAIN = 1000;

export class ModernSession extends Session {
  #level = "";
  #listening = null;

  async open() {
    this.server = await this.ping();
    this.server.serverInfo = this.server._meta?.[`${META}serverInfo`];
    this.#listen();
  }

  /** There is no ping; whoever is asked what it is able to, is there. */
  ping() {
    return this.request("server/discover");
  }

  /**
   * Asks the server something, and goes on until it has all that it wants to know.
   * @param {{signal?: AbortSignal, onProgress?: function(object): void, schema?: object}} how; `schema` is that of the
   *   arguments of a tool.
   */
  async request(method, params = {}, { signal, onProgress, schema } = {}) {
    const ends = AbortSignal.any([this.closing.signal, ...(signal ? [signal] : [])]);
    let inputs = {};
    for (let round = 0; round < MOST_ROUNDS; round += 1) {
      const result = await this.#once(method, { ...params, ...inputs }, ends, onProgress, schema);
      if (result?.resultType !== "input_required") return result;
      inputs = await this.#inputs(result, ends);
    }
    throw new Error(t("The server never stops asking."));
  }

  /** A level is told with each request. */
  async setLevel(level) {
    this.#level = level;
  }

  async subscribe(uri) {
    this.subscribed.add(uri);
    await this.#listen();
  }

  async unsubscribe(uri) {
    this.subscribed.delete(uri);
    await this.#listen();
  }

  close() {
    this.closing.abort();
  }

  async #once(method, params, signal, onProgress, schema) {
    const message = this.message(method, params, onProgress, this.#meta());
    try {
      const response = await this.wire.post(message, this.#headers(method, params, schema), signal);
      for await (const each of this.wire.messages(response)) {
        if (each.method === undefined) return Session.result(each);
        this.notified(each);
      }
    } finally {
      this.progress.delete(message.id);
    }
    throw new Error(t("The answer broke off before there was a result."));
  }

  /** Returns what a repeated request brings along. */
  async #inputs({ inputRequests = {}, requestState }, signal) {
    const asked = Object.entries(inputRequests).map(async ([key, { method, params }]) => [
      key,
      await this.told.asked(method, params ?? {}, signal),
    ]);
    const inputResponses = Object.fromEntries(await Promise.all(asked));
    return { inputResponses, ...(requestState !== undefined && { requestState }) };
  }

  #meta() {
    return {
      [`${META}protocolVersion`]: this.revision,
      [`${META}clientInfo`]: CLIENT,
      [`${META}clientCapabilities`]: { ...CAPABILITIES, roots: {} },
      ...(this.#level && { [`${META}logLevel`]: this.#level }),
    };
  }

  #headers(method, params, schema) {
    const headers = { "MCP-Protocol-Version": this.revision, "Mcp-Method": method };
    if (method in NAMED) headers["Mcp-Name"] = headerValue(String(params[NAMED[method]]));
    return { ...headers, ...mirrored(schema, params.arguments) };
  }

  /** Listens for news from now on; returns when the server has said of which ones it will tell. */
  async #listen() {
    const before = this.#listening;
    const ends = new AbortController();
    this.#listening = ends;
    const acknowledged = new Promise((resolve) => { this.#news(ends, resolve); });
    await acknowledged;
    before?.abort(); // not earlier, so that nothing is missed
  }

  async #news(ends, acknowledged) {
    const signal = AbortSignal.any([this.closing.signal, ends.signal]);
    while (!signal.aborted) {
      try {
        const notifications = { ...LISTS, resourceSubscriptions: [...this.subscribed] };
        const message = this.message("subscriptions/listen", { notifications }, null, this.#meta());
        const response = await this.wire.post(message, this.#headers(message.method, {}), signal);
        for await (const each of this.wire.messages(response)) {
          if (each.method === undefined) Session.result(each);
          else if (each.method === "notifications/subscriptions/acknowledged") acknowledged();
          else this.notified(each);
        }
      } catch (error) {
        if (signal.aborted || !this.again(error)) break;
      }
      acknowledged();
      await pause(AGAIN, signal);
    }
    acknowledged();
  }
}
