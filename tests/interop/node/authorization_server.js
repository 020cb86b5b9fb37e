// An authorization server and a protected resource of its own, both on loopback:
// npm `oidc-provider` with client ID metadata documents, `private_key_jwt`, DPoP,
// resource indicators and JWT access tokens; nothing of it is changed.
//
// Usage: authorization_server.js [--documents PUBLIC=REAL] [--ca FILE] [--cache SECONDS]
//                                [--scope WORDS] [--any-resource] [--nonce]
//
//   --documents  where documents of the origin PUBLIC really are, as the origin REAL:
//                tests have no public names
//   --ca         PEM file of the authority that REAL is trusted by
//   --cache      how long documents and keys are kept (1)
//   --scope      what the resource knows ("tools")
//   --any-resource  issues tokens for other resources, too
//   --nonce      demands a nonce of its own in the DPoP proofs of token requests
//
// Prints one JSON line {"issuer", "resource"} when it listens, then one for each event:
// "fetched" (url, status), "granted" (client_id, resource), "refused" (error, description),
// "called" (client_id, audience), "rejected" (description). GET /mcp without a token answers 401
// with the place of the resource's metadata; with a good one, and a proof for this request where
// it is bound to a key (RFC 9449), it answers the token's claims. It ends when its standard input
// does, where that is a pipe.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { fstatSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

import {
  EmbeddedJWK,
  calculateJwkThumbprint,
  createLocalJWKSet,
  exportJWK,
  generateKeyPair,
  jwtVerify,
} from "jose";
import Provider, { errors } from "oidc-provider";

import { documentOptions, fetcher } from "./documents.js";

const { values: options } = parseArgs({
  options: {
    ...documentOptions,
    cache: { type: "string", default: "1" },
    scope: { type: "string", default: "tools" },
    "any-resource": { type: "boolean", default: false },
    nonce: { type: "boolean", default: false },
  },
});

const cache = Number(options.cache);

// Standard output is for the events.
console.info = console.error;

function emit(event) {
  console.log(JSON.stringify(event));
}

async function newKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: "sig", kid: alg };
}

function configuration(resource, signing) {
  const info = {
    audience: resource,
    scope: options.scope,
    accessTokenFormat: "jwt",
    accessTokenTTL: 60,
    jwt: { sign: { alg: "ES256" } },
  };
  return {
    jwks: { keys: signing },
    fetch: fetcher(options, emit),
    clientAuthMethods: ["private_key_jwt"],
    scopes: options.scope.split(" "),
    ttl: { ClientCredentials: 60 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      clientIdMetadataDocument: {
        enabled: true,
        ack: "draft-02",
        cacheDuration: { min: cache, max: cache },
      },
      dPoP: {
        enabled: true,
        nonceSecret: randomBytes(32),
        requireNonce: () => options.nonce,
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => resource,
        getResourceServerInfo(_ctx, asked) {
          if (asked !== resource && !options["any-resource"]) throw new errors.InvalidTarget();
          return { ...info, audience: asked };
        },
      },
    },
  };
}

const server = createServer();
server.listen(0, "127.0.0.1");
await once(server, "listening");
const issuer = `http://127.0.0.1:${server.address().port}`;
const resource = `${issuer}/mcp`;
const key = await newKey("ES256");
const { d: _secret, ...publicKey } = key;
const keys = createLocalJWKSet({ keys: [publicKey] });
// Clients that say nothing of ID tokens have RS256 for them.
const signing = [key, await newKey("RS256")];
const provider = new Provider(issuer, configuration(resource, signing));
provider.on("grant.success", (ctx) => {
  emit({ event: "granted", client_id: ctx.oidc.client.clientId, resource: ctx.oidc.params.resource });
});
provider.on("grant.error", (_ctx, { error, error_description, error_detail, cause }) => {
  const description = error_detail ?? cause?.message ?? error_description;
  emit({ event: "refused", error, description });
});

/** The protected resource's metadata (RFC 9728). */
function metadata() {
  return { resource, authorization_servers: [issuer], scopes_supported: options.scope.split(" ") };
}

function json(response, status, body, headers = {}) {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(body));
}

/** Whether the proof is for this request and token, by the key that the token is bound to. */
async function checkProof(request, token, { jkt }) {
  const { payload, protectedHeader } = await jwtVerify(request.headers.dpop, EmbeddedJWK, {
    typ: "dpop+jwt",
    algorithms: ["ES256"],
    maxTokenAge: 60,
  });
  assert.equal(await calculateJwkThumbprint(protectedHeader.jwk), jkt, "another key");
  assert.equal(payload.htm, request.method, "another method");
  assert.equal(payload.htu, resource, "another address");
  const hash = createHash("sha256").update(token).digest("base64url");
  assert.equal(payload.ath, hash, "another token");
}

/** The resource: a good token gets its claims. */
async function call(request, response) {
  const [scheme, token] = (request.headers.authorization ?? "").split(" ");
  try {
    assert.match(scheme, /^(Bearer|DPoP)$/i);
    const { payload } = await jwtVerify(token, keys, { issuer, audience: resource });
    assert.equal(scheme.toLowerCase() === "dpop", payload.cnf !== undefined, "unbound");
    if (payload.cnf) await checkProof(request, token, payload.cnf);
    emit({ event: "called", client_id: payload.client_id, audience: payload.aud });
    json(response, 200, payload);
  } catch (fault) {
    if (token) emit({ event: "rejected", description: fault.message });
    const place = `${issuer}/.well-known/oauth-protected-resource/mcp`;
    const challenge = `Bearer resource_metadata="${place}", scope="${options.scope}"`;
    json(response, 401, { error: "invalid_token" }, { "www-authenticate": challenge });
  }
}

const pages = provider.callback();
server.on("request", (request, response) => {
  switch (request.url) {
    case "/mcp":
      return call(request, response);
    case "/.well-known/oauth-protected-resource/mcp":
      return json(response, 200, metadata());
    // The same document under the name of RFC 8414.
    case "/.well-known/oauth-authorization-server":
      request.url = "/.well-known/openid-configuration";
      return pages(request, response);
    default:
      return pages(request, response);
  }
});

emit({ issuer, resource });
if (fstatSync(0).isFIFO()) process.stdin.resume().on("end", () => process.exit(0));
