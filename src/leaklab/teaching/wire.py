"""What someone on the line sees: the bytes of a TLS connection, made in memory without a socket."""

from __future__ import annotations

import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path


def over_tls(payload: bytes) -> bytes:
    """All that crosses the line, in both directions, when ``payload`` is sent over TLS 1.3.

    Needs the package ``cryptography``, which comes with Flower.
    """
    server_context, client_context = _contexts()
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname="localhost")
    inbox, outbox = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(inbox, outbox, server_side=True)
    seen = bytearray()

    def carry() -> None:
        for source, sink in ((to_server, inbox), (outbox, to_client)):
            crossing = source.read()
            seen.extend(crossing)
            sink.write(crossing)

    for _ in range(3):  # hello, certificate and finished
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                carry()
    client.write(payload)
    carry()
    received = b"".join(iter(lambda: _read(server), b""))
    assert received == payload, "what arrives is what was sent"
    return bytes(seen)


def _read(side: ssl.SSLObject) -> bytes:
    try:
        return side.read(2**16)
    except ssl.SSLWantReadError:
        return b""


def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server with a certificate of its own making, and a client that trusts that one."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256()))
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        chain = Path(folder, "server.pem")
        chain.write_bytes(pem + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))
        server.load_cert_chain(chain)
    client = ssl.create_default_context(cadata=pem.decode())
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    return server, client
