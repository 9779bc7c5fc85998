"""Batches of operations as JSON text: read, and checked as a whole. No I/O here.

An operation is one request: a method, a target, header fields, a body. What those mean is the
method's business; here only what can be said of their form.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from davserver.errors import BadRequest, ContentTooLarge, DavError, UnprocessableContent
from davserver.protocol.deadprops import xml_text
from davserver.protocol.jsonbody import mkcol_xml, proppatch_xml, read_object
from davserver.protocol.path import DavPath

Field = tuple[bytes, bytes]
_VALUE = re.compile(r"[\x20-\x7e]*")
_TOKEN = re.compile(r"[!-;=?-~]+")
_CONDITIONS = frozenset({"op", "href", "if", "if-match", "if-none-match", "lock-tokens"})
_KEYS: Mapping[str, frozenset[str]] = {
    "mkcol": _CONDITIONS | {"set"},
    "put": _CONDITIONS | {"content", "base64", "content-type"},
    "copy": _CONDITIONS | {"destination", "overwrite", "depth"},
    "move": _CONDITIONS | {"destination", "overwrite", "depth"},
    "delete": _CONDITIONS | {"depth"},
    "proppatch": _CONDITIONS | {"update", "xml"},
    "lock": _CONDITIONS | {"scope", "owner", "depth", "timeout", "refresh"},
    "unlock": _CONDITIONS | {"lock-token"},
}
_NEEDS: Mapping[str, str] = {
    "copy": "destination",
    "move": "destination",
    "unlock": "lock-token",
}
_AS_IT_IS = ("if", "if-match", "if-none-match", "content-type")
_XML_FIELD = (b"content-type", b'application/xml; charset="utf-8"')
_LOCKINFO = (
    b'<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:%s/>'
    b"</D:lockscope><D:locktype><D:write/></D:locktype>%s</D:lockinfo>"
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as the request that it stands for.

    Attributes:
        op: its name in the batch.
        href: an absolute path, the mount's prefix included, percent-encoded.
        fields: header fields; Content-Length where there is a body.
    """

    op: str
    href: bytes
    fields: tuple[Field, ...]
    body: bytes = b""

    @property
    def method(self) -> str:
        return self.op.upper()


@dataclass(frozen=True, slots=True)
class Batch:
    """Operations, in order; `is_atomic`: all of them or none."""

    is_atomic: bool
    operations: tuple[Operation, ...]


def parse_batch(body: bytes, *, operations: int, content: int) -> Batch:
    """Reads a batch.

    Args:
        operations: how many there may be.
        content: bytes that a resource put inline may have.

    Raises BadRequest (400) for what is malformed, wherever in it; UnprocessableContent (422) for
    too many operations; ContentTooLarge (413) for too much content.
    """
    document = read_object(body)
    _check_keys(document, {"atomic", "operations"}, "the batch")
    is_atomic = _typed(document, "atomic", bool, "the batch")
    if is_atomic is None:
        raise BadRequest("the batch: atomic must be there, true or false")
    listed = _typed(document, "operations", list, "the batch")
    if not listed:
        raise BadRequest("the batch: operations must be there, one at least")
    if len(listed) > operations:
        raise UnprocessableContent(f"{len(listed)} operations, {operations} are allowed")
    read = [_operation(each, f"operations[{n}]", content) for n, each in enumerate(listed)]
    return Batch(is_atomic, tuple(read))


def _check_keys(found: Mapping[str, object], known: Collection[str], where: str) -> None:
    for key in found:
        if key not in known:
            raise BadRequest(f"{where}: unknown name {key!r}")


def _typed(found: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    """Returns a value, None when it is not there. Raises BadRequest for one of another type."""
    value = found.get(key)
    is_other = key in found and not isinstance(value, kind)
    if is_other or (isinstance(value, bool) and kind is not bool):
        names = {bool: "true or false", list: "an array", str: "a string"}
        raise BadRequest(f"{where}: {key} must be {names[kind]}")
    return value


def _operation(found: Any, where: str, limit: int) -> Operation:
    if not isinstance(found, dict):
        raise BadRequest(f"{where}: no JSON object")
    op = _typed(found, "op", str, where)
    if op not in _KEYS:
        raise BadRequest(f"{where}: op must be one of {', '.join(_KEYS)}")
    _check_keys(found, _KEYS[op], where)
    needed = ("href", *(name for name in (_NEEDS.get(op),) if name))
    for name in needed:
        if name not in found:
            raise BadRequest(f"{where}: {op} needs {name}")
    body, fields = _BODIES.get(op, _no_body)(found, where, limit)
    fields = [*_header_fields(found, where), *fields]
    if body or op == "put":
        fields.append((b"content-length", b"%d" % len(body)))
    return Operation(op, _href(found, "href", where), tuple(fields), body)


def _href(found: Mapping[str, Any], key: str, where: str) -> bytes:
    value: str = _typed(found, key, str, where)
    try:
        raw = value.encode("ascii")
        DavPath.from_raw(raw)
    except UnicodeEncodeError as exc:
        raise BadRequest(f"{where}: {key} must be percent-encoded") from exc
    except DavError as exc:
        raise BadRequest(f"{where}: {key}: {exc.detail}") from exc
    return raw


def _header_fields(found: Mapping[str, Any], where: str) -> list[Field]:
    fields = [(key.encode(), _value(found, key, where)) for key in _AS_IT_IS if key in found]
    if "lock-tokens" in found:
        fields.append((b"if", _submitting(found, where)))
    if "destination" in found:
        fields.append((b"destination", _href(found, "destination", where)))
    if "overwrite" in found:
        flag = _typed(found, "overwrite", bool, where)
        fields.append((b"overwrite", b"T" if flag else b"F"))
    if "depth" in found:
        fields.append((b"depth", _depth(found["depth"], where)))
    if "timeout" in found:
        fields.append((b"timeout", _timeout(found["timeout"], where)))
    if "refresh" in found:
        fields.append((b"if", b"(<%s>)" % _token(found["refresh"], "refresh", where)))
    if "lock-token" in found:
        fields.append((b"lock-token", b"<%s>" % _token(found["lock-token"], "lock-token", where)))
    return fields


def _value(found: Mapping[str, Any], key: str, where: str) -> bytes:
    value: str = _typed(found, key, str, where)
    if not _VALUE.fullmatch(value):
        raise BadRequest(f"{where}: {key} must be printable ASCII")
    return value.encode("ascii")


def _token(value: object, key: str, where: str) -> bytes:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise BadRequest(f"{where}: {key} must be a lock token, a URI")
    return value.encode("ascii")


def _submitting(found: Mapping[str, Any], where: str) -> bytes:
    """Returns an `If` that submits tokens and is true whatever they are of (RFC 4918 section
    10.4.8: nothing is locked by DAV:no-lock)."""
    if "if" in found or "refresh" in found:
        raise BadRequest(f"{where}: lock-tokens beside if or refresh: tokens stand in those")
    tokens = _typed(found, "lock-tokens", list, where)
    lists = [b"(<%s>)" % _token(token, "lock-tokens", where) for token in tokens]
    return b" ".join([*lists, b"(Not <DAV:no-lock>)"])


def _depth(value: object, where: str) -> bytes:
    if value in ("0", "1", "infinity") or (type(value) is int and value in (0, 1)):
        return str(value).encode("ascii")
    raise BadRequest(f'{where}: depth must be "0", "1" or "infinity"')


def _timeout(value: object, where: str) -> bytes:
    if value == "infinite":
        return b"Infinite"
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**32:
        return b"Second-%d" % value
    raise BadRequest(f'{where}: timeout must be seconds or "infinite"')


_Body = tuple[bytes, list[Field]]


def _no_body(found: Mapping[str, Any], where: str, limit: int) -> _Body:
    return b"", []


def _content(found: Mapping[str, Any], where: str, limit: int) -> _Body:
    if ("content" in found) == ("base64" in found):
        raise BadRequest(f"{where}: put needs content or base64")
    if "content" in found:
        content = _text(found, "content", where)
    else:
        try:
            content = base64.b64decode(_typed(found, "base64", str, where), validate=True)
        except (binascii.Error, ValueError) as exc:
            raise BadRequest(f"{where}: base64 is none: {exc}") from exc
    if len(content) > limit:
        raise ContentTooLarge(f"{where}: {len(content)} bytes, {limit} are allowed inline")
    return content, []


def _text(found: Mapping[str, Any], key: str, where: str) -> bytes:
    text: str = _typed(found, key, str, where)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise BadRequest(f"{where}: {key} has half of a surrogate pair") from exc


def _properties(found: Mapping[str, Any], where: str, limit: int) -> _Body:
    if "set" not in found:
        return b"", []
    return _from_json(mkcol_xml, found, "set", where)


def _from_json(
    write: Callable[[bytes], bytes], found: Mapping[str, Any], key: str, where: str
) -> _Body:
    """Returns the XML that `write` makes of what stands under one name."""
    try:
        return write(json.dumps({key: found[key]}).encode()), [_XML_FIELD]
    except BadRequest as exc:
        raise BadRequest(f"{where}: {key}: {exc.detail}") from exc


def _propertyupdate(found: Mapping[str, Any], where: str, limit: int) -> _Body:
    if ("update" in found) == ("xml" in found):
        raise BadRequest(f"{where}: proppatch needs update or xml")
    if "xml" in found:
        return _text(found, "xml", where), [_XML_FIELD]
    return _from_json(proppatch_xml, found, "update", where)


def _lockinfo(found: Mapping[str, Any], where: str, limit: int) -> _Body:
    if "refresh" in found:
        for key in ("if", "scope", "owner", "depth"):
            if key in found:
                raise BadRequest(f"{where}: a refresh has no {key}")
        return b"", []
    scope = found.get("scope", "exclusive")
    if scope not in ("exclusive", "shared"):
        raise BadRequest(f'{where}: scope must be "exclusive" or "shared"')
    owner = b""
    if "owner" in found:
        text = _text(found, "owner", where).decode("utf-8")
        owner = b"<D:owner>%s</D:owner>" % xml_text(text)
    return _LOCKINFO % (scope.encode("ascii"), owner), [_XML_FIELD]


_BODIES: Mapping[str, Callable[[Mapping[str, Any], str, int], _Body]] = {
    "mkcol": _properties,
    "put": _content,
    "proppatch": _propertyupdate,
    "lock": _lockinfo,
}
