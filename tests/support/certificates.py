"""Certificates for tests: pairs of files, and what a server shows to a client."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from davserver.serving.tls import Files

_PEM = serialization.Encoding.PEM


def make_pair(
    folder: Path, *, name: str = "localhost", kind: str = "ec", password: bytes | None = None
) -> Files:
    """Writes a new certificate for `name` and 127.0.0.1, signed by itself, over what is there.

    Args:
        kind: of the key, "ec" or "rsa".
        password: of the key.
    """
    key = (
        ec.generate_private_key(ec.SECP256R1())
        if kind == "ec"
        else rsa.generate_private_key(65537, 2048)
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    hidden: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        hidden = serialization.BestAvailableEncryption(password)
    files = Files(folder / "cert.pem", folder / "key.pem")
    files.key.write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, hidden))
    files.certificate.write_bytes(certificate.public_bytes(_PEM))
    return files


def digest_of(certificate: Path) -> str:
    """Returns the SHA-256 of a PEM file's certificate, in hexadecimal."""
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    return found.fingerprint(hashes.SHA256()).hex()


def shown_at(port: int) -> str:
    """Returns the SHA-256 of the certificate that a server shows at a new connection."""
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=10)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
