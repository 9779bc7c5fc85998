"""The URL that is examined, and names below it as clients write them (RFC 3986)."""

from __future__ import annotations

import ipaddress
import posixpath
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes, urlsplit

_AS_TYPED = "%/:@!$&'()*+,;=~-._"
_PORTS = {"http": 80, "https": 443}


class UnusableUrl(ValueError):
    """The message is one line."""


@dataclass(frozen=True, slots=True)
class Address:
    """Attributes:
    path: percent-encoded, with its slash at the end.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What belongs into Host: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        return self.origin + self.path

    @property
    def is_secure(self) -> bool:
        return self.scheme == "https"

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str) -> Address:
    """Reads a URL as it was typed. Raises UnusableUrl."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise UnusableUrl(f"{text!r} is no URL: {error}") from None
    if url.scheme not in _PORTS or not url.hostname:
        raise UnusableUrl(f"{text!r} must look like https://files.example.org/dav/")
    if url.username is not None:
        # What stands on a command line is read by everybody on the machine.
        raise UnusableUrl("no user and password in the URL: use --user, and type the password")
    if url.query or url.fragment:
        raise UnusableUrl(f"{text!r} must end with its path: no '?' and no '#'")
    path = quote(url.path, safe=_AS_TYPED)
    if not path.endswith("/"):
        path += "/"
    return Address(url.scheme, url.hostname, port or _PORTS[url.scheme], path)


def quoted(name: str) -> str:
    """Returns one segment as a careful client writes it: all but unreserved characters encoded."""
    return quote(name, safe="")


def decoded(path: str) -> bytes:
    """Returns what a path means, for comparing; runs of slashes and the last one count."""
    return unquote_to_bytes(path)


def parent(path: str) -> str:
    """Returns the path of the collection that holds a collection."""
    above = posixpath.dirname(path.rstrip("/"))
    return above if above.endswith("/") else above + "/"
