"""An MCP server whose tool `whoami` says which client has called it.

Usage: mcp_server.py ISSUER SCOPE. It takes access tokens of this authorization server that
were issued for itself, and prints {"event":"listening","url":...} once it serves.
"""

import asyncio
import json
import socket
import sys
import urllib.request

import jwt
import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer


class Verifier:
    """Checks JWT access tokens (RFC 9068) by the keys that the authorization server publishes."""

    def __init__(self, issuer, resource):
        with urllib.request.urlopen(f"{issuer}/.well-known/openid-configuration") as answer:
            self.keys = jwt.PyJWKClient(json.load(answer)["jwks_uri"])
        self.issuer = issuer
        self.resource = resource

    async def verify_token(self, token):
        try:
            key = await asyncio.to_thread(self.keys.get_signing_key_from_jwt, token)
            claims = jwt.decode(
                token,
                key,
                algorithms=["ES256"],
                audience=self.resource,
                issuer=self.issuer,
                options={"require": ["aud", "client_id", "exp", "iss"]},
            )
        except jwt.PyJWTError as fault:
            print(fault, file=sys.stderr)
            return None
        return AccessToken(
            token=token,
            client_id=claims["client_id"],
            scopes=claims.get("scope", "").split(),
            expires_at=claims["exp"],
            resource=claims["aud"],
            claims=claims,
        )


def main(issuer, scope):
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    server = MCPServer(
        "whoami",
        token_verifier=Verifier(issuer, url),
        auth=AuthSettings(
            issuer_url=issuer,
            required_scopes=[scope],
            resource_server_url=url,
            validate_token_resource=True,
        ),
    )

    @server.tool()
    def whoami() -> str:
        return get_access_token().client_id

    print(json.dumps({"event": "listening", "url": url}), flush=True)
    config = uvicorn.Config(server.streamable_http_app(), log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


main(*sys.argv[1:])
