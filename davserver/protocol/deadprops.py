"""Dead property values in canonical form (RFC 4918 section 4.3). No I/O here.

A value is kept as the whole property element, serialised so that it stands on its own: every
namespace declaration that it needs is on it, and the `xml:lang` that was in scope. Such an element
can be put verbatim inside any other one that binds no default namespace.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TypeGuard

from davserver.errors import ContentTooLarge
from davserver.protocol.names import DAV, QName
from davserver.protocol.xmlguard import Element

CANONICAL_LIMIT = 1 << 21
"""Characters of what one request may store."""
_CACHED_NAME = 200
XML_NAMESPACE = "http://www.w3.org/XML/1998/namespace"
_TEXT_REFERENCES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#13;"))
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Outside of XML 1.0's Char: control characters, surrogates, U+FFFE, U+FFFF."""
_CONTENT_PREFIX = re.compile(r"(?<![\w.\-])[\w.\-]++:")
"""Looks at each character once: a word that ends without a colon is not tried again from within."""
_NO_NAME_START = re.compile(r"[\d.\-]*")
_WHOLE = re.compile(rb"<[^>]*?(?:/>|>([^<]*)</[^>]*>)")


def escape_text(text: str) -> str:
    """Character data; a carriage return would not survive as itself (XML 1.0 section 2.11)."""
    for character, reference in _TEXT_REFERENCES:
        text = text.replace(character, reference)
    return text


def escape_attribute(text: str) -> str:
    text = escape_text(text).replace('"', "&quot;")
    return text.replace("\t", "&#9;").replace("\n", "&#10;")


def xml_text(text: str) -> bytes:
    """Character data for any text: what XML cannot carry becomes U+FFFD."""
    return escape_text(ILLEGAL.sub("\ufffd", text)).encode("utf-8")


class Output:
    """Pieces of a document, counted: ContentTooLarge (413) past the limit of characters."""

    __slots__ = ("_left", "parts")

    def __init__(self, limit: int) -> None:
        self.parts: list[str] = []
        self._left = limit

    def append(self, piece: str) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise ContentTooLarge("the values are too large when each stands on its own")
        self.parts.append(piece)


def canonical_element(element: Element, *, limit: int = CANONICAL_LIMIT) -> bytes:
    """Returns the element in canonical form; see the module.

    Raises ContentTooLarge (413) past `limit` characters: a long namespace is repeated wherever
    it is needed, and `>` takes four.
    """
    parts = Output(limit)
    lang = element.lang
    has_lang = any(attribute.name == f"{{{XML_NAMESPACE}}}lang" for attribute in element.attributes)
    inherited = "" if lang is None or has_lang else f' xml:lang="{escape_attribute(lang)}"'
    _serialise(element, {"": ""}, parts, inherited)
    return "".join(parts.parts).encode("utf-8")


def _serialise(
    element: Element, outer: dict[str, str], parts: Output, more_attributes: str = ""
) -> None:
    """Appends the element to `parts`; `outer` is what is declared around it in the output."""
    children = element.children
    if len(children) == 1 and not element.attributes and _is_plain(children[0]):
        parts.append(_plain(element, children[0], outer, more_attributes))
        return
    missing = {prefix: uri for prefix, uri in _needed(element).items() if outer.get(prefix) != uri}
    scope = outer | missing if missing else outer
    tag = _tag(element.name, element.prefix)
    parts.append("<" + tag)
    for prefix, uri in missing.items():
        parts.append(f' xmlns{":" if prefix else ""}{prefix}="{escape_attribute(uri)}"')
    for name, prefix, value in element.attributes:
        parts.append(f' {_tag(name, prefix)}="{escape_attribute(value)}"')
    parts.append(more_attributes)
    if not element.children:
        parts.append("/>")
        return
    parts.append(">")
    for child in element.children:
        if isinstance(child, str):
            parts.append(escape_text(child))
        else:
            _serialise(child, scope, parts)
    parts.append(f"</{tag}>")


def _is_plain(child: Element | str) -> TypeGuard[str]:
    return isinstance(child, str) and ":" not in child


def _plain(element: Element, text: str, outer: dict[str, str], more_attributes: str) -> str:
    """The same for text alone, as most values are: only the name needs a declaration."""
    prefix, uri = element.prefix, _uri(element.name)
    tag = _tag(element.name, prefix)
    if prefix != "xml" and outer.get(prefix) != uri:
        declared = f' xmlns{":" if prefix else ""}{prefix}="{escape_attribute(uri)}"'
        more_attributes = declared + more_attributes
    return f"<{tag}{more_attributes}>{escape_text(text)}</{tag}>"


def _needed(element: Element) -> dict[str, str]:
    """The declarations that this element uses: for its name, its attributes, and for prefixes in
    its text and attribute values, which may be qualified names (section 4.3)."""
    needed = {element.prefix: _uri(element.name)}
    content: list[str] = [child for child in element.children if isinstance(child, str)]
    for name, prefix, value in element.attributes:
        if prefix:
            needed[prefix] = _uri(name)
        content.append(value)
    for text in content:
        if ":" in text:
            for found in _CONTENT_PREFIX.finditer(text):
                prefix = _NO_NAME_START.sub("", found[0][:-1], count=1)
                if prefix in element.scope:
                    needed[prefix] = element.scope[prefix]
    needed.pop("xml", None)
    return needed


def _uri(name: str) -> str:
    return name[1:].partition("}")[0] if name.startswith("{") else ""


def _tag(name: str, prefix: str) -> str:
    local = name.rpartition("}")[2]
    return f"{prefix}:{local}" if prefix else local


def name_only(name: QName) -> bytes:
    """Returns the property as an empty element, for an answer that names it without a value."""
    # Long names are nobody's, but to fill the memory that keeps them.
    return _cached_name_only(name) if len(name) <= _CACHED_NAME else _name_only(name)


def _name_only(name: QName) -> bytes:
    uri, local = _uri(name), name.rpartition("}")[2]
    if uri == DAV:
        return f"<D:{local}/>".encode()
    if uri == XML_NAMESPACE:
        return f"<xml:{local}/>".encode()
    if not uri:
        return f"<{local}/>".encode()
    return f'<ns0:{local} xmlns:ns0="{escape_attribute(uri)}"/>'.encode()


_cached_name_only = lru_cache(maxsize=4096)(_name_only)


def element_text(value: bytes) -> str | None:
    """Returns the text of an element in canonical form, None when it has child elements."""
    match = _WHOLE.fullmatch(value)
    if match is None:
        return None
    text = (match[1] or b"").decode("utf-8")
    for character, reference in reversed(_TEXT_REFERENCES):
        text = text.replace(reference, character)
    return text
