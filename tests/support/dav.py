"""What WebDAV tests say, over any carrier that has `request`: sockets, or ASGI in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from tests.support.multistatus import MultiStatus
from tests.support.reply import HeaderInput, Reply, check_reply

XML = 'application/xml; charset="utf-8"'
LOCKINFO = (
    '<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:">'
    "<D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype>{owner}</D:lockinfo>"
)
Content = bytes | Iterable[bytes]


@dataclass(frozen=True)
class Granted:
    """A lock that was granted."""

    reply: Reply
    token: str
    activelock: Any

    @property
    def untagged(self) -> str:
        """The value of an If field that submits the token."""
        return f"(<{self.token}>)"


def header_items(headers: HeaderInput) -> list[tuple[str, str]]:
    if headers is None:
        return []
    return list(headers.items()) if isinstance(headers, Mapping) else list(headers)


class Dav:
    """Base of the clients. `target` is what goes on the request line, percent-encoded."""

    def exchange(
        self, method: str, target: str, headers: list[tuple[str, str]], body: Content
    ) -> Reply:
        """Sends one request and returns the final answer. A body that is no bytes is sent in
        pieces without a Content-Length."""
        raise AssertionError("carrier without exchange")

    def request(
        self,
        method: str,
        target: str,
        headers: HeaderInput = None,
        body: Content = b"",
    ) -> Reply:
        reply = self.exchange(method, target, header_items(headers), body)
        check_reply(method, reply)
        return reply

    def get(self, target: str, headers: HeaderInput = None) -> Reply:
        return self.request("GET", target, headers)

    def head(self, target: str, headers: HeaderInput = None) -> Reply:
        return self.request("HEAD", target, headers)

    def options(self, target: str, headers: HeaderInput = None) -> Reply:
        return self.request("OPTIONS", target, headers)

    def put(self, target: str, body: Content = b"", headers: HeaderInput = None) -> Reply:
        return self.request("PUT", target, headers, body)

    def mkcol(self, target: str, headers: HeaderInput = None, body: Content = b"") -> Reply:
        return self.request("MKCOL", target, headers, body)

    def delete(self, target: str, headers: HeaderInput = None) -> Reply:
        return self.request("DELETE", target, headers)

    def copy(
        self,
        source: str,
        destination: str,
        *,
        overwrite: str | None = None,
        depth: str | None = None,
        headers: HeaderInput = None,
    ) -> Reply:
        return self._transfer("COPY", source, destination, overwrite, depth, headers)

    def move(
        self,
        source: str,
        destination: str,
        *,
        overwrite: str | None = None,
        depth: str | None = None,
        headers: HeaderInput = None,
    ) -> Reply:
        return self._transfer("MOVE", source, destination, overwrite, depth, headers)

    def _transfer(
        self,
        method: str,
        source: str,
        destination: str,
        overwrite: str | None,
        depth: str | None,
        headers: HeaderInput,
    ) -> Reply:
        fields = [("Destination", destination), *header_items(headers)]
        if overwrite is not None:
            fields.append(("Overwrite", overwrite))
        if depth is not None:
            fields.append(("Depth", depth))
        return self.request(method, source, fields)

    def propfind(
        self,
        target: str,
        body: str | bytes | None = None,
        *,
        props: Sequence[str] | None = None,
        depth: str | None = "0",
        headers: HeaderInput = None,
    ) -> MultiStatus:
        """Returns the multistatus; for other answers use `request`.

        Args:
            body: the whole document; b"" asks for allprop.
            props: names in Clark notation to ask for instead.
        """
        if props is not None:
            body = f'<D:propfind xmlns:D="DAV:"><D:prop>{_empty(props)}</D:prop></D:propfind>'
        content = _encode(body or b"")
        fields = header_items(headers)
        if depth is not None:
            fields.append(("Depth", depth))
        if content:
            fields.append(("Content-Type", XML))
        reply = self.request("PROPFIND", target, fields, content)
        assert reply.status == 207, reply
        return reply.multistatus

    def prop(self, target: str, name: str) -> Any:
        """Returns the element of one property of one resource, None where it is not defined."""
        answer = self.propfind(target, props=[name])
        (groups,) = answer.values()
        return groups.get(200, {}).get(name)

    def proppatch(
        self,
        target: str,
        body: str | bytes | None = None,
        *,
        set: Mapping[str, str] | None = None,
        remove: Sequence[str] = (),
        headers: HeaderInput = None,
    ) -> Reply:
        """Sends `body`, or an update that sets text values and then removes."""
        if body is None:
            update = [
                f"<D:set><D:prop>{_element(name, escape(value))}</D:prop></D:set>"
                for name, value in (set or {}).items()
            ]
            update += [f"<D:remove><D:prop>{_empty([n])}</D:prop></D:remove>" for n in remove]
            body = f'<D:propertyupdate xmlns:D="DAV:">{"".join(update)}</D:propertyupdate>'
        fields = [("Content-Type", XML), *header_items(headers)]
        return self.request("PROPPATCH", target, fields, _encode(body))

    def lock_request(
        self,
        target: str,
        *,
        scope: str = "exclusive",
        depth: str | None = None,
        timeout: str | None = None,
        owner: str = "<D:owner>tests</D:owner>",
        headers: HeaderInput = None,
        body: str | None = None,
    ) -> Reply:
        """Asks for a new lock and returns whatever the answer is."""
        fields = [("Content-Type", XML), *header_items(headers)]
        if depth is not None:
            fields.append(("Depth", depth))
        if timeout is not None:
            fields.append(("Timeout", timeout))
        content = LOCKINFO.format(scope=scope, owner=owner) if body is None else body
        return self.request("LOCK", target, fields, _encode(content))

    def lock(self, target: str, **options: Any) -> Granted:
        """Takes a lock that must be granted, and checks the answer (RFC 4918 section 9.10)."""
        reply = self.lock_request(target, **options)
        assert reply.status in (200, 201), reply
        header = reply.headers["lock-token"]
        assert header[0] + header[-1] == "<>", header
        activelock = activelock_of(reply, header[1:-1])
        assert activelock is not None, reply
        scope = activelock.find("{DAV:}lockscope")[0].tag
        assert scope == f"{{DAV:}}{options.get('scope', 'exclusive')}", "another scope was granted"
        assert activelock.find("{DAV:}lockroot/{DAV:}href") is not None
        return Granted(reply, header[1:-1], activelock)

    def refresh(
        self, target: str, token: str, *, timeout: str | None = None, headers: HeaderInput = None
    ) -> Reply:
        fields = [("If", f"(<{token}>)"), *header_items(headers)]
        if timeout is not None:
            fields.append(("Timeout", timeout))
        return self.request("LOCK", target, fields)

    def unlock(self, target: str, token: str, headers: HeaderInput = None) -> Reply:
        return self.request(
            "UNLOCK", target, [("Lock-Token", f"<{token}>"), *header_items(headers)]
        )

    def locks(self, target: str) -> list[Any]:
        """Returns the activelock elements that lockdiscovery shows."""
        element = self.prop(target, "{DAV:}lockdiscovery")
        assert element is not None, "a resource that can be locked has lockdiscovery"
        return list(element.findall("{DAV:}activelock"))

    def members(self, target: str) -> list[str]:
        """Returns the hrefs of a collection's members, sorted."""
        answer = self.propfind(target, props=["{DAV:}resourcetype"], depth="1")
        own = next(href for href in answer.hrefs if href.rstrip("/") == target.rstrip("/"))
        return sorted(href for href in answer.hrefs if href != own)


def activelock_of(reply: Reply, token: str) -> Any:
    """Returns the activelock with `token` in the body of a LOCK answer."""
    assert reply.xml.tag == "{DAV:}prop", reply.body
    for activelock in reply.xml.findall("{DAV:}lockdiscovery/{DAV:}activelock"):
        if activelock.findtext("{DAV:}locktoken/{DAV:}href") == token:
            return activelock
    return None


def _element(name: str, content: str) -> str:
    namespace, _, local = name[1:].rpartition("}") if name[0] == "{" else ("", "", name)
    return f'<{local} xmlns="{escape(namespace)}">{content}</{local}>'


def _empty(names: Sequence[str]) -> str:
    return "".join(_element(name, "") for name in names)


def _encode(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else body
