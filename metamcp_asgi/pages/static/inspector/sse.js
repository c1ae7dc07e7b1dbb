// Server-sent events out of the body of an answer (HTML 9.2.6). Knows nothing of what they say.

/**
 * Yields the events of a stream: what is in `data`, and `id` and `retry` where they are given.
 * @param {ReadableStream<Uint8Array>} body
 */
export async function* events(body) {
  let event = {}, data = [];
  for await (const line of lines(body)) {
    if (line === "") {
      if (data.length || "retry" in event) yield { ...event, data: data.join("\n") };
      event = {};
      data = [];
      continue;
    }
    const colon = line.indexOf(":");
    if (colon === 0) continue; // a comment, which keeps the connection
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") data.push(value);
    else if (name === "id") event.id = value;
    else if (name === "retry" && /^\d+$/.test(value)) event.retry = Number(value);
  }
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", half = false;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      if (!half && !/[\r\n]/.test(value)) { // a long line is not looked at again with each of its parts
        rest += value;
        continue;
      }
      // A carriage return at the end may be the first half of a line's end.
      const parts = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = parts.pop();
      half = rest.endsWith("\r");
      yield* parts;
    }
  } finally {
    await reader.cancel().catch(() => {}); // it may have failed already, of which the reader was told
  }
}
