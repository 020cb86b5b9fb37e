"""A workload that gets its identity with PyPI `spiffe`.

Usage: workload.py AUDIENCE, with SPIFFE_ENDPOINT_SOCKET set. `tests/src/interop.rs`
says which lines it prints. It ends with code 0 once the agent has ended its stream,
and with code 1 and a message at any surprise.
"""

import json
import queue
import sys

from spiffe import JwtSvid, WorkloadApiClient
from spiffe.workloadapi.x509_context import X509Context


def emit(event, **fields):
    """Prints one event as a line of JSON."""
    print(json.dumps({"event": event, **fields}), flush=True)


def show_x509(context):
    """Checks that the bundle's authority signed the default X.509-SVID, and reports it."""
    svid = context.default_svid
    bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    by_name = {authority.subject: authority for authority in bundle.x509_authorities}
    svid.leaf.verify_directly_issued_by(by_name[svid.leaf.issuer])
    emit("x509", spiffe_id=str(svid.spiffe_id), serial=f"{svid.leaf.serial_number:032x}")


def show_jwt(client, audience):
    """Fetches a JWT-SVID and validates it here and through the agent."""
    token = client.fetch_jwt_svid({audience}).token
    subject = client.validate_jwt_svid(token, audience).spiffe_id
    bundles = client.fetch_jwt_bundles()
    bundle = bundles.get_bundle_for_trust_domain(subject.trust_domain)
    local = JwtSvid.parse_and_validate(token, bundle, {audience})
    if local.spiffe_id != subject:
        raise ValueError(f"{local.spiffe_id} here, {subject} there")
    emit("jwt", spiffe_id=str(subject))


def main():
    audience = sys.argv[1]
    updates = queue.Queue()
    client = WorkloadApiClient()
    client.stream_x509_contexts(updates.put, updates.put, retry_connect=False)
    fetched = False
    while True:
        update = updates.get()
        if not isinstance(update, X509Context):
            break
        show_x509(update)
        if not fetched:
            show_jwt(client, audience)
            fetched = True
    prefix, _, code = str(update).rpartition("StatusCode.")
    if not fetched or not prefix:
        raise update
    emit("ended", code=code)


if __name__ == "__main__":
    main()
