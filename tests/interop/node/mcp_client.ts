// Calls the tool `whoami` of an MCP server, with the stock SDK and no key of its own.
//
// Usage: dist/mcp_client.js URL CLIENT_ID ISSUER SCOPE, with SPIFFE_ENDPOINT_SOCKET set. It prints
// {"event":"called","client_id":...} with what the tool answered.

import assert from "node:assert/strict";

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

import { symbolonProvider } from "./client_assertion.js";

const [url, clientId, issuer, scope] = process.argv.slice(2);
assert.ok(url && clientId && issuer, "Usage: mcp_client.js URL CLIENT_ID ISSUER SCOPE");
const authProvider = symbolonProvider({ clientId, issuer, scope });
const client = new Client({ name: "test", version: "0" });
await client.connect(new StreamableHTTPClientTransport(new URL(url), { authProvider }));
const { content } = await client.callTool({ name: "whoami", arguments: {} });
const [answer] = content;
assert.ok(answer?.type === "text", "another answer");
console.log(JSON.stringify({ event: "called", client_id: answer.text }));
await client.close();
process.exit(0); // The connection to the agent would keep it.
