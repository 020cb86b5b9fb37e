"""An MCP server that takes JWT-SVIDs, with FastMCP's verifier as it comes.

Usage: verifier.py JWKS_URI ISSUER AUDIENCE TOKEN..., with SSL_CERT_FILE naming what to trust.

Shows each token to the server over HTTP as any MCP client does, and prints a line of
JSON for it: {"event":"accepted","subject":...}, which the server's tool has said, or
{"event":"refused","status":401}.
"""

import asyncio
import json
import socket
import sys
import urllib.error
import urllib.request

from fastmcp import Client, FastMCP
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.server.auth.providers.jwt import JWTVerifier
from fastmcp.server.dependencies import get_access_token

jwks_uri, issuer, audience, *tokens = sys.argv[1:]
verifier = JWTVerifier(jwks_uri=jwks_uri, issuer=issuer, audience=audience, algorithm="ES256")
server = FastMCP("verifier", auth=verifier)


@server.tool
def whoami() -> str:
    """Tells the caller who it is, by its token."""
    return get_access_token().claims["sub"]


def status(url: str, token: str) -> int:
    """What the server answers before it looks at the message, by HTTP."""
    headers = {
        "accept": "application/json, text/event-stream",
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
    }
    try:
        with urllib.request.urlopen(urllib.request.Request(url, b"{}", headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


async def show(url: str, token: str) -> dict:
    """What the server makes of the token."""
    code = await asyncio.to_thread(status, url, token)
    if code in (401, 403):
        return {"event": "refused", "status": code}
    async with Client(StreamableHttpTransport(url, auth=token)) as client:
        answer = await client.call_tool("whoami", {})
        return {"event": "accepted", "subject": answer.data}


async def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    serving = asyncio.create_task(
        server.run_http_async(host="127.0.0.1", port=port, show_banner=False, log_level="error")
    )
    url = f"http://127.0.0.1:{port}/mcp"
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        except OSError:
            await asyncio.sleep(0.05)
    for token in tokens:
        print(json.dumps(await show(url, token)), flush=True)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


asyncio.run(main())
