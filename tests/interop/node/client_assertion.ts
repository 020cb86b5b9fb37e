// Plugs Symbolon into the stock MCP SDK for TypeScript and JavaScript: the client has no key. For
// each token request the agent makes an assertion, if this very process is who may have it.

import { fileURLToPath } from "node:url";

import { Metadata, credentials, loadPackageDefinition } from "@grpc/grpc-js";
import type { Client, ServiceError } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { StaticPrivateKeyJwtProvider } from "@modelcontextprotocol/client";
import type { OAuthClientProvider } from "@modelcontextprotocol/client";

// As seen from dist, where this is compiled to.
const PROTO = fileURLToPath(
  new URL("../../../../proto/proto/symbolon/credentials/v1/credentials.proto", import.meta.url),
);

/** What of the answer is needed here. */
interface Assertion {
  client_assertion: string;
  client_assertion_type: string;
}

/** What of the service is needed here. */
interface Credentials extends Client {
  MintClientAssertion(
    request: { authorization_server: string },
    metadata: Metadata,
    done: (error: ServiceError | null, assertion?: Assertion) => void,
  ): void;
}

/** The agent's credentials for OAuth servers, on the workload socket. */
function connect(socket = process.env.SPIFFE_ENDPOINT_SOCKET) {
  if (!socket) throw new Error("SPIFFE_ENDPOINT_SOCKET is not set");
  const definition = loadPackageDefinition(loadSync(PROTO, { keepCase: true })) as any;
  const service = definition.symbolon.credentials.v1.Credentials;
  const api: Credentials = new service(socket, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set("workload.spiffe.io", "true");
  return (authorization_server: string) =>
    new Promise<Assertion>((resolve, reject) => {
      api.MintClientAssertion({ authorization_server }, metadata, (error, assertion) =>
        assertion ? resolve(assertion) : reject(error),
      );
    });
}

/** Which client this is, and who knows it. */
export interface SymbolonOptions {
  clientId: string;
  issuer: string;
  scope?: string;
}

/**
 * An `authProvider` for the SDK's transports: gets access tokens from the authorization server
 * `issuer` as the client `clientId`, by client credentials.
 */
export function symbolonProvider({ clientId, issuer, scope }: SymbolonOptions): OAuthClientProvider {
  const mint = connect();
  const provider = new StaticPrivateKeyJwtProvider({
    clientId,
    expectedIssuer: issuer,
    jwtBearerAssertion: "", // A new one for each request:
    scope,
  });
  provider.addClientAuthentication = async (_headers, parameters, _url, server) => {
    const { client_assertion, client_assertion_type } = await mint(server?.issuer ?? issuer);
    parameters.set("client_assertion", client_assertion);
    parameters.set("client_assertion_type", client_assertion_type);
  };
  return provider;
}
