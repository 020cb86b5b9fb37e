// Plugs Symbolon into the stock MCP SDK for TypeScript and JavaScript: the client has no key. For
// each token request the agent makes an assertion, if this very process is who may have it.

import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";
import { StaticPrivateKeyJwtProvider } from "@modelcontextprotocol/client";

const PROTO = fileURLToPath(
  new URL("../../../proto/proto/symbolon/credentials/v1/credentials.proto", import.meta.url),
);

/** The agent's credentials for OAuth servers, on the workload socket. */
function connect(socket = process.env.SPIFFE_ENDPOINT_SOCKET) {
  const definition = loader.loadSync(PROTO, { keepCase: true });
  const { Credentials } = grpc.loadPackageDefinition(definition).symbolon.credentials.v1;
  const api = new Credentials(socket, grpc.credentials.createInsecure());
  const metadata = new grpc.Metadata();
  metadata.set("workload.spiffe.io", "true");
  const mint = promisify(api.MintClientAssertion).bind(api);
  return (authorization_server) => mint({ authorization_server }, metadata);
}

/**
 * An `authProvider` for the SDK's transports: gets access tokens from the authorization server
 * `issuer` as the client `clientId`, by client credentials.
 */
export function symbolonProvider({ clientId, issuer, scope }) {
  const mint = connect();
  const provider = new StaticPrivateKeyJwtProvider({
    clientId,
    expectedIssuer: issuer,
    jwtBearerAssertion: "", // A new one for each request:
    scope,
  });
  provider.addClientAuthentication = async (_headers, parameters, _url, server) => {
    const { client_assertion, client_assertion_type } = await mint(server.issuer);
    parameters.set("client_assertion", client_assertion);
    parameters.set("client_assertion_type", client_assertion_type);
  };
  return provider;
}
