// A workload that gets its identity with gRPC for Node and the Workload API's
// .proto file alone; there is no SPIFFE library in between.
//
// Usage: workload.js AUDIENCE, with SPIFFE_ENDPOINT_SOCKET set. tests/src/interop.rs
// says which lines it prints. It ends with code 0 once the agent has ended its
// stream, and with code 1 and a message at any surprise.

import assert from "node:assert/strict";
import { X509Certificate, createPrivateKey, createPublicKey, verify } from "node:crypto";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const PROTO = fileURLToPath(
  new URL("../../../proto/proto/spiffe/workload/workload.proto", import.meta.url),
);

function emit(event) {
  console.log(JSON.stringify(event));
}

function header() {
  const metadata = new grpc.Metadata();
  metadata.set("workload.spiffe.io", "true");
  return metadata;
}

function connect(target) {
  const definition = loader.loadSync(PROTO, { keepCase: true });
  const { SpiffeWorkloadAPI } = grpc.loadPackageDefinition(definition);
  return new SpiffeWorkloadAPI(target, grpc.credentials.createInsecure());
}

/** Checks the key and the signature of the default X.509-SVID, and reports it. */
function showX509(response) {
  const [svid] = response.svids;
  const leaf = new X509Certificate(svid.x509_svid);
  const key = createPrivateKey({ key: svid.x509_svid_key, format: "der", type: "pkcs8" });
  assert.ok(leaf.checkPrivateKey(key), "the key is not the certificate's");
  assert.ok(leaf.verify(new X509Certificate(svid.bundle).publicKey), "not signed by the bundle");
  assert.equal(leaf.subjectAltName.split(", ")[0], `URI:${svid.spiffe_id}`);
  const serial = leaf.serialNumber.toLowerCase().padStart(32, "0");
  emit({ event: "x509", spiffe_id: svid.spiffe_id, serial });
}

/** The claims of a JWT-SVID whose signature one of the bundle's keys made. */
function validate(token, bundle, audience) {
  const [head, body, signature] = token.split(".");
  const read = (part) => JSON.parse(Buffer.from(part, "base64url"));
  const { alg, kid } = read(head);
  assert.equal(alg, "ES256");
  const jwk = JSON.parse(bundle).keys.find((candidate) => candidate.kid === kid);
  const key = { key: createPublicKey({ key: jwk, format: "jwk" }), dsaEncoding: "ieee-p1363" };
  const signed = Buffer.from(`${head}.${body}`);
  assert.ok(verify("sha256", signed, key, Buffer.from(signature, "base64url")), "bad signature");
  const claims = read(body);
  assert.ok([claims.aud].flat().includes(audience), "another audience");
  assert.ok(claims.exp > Date.now() / 1000, "expired");
  return claims;
}

/** The first message of a server stream, which is then cancelled. */
function first(stream) {
  return new Promise((resolve, reject) => {
    stream.once("data", (message) => {
      stream.on("error", () => {});
      stream.cancel();
      resolve(message);
    });
    stream.once("error", reject);
  });
}

/** Fetches a JWT-SVID and validates it here and through the agent. */
async function showJwt(client, audience) {
  const unary = (method) => promisify(client[method]).bind(client);
  const { svids } = await unary("FetchJWTSVID")({ audience: [audience] }, header());
  const token = svids[0].svid;
  const there = await unary("ValidateJWTSVID")({ audience, svid: token }, header());
  const { bundles } = await first(client.FetchJWTBundles({}, header()));
  const trustDomain = there.spiffe_id.split("/").slice(0, 3).join("/");
  assert.equal(validate(token, bundles[trustDomain], audience).sub, there.spiffe_id);
  emit({ event: "jwt", spiffe_id: there.spiffe_id });
}

async function main() {
  const audience = process.argv[2];
  const client = connect(process.env.SPIFFE_ENDPOINT_SOCKET);
  let fetched = false;
  try {
    for await (const response of client.FetchX509SVID({}, header())) {
      showX509(response);
      if (!fetched) await showJwt(client, audience);
      fetched = true;
    }
  } catch (error) {
    if (!fetched || error.code !== grpc.status.PERMISSION_DENIED) throw error;
    emit({ event: "ended", code: "PERMISSION_DENIED" });
    client.close();
    return;
  }
  throw new Error("the stream ended without a status");
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
