"""Responses of a multistatus that are plain, as nearly all of a listing are: JSON without a parser.

No I/O here. What is taken apart is our own XML, in the very form that properties/base.py and
deadprops.py give it; whatever is not of that form is left to the parser (jsonface.py), which says
the same of everything, and of this in four times the time.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring as quote

from davserver.protocol.lockxml import SUPPORTEDLOCK

START, END = b"<D:response>", b"</D:response>"
REBOUND = b"xmlns:D="
"""Stands in a value that may itself hold an END."""
_HREF, _HREF_END = b"<D:response><D:href>", b"</D:href>"
_PROP, _PROP_END = b"<D:propstat><D:prop>", b"</D:prop>"
_STATUS = re.compile(rb"<D:status>HTTP/1\.1 (\d{3}) ([A-Za-z \-]+)</D:status>")
_NAME = rb"[A-Za-z_][\w.\-]*+"
_LOCKS = SUPPORTEDLOCK[len(b"<D:supportedlock>") : -len(b"</D:supportedlock>")]
_EMPTIES = rb"(?:<D:" + _NAME + rb"/>)+"
_TAG = rb"(?:(" + _NAME + rb"):)?(" + _NAME + rb")"
_ELEMENT = re.compile(
    rb"<D:(" + _NAME + rb")(?:/>|>(?:([^<]*+)|(" + _EMPTIES + rb")|(" + _LOCKS + rb"))</D:\1>)"
    # Of another namespace: named alone, or with a text that names no prefix.
    rb"|<" + _TAG + rb" xmlns(?::(" + _NAME + rb'))?="([^"<&]*)"(?:/>|>([^<:]*+)</' + _TAG + rb">)"
)
_INNER = re.compile(rb"<D:(" + _NAME + rb")/>")
_ENTITY = re.compile("&[^;]*;?")
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&#13;": "\r"}


class _NotPlain(Exception):
    """The parser has to look at it."""


def plain_response(response: bytes) -> str | None:
    """Returns a whole response in JSON; None where it is not plain."""
    end = response.find(_HREF_END)
    if not response.startswith(_HREF) or end < 0:
        return None
    *propstats, rest = response[end + len(_HREF_END) : -len(END)].split(b"</D:propstat>")
    if rest or not propstats:
        return None
    try:
        told = ",".join([_propstat(one) for one in propstats])
        href = _text(response[len(_HREF) : end])
    except _NotPlain:
        return None
    return f'{{"href":{href},"propstat":[{told}]}}'


def _propstat(propstat: bytes) -> str:
    end = propstat.rfind(_PROP_END)
    status = _STATUS.fullmatch(propstat, end + len(_PROP_END))
    if not propstat.startswith(_PROP) or end < 0 or status is None:
        raise _NotPlain
    message = status[2].decode()
    properties = _properties(propstat[len(_PROP) : end])
    return f'{{"status":{status[1].decode()},"message":"{message}","properties":{properties}}}'


def _properties(elements: bytes) -> str:
    spaces: dict[str, list[str]] = {}
    position = 0
    for match in _ELEMENT.finditer(elements):
        if match.start() != position:
            raise _NotPlain
        position = match.end()
        name, text, inner, locks, *others = match.groups()
        if name is not None:
            told = f'"{name.decode()}":{_value(text, inner, locks)}'
            spaces.setdefault('"DAV:"', []).append(told)
        else:
            namespace, told = _other(others)
            spaces.setdefault(namespace, []).append(told)
    if position != len(elements):
        raise _NotPlain
    return "{" + ",".join([f"{ns}:{{{','.join(told)}}}" for ns, told in spaces.items()]) + "}"


def _value(text: bytes | None, inner: bytes | None, locks: bytes | None) -> str:
    if text is not None:
        return _text(text) if text else "null"
    if inner is not None:
        return f'{{"content":[{",".join(map(_empty, _INNER.findall(inner)))}]}}'
    return "null" if locks is None else _SUPPORTEDLOCK


def _other(groups: list[bytes | None]) -> tuple[str, str]:
    """An element that is in another namespace than DAV:, which it declares itself."""
    prefix, name, declared, namespace, text, end_prefix, end_name = groups
    assert name is not None
    assert namespace is not None
    is_ended = end_name is None or (end_prefix, end_name) == (prefix, name)
    if prefix != declared or not is_ended:
        raise _NotPlain
    value = _text(text) if text else "null"
    return quote(namespace.decode()), f'"{name.decode()}":{value}'


def _text(text: bytes) -> str:
    found = text.decode("utf-8")
    if "&" in found:
        found = _ENTITY.sub(_character, found)
    return quote(found)


def _character(entity: re.Match[str]) -> str:
    try:
        return _ENTITIES[entity[0]]
    except KeyError:
        raise _NotPlain from None


def _empty(name: bytes) -> str:
    return f'{{"namespace":"DAV:","name":"{name.decode()}"}}'


def _element(name: str, *content: str) -> str:
    return f'{{"namespace":"DAV:","name":"{name}","content":[{",".join(content)}]}}'


def _lockentry(scope: bytes) -> str:
    parts = _element("lockscope", _empty(scope)), _element("locktype", _empty(b"write"))
    return _element("lockentry", *parts)


_SUPPORTEDLOCK = f'{{"content":[{_lockentry(b"exclusive")},{_lockentry(b"shared")}]}}'
