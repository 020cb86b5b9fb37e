"""Calls the tool `whoami` of an MCP server, with header lines that somebody else has got.

Usage: mcp_headers.py URL, with the lines, as `symbolon token --header` prints them, in HEADERS.
It prints {"event":"called","client_id":...} with what the tool answered.
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main(url):
    headers = dict(line.split(": ", 1) for line in os.environ["HEADERS"].splitlines())
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            result = await client.call_tool("whoami", {})
    print(json.dumps({"event": "called", "client_id": result.content[0].text}), flush=True)


asyncio.run(main(*sys.argv[1:]))
