"""What tests say of bindings (RFC 5842)."""

from __future__ import annotations

from collections.abc import Mapping

from tests.conftest import AppDav
from tests.support.dav import XML
from tests.support.reply import Reply

RESOURCE_ID, PARENT_SET = "{DAV:}resource-id", "{DAV:}parent-set"
HREF, SEGMENT = "{DAV:}href", "{DAV:}segment"


def ask(
    dav: AppDav, method: str, target: str, headers: Mapping[str, str] | None = None, **parts: str
) -> Reply:
    """Sends BIND, UNBIND or REBIND with these elements in its body."""
    local = method.lower()
    inner = "".join(f"<D:{name}>{text}</D:{name}>" for name, text in parts.items())
    body = f'<D:{local} xmlns:D="DAV:">{inner}</D:{local}>'.encode()
    return dav.request(method, target, {"Content-Type": XML, **(headers or {})}, body)


def bind(dav: AppDav, collection: str, segment: str, href: str, **headers: str) -> Reply:
    return ask(dav, "BIND", collection, headers, segment=segment, href=href)


def unbind(dav: AppDav, collection: str, segment: str, **headers: str) -> Reply:
    return ask(dav, "UNBIND", collection, headers, segment=segment)


def rebind(dav: AppDav, collection: str, segment: str, href: str, **headers: str) -> Reply:
    return ask(dav, "REBIND", collection, headers, segment=segment, href=href)


def resource_id(dav: AppDav, target: str) -> str:
    text: str = dav.prop(target, RESOURCE_ID).findtext(HREF)
    assert text.startswith("urn:uuid:")
    return text


def parents(dav: AppDav, target: str) -> list[tuple[str, str]]:
    """Returns (collection, segment) of every binding that the server tells of."""
    found = dav.prop(target, PARENT_SET)
    return [(one.findtext(HREF), one.findtext(SEGMENT)) for one in found]


def conditions(reply: Reply) -> list[str]:
    """Local names of the conditions that a refusal names."""
    return [name.removeprefix("{DAV:}") for name in reply.conditions]
