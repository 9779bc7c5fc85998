"""The certificate of `tls = "self-signed"`: made once, kept in the state folder, told by its
fingerprint."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from davserver.config import Settings
from davserver.serving.tls import CertificateError, Files

if TYPE_CHECKING:
    from cryptography import x509

LIFE = datetime.timedelta(days=820)
"""Apple's systems refuse certificates of more than 825 days."""
RENEWED_BEFORE = datetime.timedelta(days=30)
_BACK = datetime.timedelta(days=1)
"""Clients whose clock is behind ours take it nevertheless."""
_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\Z")
_COMMON_NAME_LIMIT = 64
"""Characters (RFC 5280, ub-common-name)."""
_ADDRESSES_V4 = Path("/proc/self/net/fib_trie")
_ADDRESSES_V6 = Path("/proc/self/net/if_inet6")


def ensure(files: Files, settings: Settings, *, now: datetime.datetime) -> bool:
    """Makes the certificate unless there is one that will do. True when it made one.

    One that lacks a name of this machine will do: clients have been told to trust it.

    Raises CertificateError.
    """
    try:
        import cryptography
    except ModuleNotFoundError:
        raise CertificateError(
            "a self-signed certificate needs one more package: pip install cryptography"
        ) from None
    del cryptography
    if _lasts(files, now):
        return False
    try:
        files.key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(files, names(settings), now)
    except OSError as error:
        raise CertificateError(f"{files} cannot be made: {error.strerror}") from error
    return True


def _lasts(files: Files, now: datetime.datetime) -> bool:
    from cryptography import x509

    try:
        files.load()
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    except (CertificateError, OSError, ValueError):
        # Gone, or half of a pair: we made it, and make it again.
        return False
    return now + RENEWED_BEFORE < certificate.not_valid_after_utc


def _make(files: Files, subjects: list[str], now: datetime.datetime) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    common = [name for name in subjects if len(name) <= _COMMON_NAME_LIMIT]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[0])])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACK)
        .not_valid_after(now - _BACK + LIFE)
        .add_extension(x509.SubjectAlternativeName(list(map(_general_name, subjects))), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(usage, True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(identifier, False)
        .sign(key, hashes.SHA256())
    )
    # The key first: a certificate without its key, after a crash, is made anew.
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(files.key, secret, 0o600)
    _write(files.certificate, certificate.public_bytes(pem), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    new = path.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def _general_name(subject: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(subject))
    except ValueError:
        return x509.DNSName(subject)


def names(settings: Settings) -> list[str]:
    """Returns the names and addresses by which clients may reach this server."""
    host = socket.gethostname()
    found = [host, "localhost", socket.getfqdn(), settings.host.strip("[]")]
    if "." not in host:
        found.append(f"{host}.local")
    found += [urlsplit(url).hostname or "" for url in settings.public_url]
    found += ["127.0.0.1", "::1", *_addresses()]
    return list(dict.fromkeys(name for name in found if _is_usable(name)))


def _is_usable(name: str) -> bool:
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(name)
        return not (address.is_unspecified or address.is_multicast or address.is_link_local)
    return _NAME.match(name) is not None


def _addresses() -> Iterator[str]:
    with contextlib.suppress(OSError):
        for found in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM):
            yield str(found[4][0])
    # Linux tells all of its addresses, also those that no name leads to.
    with contextlib.suppress(OSError):
        address = ""
        for line in _ADDRESSES_V4.read_text("ascii").splitlines():
            if "|-- " in line:
                address = line.rpartition(" ")[2]
            elif "/32 host LOCAL" in line:
                yield address
    with contextlib.suppress(OSError):
        for line in _ADDRESSES_V6.read_text("ascii").splitlines():
            yield str(ipaddress.IPv6Address(bytes.fromhex(line[:32])))
