"""Plugs Symbolon into the stock MCP SDK for Python: the client has no key. For each token request
the agent makes an assertion, if this very process is who may have it."""

import os
import sys
from pathlib import Path

import grpc
from mcp.client.auth.extensions.client_credentials import PrivateKeyJWTOAuthProvider

# Where Symbolon's .proto files are; grpcio-tools makes the client of them.
sys.path.append(str(Path(__file__).parents[3] / "proto/proto"))
messages, services = grpc.protos_and_services("symbolon/credentials/v1/credentials.proto")

HEADER = (("workload.spiffe.io", "true"),)


class NoStorage:
    """Tokens are kept in memory by the SDK, and nowhere else."""

    async def get_tokens(self):
        return None

    async def set_tokens(self, tokens):
        pass

    async def get_client_info(self):
        return None

    async def set_client_info(self, client_info):
        pass


async def client_assertion(authorization_server: str) -> str:
    """An assertion for one request to this authorization server."""
    async with grpc.aio.insecure_channel(os.environ["SPIFFE_ENDPOINT_SOCKET"]) as channel:
        request = messages.MintClientAssertionRequest(authorization_server=authorization_server)
        api = services.CredentialsStub(channel)
        return (await api.MintClientAssertion(request, metadata=HEADER)).client_assertion


def symbolon_auth(url: str, client_id: str, issuer: str, scope: str | None = None):
    """`auth` for the SDK's HTTP client: gets access tokens for the MCP server `url` from the
    authorization server `issuer` as the client `client_id`, by client credentials."""
    return PrivateKeyJWTOAuthProvider(
        server_url=url,
        storage=NoStorage(),
        client_id=client_id,
        assertion_provider=client_assertion,
        scope=scope,
        issuer=issuer,
    )
