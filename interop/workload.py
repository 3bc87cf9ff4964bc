"""A workload that uses PyPI's `spiffe`, a library that is not ours: what it refuses, Plastron's Workload API gave wrongly.

It takes its identity from the socket that SPIFFE_ENDPOINT_SOCKET names, prints one line for each thing that it sees, and ends by itself:
with status 0 where everything held. `spiffe` hands X.509 chains out and verifies none, so they are verified with `cryptography` here.

    workload.py x509 SECONDS
    workload.py jwt AUDIENCE SECONDS
"""

import datetime
import os
import sys
import time

import grpc
from cryptography import x509
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store
from spiffe import JwtSource, JwtSvid, WorkloadApiClient, X509Source

# Seconds that the agent may take for anything that is waited for.
PATIENCE = 30
# Between two rounds of what is done all the time.
PAUSE = 0.1


class Authorities:
    """Which authorities a bundle had, and what changed."""

    def __init__(self, kind):
        self.kind, self.known, self.seen = kind, set(), set()

    def update(self, names):
        now = set(names)
        for name in sorted(now - self.known):
            print(self.kind, "authority came", name, flush=True)
        for name in sorted(self.known - now):
            print(self.kind, "authority went", name, flush=True)
        self.known, self.seen = now, self.seen | now


def until(seconds):
    """Yields again and again for so many seconds."""
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        yield
        time.sleep(PAUSE)


def key_id(certificate, kind):
    extension = certificate.extensions.get_extension_for_class(kind).value
    return (extension.digest if kind is x509.SubjectKeyIdentifier else extension.key_identifier).hex()


def verify(svid, bundle):
    """Verifies the chain at this moment, as a TLS server would, whose client shows it."""
    authorities = list(bundle.x509_authorities)
    # An authority of SPIFFE has one URI and says keyCertSign; web PKI's rules for it are not those of SPIFFE.
    ca = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.CRITICAL, None)
    leaf = ExtensionPolicy.permit_all().require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
    builder = PolicyBuilder().store(Store(authorities)).time(datetime.datetime.now(datetime.timezone.utc))
    builder = builder.extension_policies(ca_policy=ca, ee_policy=leaf)
    verified = builder.build_client_verifier().verify(svid.leaf, svid.cert_chain[1:])
    names = [str(name.value) for name in verified.subjects]
    if names != [str(svid.spiffe_id)]:
        raise ValueError(f"the SVID of {svid.spiffe_id} verifies as {names}")


def demands_the_header():
    """Every call without the header, which `spiffe` always sends, is refused; by its words, since there are other reasons for that code."""
    token = b"\x0a\x01x\x12\x01x"
    calls = {"FetchX509SVID": b"", "FetchX509Bundles": b"", "FetchJWTBundles": b"", "FetchJWTSVID": token, "ValidateJWTSVID": token}
    with grpc.insecure_channel(os.environ["SPIFFE_ENDPOINT_SOCKET"]) as channel:
        for name, request in calls.items():
            try:
                next(channel.unary_stream(f"/SpiffeWorkloadAPI/{name}")(request, timeout=PATIENCE))
            except grpc.RpcError as error:
                if (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request"):
                    continue
                raise
            raise ValueError(f"{name} needs no header")


def rotate_x509(seconds):
    demands_the_header()
    known, serials, signers, rounds = Authorities("x509"), set(), set(), 0
    with X509Source(timeout_in_seconds=PATIENCE) as source:
        for _ in until(seconds):
            context = source.get_x509_context()
            svid = context.default_svid
            bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
            known.update(key_id(authority, x509.SubjectKeyIdentifier) for authority in bundle.x509_authorities)
            verify(svid, bundle)
            signer = key_id(svid.leaf, x509.AuthorityKeyIdentifier)
            if signer not in signers:
                print("x509 signed by", signer, flush=True)
            signers.add(signer)
            serials.add(svid.leaf.serial_number)
            rounds += 1
        print("x509 identity", svid.spiffe_id)
    print(f"x509 done: {rounds} rounds, {len(serials)} svids, {len(signers)} signers, {len(known.seen)} authorities")


def refused(what, call):
    try:
        call()
    except Exception as error:  # Whichever of the library's errors it is.
        return error
    raise ValueError(f"{what} is accepted")


def rotate_jwt(audience, seconds):
    wrong = {"nobody-asked-for-this"}
    known, tokens, signers, rounds = Authorities("jwt"), set(), set(), 0
    with WorkloadApiClient() as client, JwtSource(timeout_in_seconds=PATIENCE) as source:
        for _ in until(seconds):
            svid = source.fetch_svid(audience={audience, "another-of-ours"})
            bundle = source.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
            known.update(bundle.jwt_authorities)
            offline = JwtSvid.parse_and_validate(svid.token, bundle, {audience})
            online = client.validate_jwt_svid(svid.token, audience)
            if not offline.spiffe_id == online.spiffe_id == svid.spiffe_id:
                raise ValueError(f"the SVID of {svid.spiffe_id} validates as {offline.spiffe_id} and {online.spiffe_id}")
            refused("another audience, offline,", lambda: JwtSvid.parse_and_validate(svid.token, bundle, wrong))
            refused("another audience, by the Workload API,", lambda: client.validate_jwt_svid(svid.token, *wrong))
            signer = header(svid.token)["kid"]
            if signer not in signers:
                print("jwt signed by", signer, flush=True)
            signers.add(signer)
            tokens.add(svid.token)
            rounds += 1
    print(f"jwt done: {rounds} rounds, {len(tokens)} tokens, {len(signers)} signers, {len(known.seen)} authorities")


def header(token):
    import jwt

    return jwt.get_unverified_header(token)


def main(arguments):
    match arguments:
        case ["x509", seconds]:
            rotate_x509(seconds)
        case ["jwt", audience, seconds]:
            rotate_jwt(audience, seconds)
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
