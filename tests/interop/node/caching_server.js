// A small authorization server that keeps the keys of its clients: it grants client credentials
// for `private_key_jwt`, whose signatures it checks with stock `jose` and its JWKS cache
// (`createRemoteJWKSet`), cool-down and all.
//
// Usage: caching_server.js --documents PUBLIC=REAL --ca FILE [--stock] [--cool-down SECONDS]
//
//   --documents, --ca  as for authorization_server.js
//   --stock            keeps keys for as long as `jose` does if nobody tells it: ten minutes;
//                      otherwise for as long as the keys' `Cache-Control` says
//   --cool-down        after which it asks for keys that it does not know (`jose`: 30)
//
// Prints one JSON line {"issuer"} when it listens, then "fetched" (url, status) and
// "refused" (description). It asks for a client's document once.

import assert from "node:assert/strict";
import { once } from "node:events";
import { fstatSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

import { createRemoteJWKSet, customFetch, decodeJwt, jwtVerify } from "jose";

import { documentOptions, fetcher } from "./documents.js";

const ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const { values: options } = parseArgs({
  options: {
    ...documentOptions,
    stock: { type: "boolean", default: false },
    "cool-down": { type: "string", default: "30" },
  },
});
const fetchDocument = fetcher(options, emit);
const clients = new Map();
const seen = new Set();

function emit(event) {
  console.log(JSON.stringify(event));
}

async function get(url) {
  const answer = await fetchDocument(url, { headers: new Headers() });
  assert.equal(answer.status, 200, url);
  return answer;
}

/** Seconds for which an answer may be kept (RFC 9111, section 5.2.2.1). */
function maxAge(answer) {
  const [, seconds] = /\bmax-age=(\d+)/.exec(answer.headers.get("cache-control") ?? "") ?? [];
  return Number(seconds ?? 0);
}

/** The keys of a client, which its document names. */
async function newClient(id) {
  const document = await (await get(id)).json();
  assert.equal(document.client_id, id);
  assert.equal(document.token_endpoint_auth_method, "private_key_jwt");
  const keep = options.stock ? {} : { cacheMaxAge: maxAge(await get(document.jwks_uri)) * 1000 };
  const url = new URL(document.jwks_uri);
  const cooldownDuration = Number(options["cool-down"]) * 1000;
  return createRemoteJWKSet(url, { ...keep, cooldownDuration, [customFetch]: fetchDocument });
}

/** RFC 7523, section 3. */
async function authenticate(form) {
  assert.equal(form.get("client_assertion_type"), ASSERTION);
  const assertion = form.get("client_assertion");
  const id = decodeJwt(assertion).iss;
  if (!clients.has(id)) clients.set(id, newClient(id));
  const { payload } = await jwtVerify(assertion, await clients.get(id), {
    issuer: id,
    subject: id,
    audience: issuer,
    typ: "client-authentication+jwt",
    algorithms: ["ES256"],
    requiredClaims: ["exp", "jti"],
  });
  assert.ok(!seen.has(payload.jti), "an assertion can only be used once");
  seen.add(payload.jti);
  return id;
}

async function token(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const form = new URLSearchParams(Buffer.concat(chunks).toString());
  try {
    const id = await authenticate(form);
    return [200, { access_token: `for ${id}`, token_type: "Bearer", expires_in: 60 }];
  } catch (error) {
    emit({ event: "refused", description: error.message });
    return [401, { error: "invalid_client" }];
  }
}

const server = createServer(async (request, response) => {
  const [status, body] = request.url === "/token" ? await token(request) : [404, {}];
  const text = JSON.stringify(body);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const issuer = `http://127.0.0.1:${server.address().port}`;
emit({ issuer });
if (fstatSync(0).isFIFO()) process.stdin.resume().on("end", () => process.exit(0));
