"""Calls the tool `whoami` of an MCP server, with the stock SDK and no key of its own.

Usage: mcp_client.py URL CLIENT_ID ISSUER SCOPE, with SPIFFE_ENDPOINT_SOCKET set. It prints
{"event":"called","client_id":...} with what the tool answered.
"""

import asyncio
import json
import sys

import httpx2
from client_assertion import symbolon_auth
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main(url, client_id, issuer, scope):
    auth = symbolon_auth(url, client_id, issuer, scope)
    async with httpx2.AsyncClient(auth=auth, timeout=60) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            result = await client.call_tool("whoami", {})
    print(json.dumps({"event": "called", "client_id": result.content[0].text}), flush=True)


asyncio.run(main(*sys.argv[1:]))
