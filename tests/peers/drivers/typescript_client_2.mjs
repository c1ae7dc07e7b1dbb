// Drives the MCP TypeScript client 2.x: typescript_client_2.mjs URL KEY MODE CALLS (MODE: auto or legacy)
import { createRequire } from "node:module";

// NODE_PEERS is the folder whose node_modules holds the client; this file lies elsewhere.
const require = createRequire(`${process.env.NODE_PEERS}/`);
const { Client, StreamableHTTPClientTransport } = require("@modelcontextprotocol/client");

const [url, key, mode, calls] = process.argv.slice(2);
const transport = new StreamableHTTPClientTransport(new URL(url), {
  requestInit: { headers: { Authorization: `Bearer ${key}` } },
});
const client = new Client({ name: "typescript-client-2", version: "1" }, { versionNegotiation: { mode } });
await client.connect(transport);
const { tools } = await client.listTools();
const results = [];
for (const [name, args] of JSON.parse(calls)) {
  const result = await client.callTool({ name, arguments: args });
  const texts = result.content.filter((block) => block.type === "text").map((block) => block.text);
  results.push({ text: texts.join("\n"), isError: Boolean(result.isError) });
}
const revision = client.getNegotiatedProtocolVersion();
console.log(JSON.stringify({ revision, tools: tools.map((tool) => tool.name), results }));
await client.close();
