"""A FastMCP server that takes JWT-SVIDs by issuer, keys and audience, with the stock verifier; its
tool `whoami` says whose they are.

Usage: jwt_server.py ISSUER AUDIENCE PORT. Whatever host stands in ISSUER is at this port of this
machine, which a resolver would say elsewhere; SSL_CERT_FILE is the authority that it trusts. It
prints {"event":"listening","url":...} once it serves.
"""

import json
import socket
import ssl
import sys

import httpx2
import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth.providers.jwt import JWTVerifier
from fastmcp.server.dependencies import get_access_token


class Here(httpx2.AsyncHTTPTransport):
    """Sends requests for any host to one port of this machine."""

    def __init__(self, port):
        super().__init__(verify=ssl.create_default_context())
        self.port = port

    async def handle_async_request(self, request):
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}
        request.url = request.url.copy_with(host="127.0.0.1", port=self.port)
        return await super().handle_async_request(request)


def main(issuer, audience, port):
    verifier = JWTVerifier(
        jwks_uri=f"{issuer}/.well-known/jwks.json",
        issuer=issuer,
        audience=audience,
        algorithm="ES256",
        http_client=httpx2.AsyncClient(transport=Here(int(port))),
    )
    server = FastMCP("whoami", auth=verifier)

    @server.tool
    def whoami() -> str:
        return get_access_token().claims["sub"]

    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    print(json.dumps({"event": "listening", "url": url}), flush=True)
    app = server.http_app(stateless_http=True, json_response=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


main(*sys.argv[1:])
