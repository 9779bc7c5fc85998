"""Multistatus bodies (RFC 4918 sections 13 and 14), parsed strictly: each one that any test
receives passes these checks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lxml import etree

if TYPE_CHECKING:
    from tests.support.reply import Reply

D = "{DAV:}"
_STATUS = re.compile(r"HTTP/1\.1 ([2-5]\d\d) (\S.*)")
# What an href may hold: a path (or http URL) of unreserved characters, escapes and slashes.
_HREF = re.compile(r"(?:https?://[A-Za-z0-9.:\[\]-]+)?/(?:[A-Za-z0-9._~/-]|%[0-9A-F]{2})*")
_RESPONSE = re.compile(
    r"href (?:propstat )+(?:error )?(?:responsedescription )?"
    r"|(?:href )+status (?:error )?(?:responsedescription )?(?:location )?"
)
_PROPSTAT = re.compile(r"prop status (?:error )?(?:responsedescription )?")


class MultiStatus(dict[str, dict[int, dict[str, Any]]]):
    """`{href: {status: {name in Clark notation: element}}}` of the propstat form.

    Attributes:
        statuses: `{href: status}` of the status form.
        conditions: `{href: [names of condition elements]}`, of the response and its propstats.
        by_property: `{href: {name: [condition names]}}` for properties in propstats with an error.
    """

    def __init__(self) -> None:
        super().__init__()
        self.statuses: dict[str, int] = {}
        self.conditions: dict[str, list[str]] = {}
        self.by_property: dict[str, dict[str, list[str]]] = {}
        self.sync_token: str | None = None

    @classmethod
    def parse(cls, reply: Reply) -> MultiStatus:
        assert reply.headers["content-type"] == 'application/xml; charset="utf-8"'
        assert "location" not in reply.headers, "207 with Location (RFC 4918 section 13.1)"
        assert reply.framing in ("asgi", "length", "chunked"), reply.framing
        assert b"<!DOCTYPE" not in reply.body
        root = etree.fromstring(reply.body)
        assert root.tag == f"{D}multistatus", root.tag
        assert (root.prefix, root.nsmap.get("D")) == ("D", "DAV:"), root.nsmap
        assert None not in root.nsmap, "a default namespace hides elements from older clients"
        result = cls()
        for child in root:
            if child.tag == f"{D}response":
                result._response(child)
            elif child.tag == f"{D}sync-token":
                result.sync_token = child.text
            else:
                assert child.tag == f"{D}responsedescription", child.tag
        result._check_hrefs()
        return result

    @property
    def hrefs(self) -> list[str]:
        return [*self, *self.statuses]

    def ok(self, href: str) -> dict[str, Any]:
        """Returns the properties of `href` that were found."""
        return self[href].get(200, {})

    def text(self, href: str, name: str) -> str | None:
        """Returns the text of a property that was found, None when it is empty."""
        found = self.ok(href)
        assert name in found, f"{name} not found at {href}: {self[href].keys()}"
        text: str | None = found[name].text
        return text

    def status_of(self, href: str, name: str) -> int:
        """Returns the status of one property."""
        for status, names in self[href].items():
            if name in names:
                return status
        raise AssertionError(f"{name} is not in the answer for {href}")

    def check_method(self, method: str) -> None:
        if method in ("COPY", "MOVE", "DELETE"):
            # RFC 4918 sections 9.6.1, 9.8.3, 9.9.2: neither successes nor their consequences.
            assert not {201, 204, 424} & set(self.statuses.values()), self.statuses
            assert self.statuses, "207 without a member that failed"
            assert not self, "propstat in the answer to a namespace operation"
        if method == "PROPPATCH":
            for groups in self.values():
                assert len(groups) == 1 or 200 not in groups, f"partly executed: {groups.keys()}"

    def _response(self, response: Any) -> None:
        assert _RESPONSE.fullmatch(_shape(response)), _shape(response)
        hrefs = [_text_of(element) for element in response.findall(f"{D}href")]
        for href in hrefs:
            assert href not in self, f"{href} twice"
            assert href not in self.statuses, f"{href} twice"
            assert _HREF.fullmatch(href), f"bad href {href!r}"
            assert not re.search(r"/\.\.?(?:/|$)", href), f"dot segment in {href!r}"
        status = response.find(f"{D}status")
        conditions = _conditions(response)
        if status is not None:
            for href in hrefs:
                self.statuses[href] = _status(status)
                self.conditions[href] = conditions
            return
        self[hrefs[0]] = {}
        self.conditions[hrefs[0]] = conditions
        self.by_property[hrefs[0]] = {}
        for propstat in response.findall(f"{D}propstat"):
            self._propstat(hrefs[0], propstat)

    def _propstat(self, href: str, propstat: Any) -> None:
        assert _PROPSTAT.fullmatch(_shape(propstat)), _shape(propstat)
        status = _status(propstat.find(f"{D}status"))
        assert status not in self[href], f"two propstats with {status} for {href}"
        assert status == 200 or 200 in self[href] or not self._has_ok(propstat), "200 goes first"
        group = self[href].setdefault(status, {})
        conditions = _conditions(propstat)
        self.conditions[href] += conditions
        for element in propstat.find(f"{D}prop"):
            name = str(element.tag)
            assert all(name not in names for names in self[href].values()), f"{name} twice"
            group[name] = element
            if conditions:
                self.by_property[href][name] = conditions

    @staticmethod
    def _has_ok(propstat: Any) -> bool:
        later = propstat.itersiblings(f"{D}propstat")
        return any(_status(other.find(f"{D}status")) == 200 for other in later)

    def _check_hrefs(self) -> None:
        forms = {href.startswith("/") for href in self.hrefs}
        assert len(forms) <= 1, "absolute paths and URLs in one multistatus (RFC 4918 section 8.3)"
        for href in self:
            kind = self.ok(href).get(f"{D}resourcetype")
            # An empty resourcetype of a collection is what propname gives: it proves nothing.
            if kind is not None and kind.find(f"{D}collection") is not None:
                assert href.endswith("/"), f"collection without a slash: {href}"


def _shape(element: Any) -> str:
    names = []
    for child in element:
        assert str(child.tag).startswith(D), child.tag
        names.append(str(child.tag).removeprefix(D) + " ")
    assert not (element.text or "").strip(), element.text
    return "".join(names)


def _text_of(element: Any) -> str:
    assert len(element) == 0, "an element inside an href"
    return element.text or ""


def _status(element: Any) -> int:
    match = _STATUS.fullmatch(element.text or "")
    assert match, f"bad status line {element.text!r}"
    return int(match[1])


def _conditions(element: Any) -> list[str]:
    error = element.find(f"{D}error")
    if error is None:
        return []
    assert len(error), "an error element without a condition"
    assert not (error.text or "").strip(), "text in an error element (RFC 4918 section 14.5)"
    return [str(child.tag) for child in error]
