"""What FastMCP's own validator says about client ID metadata documents.

Arguments: the file of vectors. Prints one line of JSON for each vector: whether
it would take the document, as an authorization server that has fetched it. The
exit code is 1 where that is not what the vector says.
"""

import asyncio
import json
import sys
from types import SimpleNamespace

from fastmcp.server.auth import cimd

BODY = b""


async def fetched(*_arguments, **_options):
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    return SimpleNamespace(status_code=200, headers=headers, content=BODY)


async def reachable(*_arguments, **_options):
    return SimpleNamespace()


async def verdict(vector):
    global BODY
    document = vector.get("text") or json.dumps(vector["document"])
    BODY = document.encode()
    fetcher = cimd.CIMDFetcher()
    if not fetcher.is_cimd_client_id(vector["url"]):
        return "refused", "client_id"
    if len(BODY) > fetcher.MAX_RESPONSE_SIZE:
        return "refused", "too large"
    try:
        await fetcher.fetch(vector["url"])
    except (cimd.CIMDValidationError, cimd.CIMDFetchError) as error:
        return "refused", str(error).splitlines()[0]
    return "accepted", ""


async def main():
    # The network is no part of what is judged.
    cimd.ssrf_safe_fetch_response = fetched
    cimd.validate_url = reachable
    with open(sys.argv[1], encoding="utf-8") as file:
        vectors = json.load(file)
    differs = False
    for vector in vectors:
        word, why = await verdict(vector)
        expected = "accepted" if "fastmcp" in vector["accepted_by"] else "refused"
        differs |= word != expected
        line = {"rule": vector["rule"], "url": vector["url"], "expected": expected}
        print(json.dumps(line | {"verdict": word, "why": why}))
    sys.exit(differs)


asyncio.run(main())
