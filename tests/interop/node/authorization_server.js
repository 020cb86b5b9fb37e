// An authorization server: npm's oidc-provider, which fetches the metadata documents and keys
// of its clients from Symbolon's identity port and knows nothing else of them.
//
// Usage: authorization_server.js CA HOST=ADDRESS SCOPE
//
// CA is the file of the authority that it trusts for TLS, ADDRESS (with port) is where HOST is:
// what a resolver would say. It prints {"event":"listening","issuer":...} once it
// serves, {"event":"fetched","url":...,"status":...} for each document that it fetches, and
// {"event":"refused","reason":...} for each token request that it refuses.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { request } from "node:https";

import { Provider } from "oidc-provider";

const [authority, place, scope] = process.argv.slice(2);
const ca = readFileSync(authority);
const [host, address] = place.split("=");

// Its notices are not events.
console.info = console.error;

function emit(event) {
  console.log(JSON.stringify(event));
}

/** `fetch` that finds one host where no public name server has it; nothing else is there. */
async function fetchFromHost(url, { headers, method, signal }) {
  const { hostname, pathname, search } = new URL(url);
  if (hostname !== host) throw new Error(`no address of ${hostname}`);
  const [ip, port] = address.split(":");
  const fields = Object.fromEntries(new Headers(headers));
  const options = { ca, headers: { ...fields, host }, method, servername: host, signal };
  const sent = request({ ...options, agent: false, host: ip, path: pathname + search, port });
  sent.end();
  const [answer] = await once(sent, "response");
  const chunks = await answer.toArray();
  emit({ event: "fetched", url: String(url), status: answer.statusCode });
  const body = Buffer.concat(chunks);
  return new Response(body, { headers: answer.headers, status: answer.statusCode });
}

const server = createServer();
server.listen(0, "127.0.0.1");
await once(server, "listening");
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clientAuthMethods: ["private_key_jwt", "none"],
  enabledJWA: { clientAuthSigningAlgValues: ["ES256"] },
  features: {
    clientCredentials: { enabled: true },
    clientIdMetadataDocument: { ack: "draft-02", enabled: true },
    devInteractions: { enabled: false },
    dPoP: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_context, resource) => ({
        accessTokenFormat: "jwt",
        audience: resource,
        jwt: { sign: { alg: "RS256" } },
        scope,
      }),
    },
  },
  fetch: fetchFromHost,
  scopes: [scope],
  ttl: { ClientCredentials: 600 },
});
provider.on("grant.error", (_context, error) => {
  const { error: code, error_description: text, error_detail: detail } = error;
  emit({ event: "refused", code, reason: detail ?? text });
});
provider.on("server_error", (_context, error) => console.error(error));
server.on("request", provider.callback());
emit({ event: "listening", issuer });
