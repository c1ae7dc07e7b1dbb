// Drives the client of the MCP TypeScript SDK 1.x: typescript_sdk_1.mjs URL KEY MODE CALLS
import { createRequire } from "node:module";

// NODE_PEERS is the folder whose node_modules holds the SDK; this file lies elsewhere.
const require = createRequire(`${process.env.NODE_PEERS}/`);
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");

const [url, key, , calls] = process.argv.slice(2);
const transport = new StreamableHTTPClientTransport(new URL(url), {
  requestInit: { headers: { Authorization: `Bearer ${key}` } },
});
const client = new Client({ name: "typescript-sdk-1", version: "1" });
await client.connect(transport);
const { tools } = await client.listTools();
const results = [];
for (const [name, args] of JSON.parse(calls)) {
  const result = await client.callTool({ name, arguments: args });
  const texts = result.content.filter((block) => block.type === "text").map((block) => block.text);
  results.push({ text: texts.join("\n"), isError: Boolean(result.isError) });
}
console.log(JSON.stringify({ revision: transport.protocolVersion, tools: tools.map((tool) => tool.name), results }));
await transport.terminateSession();
await client.close();
