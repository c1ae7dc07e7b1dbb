// Drives OAuth of the MCP TypeScript SDK 1.x: typescript_sdk_1.mjs URL CALLBACK
// Prints {"go": URL}, reads what the browser was told as one line of JSON, calls, and prints what it found.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.env.NODE_PEERS}/`);
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { UnauthorizedError } = require("@modelcontextprotocol/sdk/client/auth.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");

const [url, callback] = process.argv.slice(2);
const kept = {};
const authProvider = {
  redirectUrl: callback,
  clientMetadata: { client_name: "TypeScript SDK", redirect_uris: [callback], token_endpoint_auth_method: "none" },
  state: () => "st-ts",
  clientInformation: () => kept.client,
  saveClientInformation: (client) => { kept.client = client; },
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens; },
  redirectToAuthorization: (where) => console.log(JSON.stringify({ go: String(where) })),
  saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  codeVerifier: () => kept.verifier,
};
const first = new StreamableHTTPClientTransport(new URL(url), { authProvider });
try {
  await new Client({ name: "typescript-sdk-1", version: "1" }).connect(first);
  throw new Error("connected without a token");
} catch (error) {
  if (!(error instanceof UnauthorizedError)) throw error;
}
const lines = createInterface({ input: process.stdin });
const told = JSON.parse((await lines[Symbol.asyncIterator]().next()).value);
if (told.state !== "st-ts") throw new Error("another state");
await first.finishAuth(told.code);
const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider });
const client = new Client({ name: "typescript-sdk-1", version: "1" });
await client.connect(transport);
const { tools } = await client.listTools();
console.log(JSON.stringify({ tools: tools.map((tool) => tool.name), tokens: { token_type: kept.tokens.token_type } }));
await client.close();
process.exit(0);
