"""Certificates and keys for a federation on one machine or in one class.

Made by the ``cryptography`` package; the private halves are readable by their owner only.
"""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=30)


def make_certificates(folder: Path, host: str, names: tuple[str, ...] = ("localhost",)) -> None:
    """Write ``ca.crt``, ``server.pem`` and ``server.key``: a server that hospitals can verify.

    ``host`` is the server's IP address, ``names`` its DNS names. The key of the certificate
    authority is thrown away: nothing else can be signed in its name, and a renewal is a new
    authority. Raises ``FileExistsError`` before anything is written if a key is there already.
    """
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(
        ec.SECP256R1())
    issuer = _name("course certificate authority")
    usage = {field: False for field in (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")}
    root = (_builder(issuer, issuer, authority)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(**usage | {"key_cert_sign": True, "crl_sign": True}),
                           critical=True)
            .sign(authority, hashes.SHA256()))
    addresses = [x509.IPAddress(ipaddress.ip_address(host)), *map(x509.DNSName, names)]
    server = (_builder(_name("superlink"), issuer, key)
              .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
              .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
              .add_extension(x509.KeyUsage(**usage | {"digital_signature": True}), critical=True)
              .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
                             critical=False)
              .sign(authority, hashes.SHA256()))
    pem = serialization.Encoding.PEM
    write_private(folder / "server.key", key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    (folder / "ca.crt").write_bytes(root.public_bytes(pem))
    (folder / "server.pem").write_bytes(server.public_bytes(pem))


def make_node_key(path: Path) -> None:
    """Write a SuperNode's private key to ``path`` and its public half to ``path`` + ``.pub``."""
    key = ec.generate_private_key(ec.SECP384R1())
    write_private(path, key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption()))
    path.with_name(f"{path.name}.pub").write_bytes(key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH) + b"\n")


def write_private(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + LIFETIME))
