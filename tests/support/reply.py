"""An answer as the tests see it, whoever carried it, and the checks that every answer passes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from lxml import etree

from tests.support.faces import check_faces, read_json, xml_of
from tests.support.multistatus import MultiStatus

XML = 'application/xml; charset="utf-8"'
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
HeaderInput = Mapping[str, str] | Iterable[tuple[str, str]] | None


class Headers:
    """Header fields: names are case-insensitive, a name may occur more than once."""

    def __init__(self, items: Iterable[tuple[str, str]]) -> None:
        self.items = [(name.lower(), value) for name, value in items]

    def get(self, name: str, default: str | None = None) -> str | None:
        """Returns the only value; a field sent twice is an error of the server's."""
        values = self.get_all(name)
        assert len(values) <= 1, f"{name} was sent {len(values)} times: {values}"
        return values[0] if values else default

    def get_all(self, name: str) -> list[str]:
        return [value for key, value in self.items if key == name.lower()]

    def tokens(self, name: str) -> list[str]:
        """Returns the members of a comma-separated field."""
        joined = ",".join(self.get_all(name))
        return [token.strip() for token in joined.split(",") if token.strip()]

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        assert value is not None, f"no {name} in {self.items}"
        return value

    def __contains__(self, name: str) -> bool:
        return bool(self.get_all(name))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.items)

    def __repr__(self) -> str:
        return f"Headers({self.items!r})"


@dataclass(eq=False)
class Reply:
    """A final answer.

    Attributes:
        interim: the 1xx statuses that came before it.
        framing: "length", "chunked", "close" or "none"; "asgi" where no connection was used.
    """

    status: int
    reason: str
    headers: Headers
    body: bytes
    interim: tuple[int, ...] = ()
    framing: str = "asgi"

    @cached_property
    def multistatus(self) -> MultiStatus:
        """The parsed and checked body of a 207."""
        assert self.status == 207, self
        return MultiStatus.parse(self)

    @cached_property
    def xml(self) -> etree._Element:
        """The root of an XML body."""
        assert self.headers["content-type"].startswith("application/xml"), self.headers
        return etree.fromstring(self.body)

    @property
    def conditions(self) -> list[str]:
        """Names of the condition elements in an error body (RFC 4918 section 16)."""
        assert self.xml.tag == "{DAV:}error", self.body
        return [str(child.tag) for child in self.xml]

    @property
    def condition_hrefs(self) -> list[str]:
        assert self.xml.tag == "{DAV:}error", self.body
        return [element.text or "" for element in self.xml.iter("{DAV:}href")]

    def __repr__(self) -> str:
        return f"Reply({self.status} {self.reason}, {self.headers.items}, {self.body[:2000]!r})"


def _has_json_face(method: str, reply: Reply) -> bool:
    """True for JSON that could be XML; what the service routes have to tell is theirs alone."""
    if reply.headers.get("content-type") != JSON or method in ("GET", "HEAD", "POST"):
        return False
    return reply.status == 207 or reply.status >= 400 or method == "LOCK"


def in_xml(reply: Reply) -> Reply:
    """Returns a JSON answer as it would have been in XML, or as text."""
    document = read_json(reply.body)
    if document.keys() <= {"status", "message", "description"}:
        assert document["status"] == reply.status
        text = document.get("description", "")
        kind, body = TEXT, f"{text}\n".encode("ascii", "backslashreplace") if text else b""
    else:
        kind, body = XML, xml_of(document)
    fields = [("content-type", kind), ("content-length", str(len(body)))]
    told = {*dict(fields), ("vary", "Accept")}
    fields += [field for field in reply.headers if not told & {field, field[0]}]
    return replace(reply, headers=Headers(fields), body=body)


_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def check_reply(method: str, reply: Reply) -> None:
    """Asserts what holds for each answer of the server, whatever was asked."""
    headers = reply.headers
    if _has_json_face(method, reply):
        check_reply(method, in_xml(reply))
        return
    # That of a batch is JSON alone, and may be asked for as a job's result.
    if reply.status == 207 and headers["content-type"] != JSON:
        reply.multistatus.check_method(method)
        check_faces(reply.body, 207)
    elif method in ("LOCK", "MKCOL") and reply.body.startswith(b"<?xml"):
        check_faces(reply.body, reply.status)
    if reply.status == 405:
        assert "allow" in headers, "405 without Allow (RFC 9110 section 15.5.6)"
    if reply.status == 401:
        assert "www-authenticate" in headers, "401 without a challenge (RFC 9110 section 11.6.1)"
    if reply.status == 416:
        assert headers["content-range"].startswith("bytes */")
    if "etag" in headers:
        assert _ETAG.fullmatch(headers["etag"]), headers["etag"]
    if method == "HEAD" or reply.status in (204, 304):
        assert reply.body == b"", reply
    elif reply.framing in ("asgi", "length") and "content-length" in headers:
        assert int(headers["content-length"]) == len(reply.body), reply
    assert all(ord(char) >= 32 or char == "\t" for _, value in headers for char in value), headers
