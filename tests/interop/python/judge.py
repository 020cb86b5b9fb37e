"""A workload that judges JWT-SVIDs of any trust domain with PyPI `spiffe`.

Usage: judge.py AUDIENCE TOKEN..., with SPIFFE_ENDPOINT_SOCKET set. `tests/src/peer.rs`
says which lines it prints.
"""

import json
import sys

from spiffe import JwtSource, JwtSvid, TrustDomain, WorkloadApiClient
from spiffe.errors import PySpiffeError


def trust_domain(token):
    """What an unverified token says of whose it is: it chooses the bundle, and no more."""
    return JwtSvid.parse_insecure(token, {audience}).spiffe_id.trust_domain


def here(token):
    """Whose it is by the bundles that the library has."""
    bundle = source.get_bundle_for_trust_domain(trust_domain(token))
    if bundle is None:
        return ""
    return str(JwtSvid.parse_and_validate(token, bundle, {audience}).spiffe_id)


def there(token):
    """Whose it is by the agent's word."""
    return str(client.validate_jwt_svid(token, audience).spiffe_id)


def whose(judge, token):
    """The SPIFFE ID of a token that is accepted, and nothing where it is not."""
    try:
        return judge(token)
    except PySpiffeError as refusal:
        print(judge.__name__, refusal, file=sys.stderr)
        return ""


audience, *tokens = sys.argv[1:]
client = WorkloadApiClient()
source = JwtSource(client)
for token in tokens:
    verdict = {"event": "token", "here": whose(here, token), "there": whose(there, token)}
    print(json.dumps(verdict), flush=True)
source.close()
client.close()
