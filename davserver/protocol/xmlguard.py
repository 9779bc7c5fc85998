"""The one door for request XML (RFC 4918 sections 8.2, 17, 19 and 20.6). No I/O here.

defusedxml's parser feeds a target that counts before it keeps anything, so that what is too large
stops at the first excess. What it keeps is the infoset that a dead property needs: namespace
names, prefixes, declarations, attributes, characters, and the language in scope (section 4.3).

There is no second parser behind it on purpose: lxml keeps every name it ever met in one table
per thread, 0.9 MB for each MB of new names, and never gives it back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from xml.etree.ElementTree import ParseError

from defusedxml.common import EntitiesForbidden, ExternalReferenceForbidden
from defusedxml.ElementTree import DefusedXMLParser

from davserver.errors import BadRequest, ContentTooLarge, Forbidden, UnsupportedMediaType
from davserver.protocol.names import QName

_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_DECLARED = re.compile(rb"""<\?xml[^>]*?\sencoding\s*=\s*["']([^"'>]{0,40})["']""")
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_UTF_16 = {"utf-16": "utf-16", "utf-16le": "utf-16-le", "utf-16be": "utf-16-be"}
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_STRUCTURE = frozenset(
    f"{{DAV:}}{local}"
    for local in (
        *("propfind", "prop", "allprop", "propname", "include"),
        *("propertyupdate", "set", "remove", "mkcol"),
        *("lockinfo", "lockscope", "locktype", "exclusive", "shared", "write", "owner"),
    )
)


@dataclass(frozen=True, slots=True)
class XmlLimits:
    """What one request body may hold; its size in bytes is limited before it comes here.

    Attributes:
        elements: elements, and as many attributes (413).
        names: distinct element names beside those of RFC 4918 itself: a PROPFIND for n names
            over m members answers n times m (413).
        name_length: characters of all distinct names, each with its namespace; and an eighth of
            what those of all tags may have, for the parser spells a namespace out each time (413).
        namespaces: namespace declarations (413).
        scopes: declarations in scope, summed over the elements that declare any: each of these
            keeps a table of its own (413).
        tag: bytes of one tag or comment, which the parser gathers whole before anything here can
            count (413).
        depth: nesting (400); libxml2, which most clients use, stops at 256.
    """

    elements: int = 10_000
    names: int = 1_000
    name_length: int = 262_144
    namespaces: int = 2_000
    scopes: int = 100_000
    tag: int = 65_536
    depth: int = 128


DEFAULT_LIMITS = XmlLimits()
_CACHED_NAME = 256
"""Characters of a name that may be remembered."""
_SLICE = 16_384
"""Bytes given to the parser at a time: so long is what is too much noticed late."""


class Attribute(NamedTuple):
    name: str
    """Clark notation."""
    prefix: str
    value: str


class Element:
    """One element as it was sent.

    Attributes:
        name: expanded name.
        prefix: as sent, "" without one.
        scope: prefix to namespace name, as in scope here; shared with the parent where nothing
            is declared.
        lang: the language in scope, None when there is none.
        children: elements and pieces of text, in document order.
    """

    __slots__ = ("attributes", "children", "lang", "name", "prefix", "scope")

    def __init__(
        self,
        name: QName,
        prefix: str,
        attributes: tuple[Attribute, ...],
        scope: dict[str, str],
        lang: str | None,
    ) -> None:
        self.name = name
        self.prefix = prefix
        self.attributes = attributes
        self.scope = scope
        self.lang = lang
        self.children: list[Element | str] = []

    @property
    def elements(self) -> list[Element]:
        return [child for child in self.children if isinstance(child, Element)]

    def find_all(self, name: QName) -> list[Element]:
        return [child for child in self.elements if child.name == name]


class _Target:
    """Counts, then builds. Raises DavError from within the parser."""

    def __init__(self, limits: XmlLimits) -> None:
        self._limits = limits
        self._elements = self._attributes = self._namespaces = self._scopes = 0
        self._names = self._name_length = self._spelled = 0
        self._seen: dict[str, tuple[str, str]] = {}
        self._declared: dict[str, str] = {}
        self._open: list[Element] = []
        self.root: Element | None = None

    def start_ns(self, prefix: str, uri: str) -> None:
        self._namespaces += 1
        if self._namespaces > self._limits.namespaces:
            raise ContentTooLarge(f"more than {self._limits.namespaces} namespace declarations")
        self._declared[prefix] = uri

    def start(self, tag: str, attrib: dict[str, str]) -> None:
        limits = self._limits
        self._elements += 1
        self._attributes += len(attrib)
        self._spelled += len(tag)
        if self._spelled > 8 * limits.name_length:
            raise ContentTooLarge("the names are too long")
        if max(self._elements, self._attributes) > limits.elements:
            raise ContentTooLarge(f"more than {limits.elements} elements or attributes")
        if len(self._open) >= limits.depth:
            raise BadRequest(f"elements are nested more than {limits.depth} deep")
        name, prefix = self._split(tag)
        parent = self._open[-1] if self._open else None
        scope = {} if parent is None else parent.scope
        if self._declared:
            scope = scope | self._declared
            self._declared = {}
            self._scopes += len(scope)
            if self._scopes > limits.scopes:
                raise ContentTooLarge("too many namespace declarations within others")
        attributes = tuple([Attribute(*_split(key), value) for key, value in attrib.items()])
        lang = None if parent is None else parent.lang
        for attribute in attributes:
            if attribute.name == _XML_LANG:
                lang = attribute.value or None
        element = Element(QName(name), prefix, attributes, scope, lang)
        if parent is None:
            self.root = element
        else:
            parent.children.append(element)
        self._open.append(element)

    def _split(self, tag: str) -> tuple[str, str]:
        found = self._seen.get(tag)
        if found is None:
            found = self._seen[tag] = _split(tag)
            self._names += found[0] not in _STRUCTURE
            self._name_length += len(tag)
            if self._names > self._limits.names:
                raise ContentTooLarge(f"more than {self._limits.names} names")
            if self._name_length > self._limits.name_length:
                raise ContentTooLarge("the names are too long")
        return found

    def end(self, tag: str) -> None:
        self._open.pop()

    def data(self, text: str) -> None:
        self._open[-1].children.append(text)


def _split(tag: str) -> tuple[str, str]:
    # Long names are nobody's, but to fill the memory that keeps them.
    return _cached_split(tag) if len(tag) <= _CACHED_NAME else _take_apart(tag)


def _take_apart(tag: str) -> tuple[str, str]:
    """Takes apart what expat reports with prefixes: `{uri}local}prefix`."""
    if tag[0] != "{":
        return tag, ""
    name, _, prefix = tag[1:].partition("}")[2].partition("}")
    uri = tag[: tag.index("}") + 1]
    return uri + name, prefix


_cached_split = lru_cache(maxsize=4096)(_take_apart)


def parse_xml(
    body: bytes, *, charset: str | None = None, limits: XmlLimits = DEFAULT_LIMITS
) -> Element:
    """Returns the document element.

    Args:
        charset: of the Content-Type; wins over the XML declaration (RFC 7303 section 3), a byte
            order mark over both.

    Raises:
        BadRequest: 400, not well-formed, too deep, or a DOCTYPE.
        Forbidden: 403 `no-external-entities`.
        ContentTooLarge: 413, too many elements, names or declarations.
        UnsupportedMediaType: 415, neither UTF-8 nor UTF-16.
    """
    target = _Target(limits)
    parser = DefusedXMLParser(target=target, encoding="utf-8")
    expat = parser.parser
    expat.namespace_prefixes = True
    expat.StartDoctypeDeclHandler = _refuse_external_subset
    expat.EndDoctypeDeclHandler = _refuse_doctype
    try:
        _feed(parser, _to_utf8(body, charset), limits.tag)
        parser.close()
    except EntitiesForbidden as exc:
        if exc.sysid is not None or exc.pubid is not None:
            raise _external() from exc
        raise BadRequest(f"the body declares the entity {exc.name!r}") from exc
    except ExternalReferenceForbidden as exc:
        raise _external() from exc
    except (ParseError, ValueError) as exc:
        raise BadRequest(f"the body is not well-formed XML: {exc}") from exc
    # What expat takes as complete has a document element.
    assert target.root is not None
    return target.root


def _feed(parser: DefusedXMLParser, body: bytes, tag_limit: int) -> None:
    """Feeds slice by slice, and stops within a tag that gets too long."""
    if len(body) <= _SLICE:
        parser.feed(body)
        return
    expat = parser.parser
    for begin in range(0, len(body), _SLICE):
        parser.feed(body[begin : begin + _SLICE])
        if begin + _SLICE - expat.CurrentByteIndex > tag_limit + _SLICE:
            raise ContentTooLarge(f"a tag or comment is longer than {tag_limit} bytes")


def _external() -> Forbidden:
    return Forbidden("the body refers to an external entity", condition=b"no-external-entities")


def _refuse_external_subset(
    name: str, system_id: str | None, public_id: str | None, has_internal_subset: int
) -> None:
    if system_id is not None or public_id is not None:
        raise _external()


def _refuse_doctype() -> None:
    # Only at its end: an external entity inside has its own answer (RFC 4918 section 20.6).
    raise BadRequest("the body has a DOCTYPE")


def _to_utf8(body: bytes, charset: str | None) -> bytes:
    """RFC 4918 section 19: UTF-8 and UTF-16 are accepted, nothing else is."""
    encoding = _encoding(body, charset)
    if encoding == "utf-8":
        return body
    try:
        return body.decode(encoding).encode("utf-8")
    except UnicodeError as exc:
        raise BadRequest(f"the body is not {encoding}") from exc


def _encoding(body: bytes, charset: str | None) -> str:
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return encoding
    if charset is not None:
        return _named(charset)
    if body.startswith((b"<\0", b"\0<")):
        return "utf-16-le" if body.startswith(b"<\0") else "utf-16-be"
    declared = _DECLARED.match(body)
    if declared is None:
        return "utf-8"
    return _named(declared[1].decode("latin-1"))


def _named(charset: str) -> str:
    name = charset.lower()
    if name in _UTF_8:
        return "utf-8"
    if name in _UTF_16:
        # Without a byte order mark "utf-16" is big-endian (RFC 2781 section 4.3).
        return "utf-16-be" if name == "utf-16" else _UTF_16[name]
    raise UnsupportedMediaType(f"the body must be UTF-8 or UTF-16, not {charset!r}")
