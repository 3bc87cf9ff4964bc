"""A workload on PyPI's `spiffe` that another meets, of another trust domain perhaps: both write where they listen and a token for the other
into one folder. Each round it connects to the other and validates the other's token, and prints the outcomes, until it is terminated.

    peer.py peer FOLDER NAME OTHER ID

`spiffe` hands out keys, chains and bundles; TLS is Python's own, that is OpenSSL's, with the bundle of the other's trust domain alone.
"""

import os
import pathlib
import socket
import ssl
import sys
import tempfile
import threading
import time

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe import JwtSource, JwtSvid, SpiffeId, WorkloadApiClient, X509Source

# Seconds that the agent, or the other, may take for anything that is waited for.
PATIENCE = 30
# Between two rounds.
PAUSE = 0.1
GREETING = b"hello"


class Refused(Exception):
    """What the library or the agent does not accept, and why."""


class Peer:
    def __init__(self, folder, name, other, other_id, client, x509, tokens):
        self.folder, self.name, self.other, self.id = pathlib.Path(folder), name, other, SpiffeId(other_id)
        self.client, self.x509, self.tokens = client, x509, tokens
        self.reasons = {}

    def roots(self, bundles):
        """The other trust domain's authorities, as far as they are in this set of bundles."""
        bundle = bundles.get_bundle_for_trust_domain(self.id.trust_domain)
        return list(bundle.x509_authorities) if bundle else []

    def tls(self, protocol):
        """With the SVID and the bundle of this moment."""
        context = ssl.SSLContext(protocol)
        context.check_hostname, context.verify_mode = False, ssl.CERT_REQUIRED
        svid = self.x509.svid
        with tempfile.NamedTemporaryFile() as file:
            file.write(svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            for certificate in svid.cert_chain:
                file.write(certificate.public_bytes(Encoding.PEM))
            file.flush()
            context.load_cert_chain(file.name)
        for root in self.roots(self.client.fetch_x509_bundles()):
            context.load_verify_locations(cadata=root.public_bytes(Encoding.DER))
        return context

    def authorize(self, connection):
        names = [value for kind, value in connection.getpeercert()["subjectAltName"] if kind == "URI"]
        if names != [str(self.id)]:
            raise Refused(f"it is {names}")

    def serve(self, listener):
        while True:
            plain, _ = listener.accept()
            plain.settimeout(PATIENCE)
            try:
                with self.tls(ssl.PROTOCOL_TLS_SERVER).wrap_socket(plain, server_side=True) as connection:
                    self.authorize(connection)
                    connection.sendall(connection.recv(len(GREETING)))
            except (OSError, Refused):
                plain.close()  # It fails at the other end too, which tells.

    def handshake(self):
        """The serial number of the other's certificate, if each end accepts the other."""
        host, port = self.read(".address").rsplit(":", 1)
        plain = socket.create_connection((host, int(port)), PATIENCE)
        try:
            with self.tls(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(plain) as connection:
                self.authorize(connection)
                connection.sendall(GREETING)
                if (answer := connection.recv(len(GREETING))) != GREETING:
                    raise Refused(f"answered {answer!r}")
                return connection.getpeercert()["serialNumber"]
        except OSError as error:
            raise Refused(error) from error
        finally:
            plain.close()

    def offline(self, audience):
        """The ID of the key that signed the other's token, if the bundle that was pushed has it."""
        token = self.read(".jwt")
        bundle = accepted(lambda: self.tokens.get_bundle_for_trust_domain(self.id.trust_domain))
        if bundle is None:
            raise Refused(f"no JWT bundle of {self.id.trust_domain}")
        svid = accepted(lambda: JwtSvid.parse_and_validate(token, bundle, {audience}))
        if svid.spiffe_id != self.id:
            raise Refused(f"it is of {svid.spiffe_id}")
        must_refuse("another audience, offline,", lambda: JwtSvid.parse_and_validate(token, bundle, {"nobody-asked-for-this"}))
        return jwt.get_unverified_header(token)["kid"]

    def online(self, audience):
        token = self.read(".jwt")
        svid = accepted(lambda: self.client.validate_jwt_svid(token, audience))
        if svid.spiffe_id != self.id:
            raise Refused(f"it is of {svid.spiffe_id}")
        must_refuse("another audience, online,", lambda: self.client.validate_jwt_svid(token, "nobody-asked-for-this"))
        return svid.spiffe_id

    def round(self):
        own = self.tokens.fetch_svid(audience={str(self.id)})
        self.write(".jwt", own.token)
        audience = str(own.spiffe_id)
        bundle = None
        try:
            bundle = self.tokens.get_bundle_for_trust_domain(self.id.trust_domain)
        except Exception:  # Whichever of the library's errors says that there is none.
            pass
        keys = len(bundle.jwt_authorities) if bundle else 0
        outcomes = [
            self.outcome("handshake", self.handshake),
            self.outcome("offline", lambda: self.offline(audience)),
            self.outcome("online", lambda: self.online(audience)),
        ]
        roots = len(self.roots(self.x509.get_x509_context().x509_bundle_set))
        print("round", *outcomes, f"roots={roots} keys={keys}", flush=True)

    def outcome(self, what, judge):
        try:
            return f"{what}={judge()}"
        except FileNotFoundError:
            return f"{what}=none"
        except Refused as error:
            if self.reasons.get(what) != str(error):
                self.reasons[what] = str(error)
                print(f"why {what}: {str(error)!r}", flush=True)
            return f"{what}=refused"

    def write(self, kind, text):
        """Replaces a file, so that nobody reads half of it."""
        path = self.folder / (self.name + kind)
        new = path.with_name(path.name + ".new")
        new.write_text(text)
        os.replace(new, path)

    def read(self, kind):
        return (self.folder / (self.other + kind)).read_text()


def accepted(call):
    try:
        return call()
    except Exception as error:  # Whichever of the library's errors it is.
        raise Refused(repr(error)) from error


def must_refuse(what, call):
    try:
        accepted(call)
    except Refused:
        return
    raise ValueError(f"{what} is accepted")


def main(folder, name, other, other_id):
    with (
        WorkloadApiClient() as client,
        X509Source(timeout_in_seconds=PATIENCE) as x509,
        JwtSource(timeout_in_seconds=PATIENCE) as tokens,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        peer = Peer(folder, name, other, other_id, client, x509, tokens)
        threading.Thread(target=peer.serve, args=[listener], daemon=True).start()
        host, port = listener.getsockname()
        peer.write(".address", f"{host}:{port}")
        while True:
            peer.round()
            time.sleep(PAUSE)


match sys.argv[1:]:
    case ["peer", *arguments] if len(arguments) == 4:
        main(*arguments)
    case _:
        sys.exit(__doc__)
