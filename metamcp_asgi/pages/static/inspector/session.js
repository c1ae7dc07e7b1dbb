// What sessions of both eras have in common: requests with numbers, progress, and what to do with what comes.

import { setup } from "./texts.js";
import { Refused } from "./wire.js";

const TOO_MANY = 429;

/** An error that a server answered with. */
export class ServerError extends Error {
  constructor({ code, message, data }) {
    super(message);
    this.code = code;
    this.data = data;
  }
}

/** The person does not want to answer a question for which no polite "no" exists. */
export class Declined extends Error {}

/** What this client is able to: the person answers by hand. */
export const CAPABILITIES = { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} };
export const CLIENT = { name: "metamcp-inspector", title: "MetaMCP Inspector", version: setup.version };
export const LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

export class Session {
  /**
   * @param {Wire} wire
   * @param {string} revision of the protocol.
   * @param {object} told who is told what: `notified(message)`; `asked(method, params, signal)`, which returns a promise
   *   of the result; `failed(error)`, of what nobody waits for; and `lost(text)` when the session is over.
   */
  constructor(wire, revision, told) {
    this.wire = wire;
    this.revision = revision;
    this.told = told;
    this.server = {}; // what the server says of itself: capabilities, instructions, serverInfo
    this.subscribed = new Set();
    this.closing = new AbortController();
    this.numbers = 0;
    this.progress = new Map();
  }

  /** Returns the message of a request, and remembers whom to tell of its progress. */
  message(method, params, onProgress, meta = {}) {
    this.numbers += 1;
    const id = this.numbers;
    const _meta = { ...meta };
    if (onProgress) {
      _meta.progressToken = id;
      this.progress.set(id, onProgress);
    }
    const full = Object.keys(_meta).length ? { ...params, _meta } : params;
    return { jsonrpc: "2.0", id, method, ...(full && { params: full }) };
  }

  /** Takes a notification. */
  notified(message) {
    const { method, params = {} } = message;
    if (method === "notifications/progress") this.progress.get(params.progressToken)?.(params);
    this.told.notified(message);
  }

  /** Tells of what ended a stream of news, if that is for good, and whether to open it again. */
  again(error) {
    if (error instanceof Refused && error.status < 500 && error.status !== TOO_MANY) this.told.lost(error.message);
    else if (error instanceof ServerError) this.told.failed(error);
    else return true;
    return false;
  }

  /** Returns the result in a response. */
  static result(response) {
    if (response.error) throw new ServerError(response.error);
    return response.result;
  }

  /** Returns all items of a list, page by page; at most `MOST_PAGES` of them. */
  async list(method, member) {
    const items = [];
    const seen = new Set();
    let cursor;
    for (let page = 0; page < Session.MOST_PAGES; page += 1) {
      const result = await this.request(method, cursor === undefined ? {} : { cursor });
      items.push(...(Array.isArray(result[member]) ? result[member] : []));
      cursor = result.nextCursor ?? undefined;
      if (cursor === undefined || seen.has(cursor)) break;
      seen.add(cursor);
    }
    return items;
  }

  static MOST_PAGES = 200;
}

/** Waits, unless a signal ends that. */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
