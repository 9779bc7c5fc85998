"""How a request came: which addresses are this server's, whose is the other end, what was asked
for; seen from a client that may be behind a proxy.

Forwarded fields count only when the peer is a trusted proxy (security: anybody can send them).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from davserver.asgi import Scope
from davserver.protocol.headers import DavHeaders, normalize_authority
from davserver.protocol.path import DavPath

_FORWARDED_HOST = re.compile(rb'host\s*=\s*"?([^";,\s]+)', re.IGNORECASE)
_FORWARDED_FOR = re.compile(rb'for\s*=\s*"?\[?([0-9a-f.:]+)', re.IGNORECASE)
_IPV4_WITH_PORT = re.compile(rb"([0-9.]+):[0-9]+")
_FORWARDED_PROTO = re.compile(rb'proto\s*=\s*"?([a-z]+)', re.IGNORECASE)


def is_trusted(scope: Scope, proxies: Collection[str]) -> bool:
    """True when the peer may tell us how the client reached it. A Unix socket's peer may; who has
    no address where the server has one is anybody, who broke off before being asked for it."""
    client = scope.get("client")
    if client is not None:
        return client[0] in proxies
    server = scope.get("server")
    return server is None or server[1] is None


def authorities(
    scope: Scope, headers: DavHeaders, *, proxies: Collection[str], public: Collection[bytes]
) -> frozenset[bytes]:
    """Returns every host[:port], normalised, that a Destination or an If tag may name."""
    found = {normalize_authority(value) for value in headers.get_all(b"host")}
    found.update(public)
    if is_trusted(scope, proxies):
        for value in headers.get_all(b"x-forwarded-host"):
            found.update(normalize_authority(part.strip()) for part in value.split(b","))
        for value in headers.get_all(b"forwarded"):
            found.update(normalize_authority(host) for host in _FORWARDED_HOST.findall(value))
    found.discard(b"")
    return frozenset(found)


def is_secure(scope: Scope, headers: DavHeaders, *, proxies: Collection[str]) -> bool:
    """True for TLS, here or at a trusted proxy that says so."""
    if scope.get("scheme") == "https":
        return True
    if not is_trusted(scope, proxies):
        return False
    proto = headers.get(b"x-forwarded-proto") or b""
    if proto.split(b",")[0].strip().lower() == b"https":
        return True
    found = _FORWARDED_PROTO.search(headers.get(b"forwarded") or b"")
    return found is not None and found[1].lower() == b"https"


def is_private(scope: Scope, headers: DavHeaders, *, proxies: Collection[str]) -> bool:
    """True where a password may travel as it is: on TLS, and from this very machine when the peer
    is the client itself, and no proxy that forwards what came in clear text."""
    if is_secure(scope, headers, proxies=proxies):
        return True
    client = scope.get("client")
    if client is None or not _is_loopback(client[0]):
        return False
    return all(headers.get(name) is None for name in _FORWARDING)


_FORWARDING = (
    *(b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip"),
    b"via",
)


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address in ("::1", "::ffff:127.0.0.1")


def client_address(scope: Scope, headers: DavHeaders, *, proxies: Collection[str]) -> str:
    """Returns the IP address of the client, "-" where it cannot be told: the peer's, or what
    trusted proxies say of it. The last address that is no trusted proxy counts; what stands
    before that anybody could have sent. X-Real-IP, which has one address, is looked at only where
    no field has all of them."""
    client = scope.get("client")
    peer = "-" if client is None else client[0]
    if not is_trusted(scope, proxies):
        return peer
    found = peer
    for value in reversed(_forwarded_for(headers)):
        try:
            found = str(ipaddress.ip_address(value.decode("ascii")))
        except ValueError:
            break
        if found not in proxies:
            break
    return found


def _forwarded_for(headers: DavHeaders) -> list[bytes]:
    value = headers.joined(b"x-forwarded-for")
    if value is None:
        value = headers.joined(b"forwarded")
        if value is not None:
            return _FORWARDED_FOR.findall(value)
        value = (headers.joined(b"x-real-ip") or b"").rpartition(b",")[2]
    found = []
    for part in value.split(b","):
        part = part.strip()
        match = _IPV4_WITH_PORT.fullmatch(part)
        found.append(part.strip(b"[]") if match is None else match[1])
    return found


def raw_path(scope: Scope) -> bytes:
    """Returns the path of the request-target as it was sent."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        # Not every server offers it; then what it decoded is all there is.
        path: str = scope["path"]
        return DavPath(split_path(path), slash=path.endswith("/")).href(
            collection=path.endswith("/")
        )
    return raw.partition(b"?")[0]


def split_path(path: str) -> tuple[str, ...]:
    return tuple(segment for segment in path.split("/") if segment)
