"""Which addresses are this server's, seen from a client that may be behind a proxy.

Forwarded fields count only when the peer is a trusted proxy (security: anybody can send them).
"""

from __future__ import annotations

import re
from collections.abc import Collection

from davserver.asgi import Scope
from davserver.protocol.headers import DavHeaders, normalize_authority

_FORWARDED_HOST = re.compile(rb'host\s*=\s*"?([^";,\s]+)', re.IGNORECASE)
_FORWARDED_PROTO = re.compile(rb'proto\s*=\s*"?([a-z]+)', re.IGNORECASE)


def is_trusted(scope: Scope, proxies: Collection[str]) -> bool:
    """True when the peer may tell us how the client reached it. A Unix socket's peer may."""
    client = scope.get("client")
    return client is None or client[0] in proxies


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
