"""TLS of the server's own listener: a certificate that can change while the server runs.

A changed pair of files becomes a context of its own, which each new handshake is handed over to:
either all of it is used or nothing, also where the kind of key changes. Connections that are open
keep theirs.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from davserver.config import Settings

SELF_SIGNED = "tls"
"""Folder within the state folder that holds the certificate of `tls = "self-signed"`."""
Mark = tuple[tuple[int, ...], ...]
"""What tells that files have changed."""


class CertificateError(Exception):
    """A certificate that cannot be used. The message is one line."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where a certificate chain and its key stand, in PEM; `key` may be the same file."""

    certificate: Path
    key: Path

    def mark(self) -> Mark:
        """Returns what changes when a file does; a file that is gone has a mark too."""
        return tuple(map(_mark, (self.certificate, self.key)))

    def load(self) -> ssl.SSLContext:
        """Returns a context with this certificate. Raises CertificateError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # RFC 9325 section 3.1.1: older ones MUST NOT be negotiated.
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.certificate, self.key, password=self._refuse)
        except ssl.SSLError as error:
            reason = (error.reason or "not PEM").lower().replace("_", " ")
            raise CertificateError(f"{self}: {reason}") from error
        except OSError as error:
            raise CertificateError(f"{self}: {error.strerror}") from error
        return context

    def _refuse(self) -> NoReturn:
        # Without this OpenSSL asks on the terminal, and every worker waits for it.
        raise CertificateError(f"{self}: the key has a password, and nobody to ask for it")

    def __str__(self) -> str:
        if self.key == self.certificate:
            return f"the certificate {self.certificate}"
        return f"the certificate {self.certificate} with the key {self.key}"


def _mark(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def files_of(settings: Settings) -> Files | None:
    """Returns where the settings' certificate stands; None without TLS."""
    if settings.tls is not None:
        folder = settings.state_folder / SELF_SIGNED
        return Files(folder / "certificate.pem", folder / "key.pem")
    if settings.tls_cert is None:
        return None
    return Files(settings.tls_cert, settings.tls_key or settings.tls_cert)


def fingerprint(certificate: Path) -> str:
    """Returns the SHA-256 fingerprint of a PEM file's first certificate as clients show it."""
    first, end, _ = certificate.read_text("ascii").partition(ssl.PEM_FOOTER)
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first + end)).digest()
    return digest.hex(":").upper()


class Certificates:
    """The listener's context, and the certificate that new handshakes get.

    Attributes:
        context: for the listener.

    Raises CertificateError.
    """

    def __init__(self, files: Files) -> None:
        self.context = self._newest = files.load()
        # Called for every ClientHello, with a server name or without.
        self.context.sni_callback = self._choose

    def renew(self, files: Files) -> None:
        """From here on handshakes get this certificate. Raises CertificateError: the one before
        stays."""
        self._newest = files.load()

    def _choose(
        self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext
    ) -> None:
        connection.context = self._newest
