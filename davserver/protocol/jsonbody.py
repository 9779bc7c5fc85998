"""Request bodies in JSON, written anew as the XML that they stand for. No I/O here.

The model is that of the answers (jsonface.py), so that what was read can be set:

    PROPFIND    {"prop": names} or {"propname": true} or {"allprop": true, "include": names}
    PROPPATCH   {"update": [{"set": properties}, {"remove": names}, ...]}, in that order
    MKCOL       {"set": properties}
    names       {namespace: [name, ...]}, or properties, of which the values do not matter

What comes out goes through the one door for XML (xmlguard.py) with every check and limit there is.
Members that are unknown are passed over, as unknown elements are (RFC 4918 section 17).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from davserver.errors import BadRequest
from davserver.protocol.deadprops import (
    CANONICAL_LIMIT,
    ILLEGAL,
    XML_NAMESPACE,
    Output,
    escape_attribute,
    escape_text,
)
from davserver.protocol.xmlguard import DEFAULT_LIMITS

_BOM = "\ufeff"
"""Says that it is UTF-8, whatever the Content-Type says: JSON is (RFC 8259 section 8.1)."""
_ESCAPED = 6
"""Characters that one may become."""
_OTHERS = r"\x80-\ud7ff\ue000-\U0010ffff"
_NAME = re.compile(rf"[A-Za-z_{_OTHERS}][A-Za-z0-9_.\-{_OTHERS}]*+")
"""Nothing that could end a tag; which of the other characters may be in a name is the parser's to
say."""


def propfind_xml(body: bytes) -> bytes:
    """Returns a PROPFIND body as XML. Raises BadRequest (400), ContentTooLarge (413)."""
    asked = read_object(body)
    out = _begin("propfind", body)
    for key in ("propname", "allprop"):
        if asked.get(key, False) is not False:
            if asked[key] is not True:
                raise BadRequest(f"{key!r} must be true or false")
            out.append(f"<{key}/>")
    for key in ("prop", "include"):
        if key in asked:
            _write_group(out, key, _names(asked[key]))
    return _end("propfind", out)


def proppatch_xml(body: bytes) -> bytes:
    """Returns a PROPPATCH body as XML. Raises BadRequest (400), ContentTooLarge (413)."""
    update = read_object(body).get("update")
    if type(update) is not list:
        raise BadRequest("the body must be an object with a list 'update'")
    out = _begin("propertyupdate", body)
    for one in update:
        instruction = _object(one, "each instruction")
        if len(instruction.keys() & {"set", "remove"}) != 1:
            raise BadRequest("each instruction needs either 'set' or 'remove'")
        verb = "set" if "set" in instruction else "remove"
        read = _properties if verb == "set" else _names
        out.append(f"<{verb}>")
        _write_group(out, "prop", read(instruction[verb]))
        out.append(f"</{verb}>")
    return _end("propertyupdate", out)


def mkcol_xml(body: bytes) -> bytes:
    """Returns the body of an extended MKCOL as XML. Raises BadRequest (400), ContentTooLarge
    (413)."""
    properties = _properties(read_object(body).get("set"))
    out = _begin("mkcol", body)
    out.append("<set>")
    _write_group(out, "prop", properties)
    out.append("</set>")
    return _end("mkcol", out)


def _begin(root: str, body: bytes) -> Output:
    """A long namespace is repeated for each of its names: what comes out has a limit."""
    out = Output(CANONICAL_LIMIT + _ESCAPED * len(body))
    # No prefix is bound that text could mean by chance.
    out.append(f'{_BOM}<{root} xmlns="DAV:">')
    return out


def _end(root: str, out: Output) -> bytes:
    out.append(f"</{root}>")
    return "".join(out.parts).encode()


def read_object(body: bytes) -> dict[str, Any]:
    """Returns the members of the body. Raises BadRequest (400) for anything but an object, in
    UTF-8, without a name twice."""
    try:
        found = json.loads(
            body.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_constant
        )
    except (ValueError, RecursionError) as exc:
        raise BadRequest(f"the body is not well-formed JSON: {exc}") from exc
    return _object(found, "the body")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _object(value: object, what: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise BadRequest(f"{what} must be an object")
    return value


def _string(value: object, what: str) -> str:
    if type(value) is not str or ILLEGAL.search(value) is not None:
        raise BadRequest(f"{what} must be a string, of characters that XML has")
    return value


def _name(value: object) -> str:
    if type(value) is not str or _NAME.fullmatch(value) is None:
        raise BadRequest(f"not a name in XML: {value!r:.200}")
    return value


Named = tuple[str, object, Mapping[str, Any]]
"""Namespace, name, and what an element has besides."""


def _names(value: object) -> Iterable[Named]:
    for namespace, names in _object(value, "names").items():
        if type(names) not in (list, dict):
            raise BadRequest("names must be lists by namespace, or properties")
        for name in names:
            yield namespace, name, {}


def _properties(value: object) -> Iterable[Named]:
    for namespace, values in _object(value, "properties").items():
        for name, one in _object(values, "the properties of a namespace").items():
            yield namespace, name, one if type(one) is dict else {"content": one}


def _write_group(out: Output, name: str, elements: Iterable[Named]) -> None:
    out.append(f"<{name}>")
    for one in elements:
        _write_element(out, *one, depth=0)
    out.append(f"</{name}>")


def _write_element(
    out: Output, namespace: str, name: object, carried: Mapping[str, Any], *, depth: int
) -> None:
    """Writes an element that binds everything it needs by itself.

    Args:
        depth: of elements around it, within the property.
    """
    if depth > DEFAULT_LIMITS.depth:
        raise BadRequest(f"elements are nested more than {DEFAULT_LIMITS.depth} deep")
    tag = _name(name)
    out.append(f'<{tag} xmlns="{escape_attribute(_string(namespace, "a namespace"))}"')
    prefixes = _write_namespaces(out, carried.get("namespaces", {}))
    if carried.get("lang") is not None:
        out.append(f' xml:lang="{escape_attribute(_string(carried["lang"], "lang"))}"')
    _write_attributes(out, carried.get("attributes", []), prefixes)
    out.append(">")
    _write_content(out, carried.get("content"), depth)
    out.append(f"</{tag}>")


def _write_namespaces(out: Output, value: object) -> frozenset[str]:
    """Returns the prefixes that are bound."""
    namespaces = _object(value, "namespaces")
    for prefix, namespace in namespaces.items():
        xmlns = escape_attribute(_string(namespace, "a namespace"))
        out.append(f' xmlns:{_name(prefix)}="{xmlns}"')
    return frozenset(namespaces)


def _write_attributes(out: Output, value: object, prefixes: frozenset[str]) -> None:
    if type(value) is not list:
        raise BadRequest("attributes must be a list")
    for number, one in enumerate(value):
        attribute = _object(one, "an attribute")
        name = _name(attribute.get("name"))
        if name == "xmlns":
            raise BadRequest("a namespace is no attribute")
        namespace = _string(attribute.get("namespace", ""), "a namespace")
        text = escape_attribute(_string(attribute.get("value"), "the value of an attribute"))
        if namespace == XML_NAMESPACE:
            name = f"xml:{name}"
        elif namespace:
            prefix = f"ns{number}"
            while prefix in prefixes:
                prefix += "_"
            out.append(f' xmlns:{prefix}="{escape_attribute(namespace)}"')
            name = f"{prefix}:{name}"
        out.append(f' {name}="{text}"')


def _write_content(out: Output, value: object, depth: int) -> None:
    if type(value) is str:
        value = [value]
    elif value is None:
        value = []
    if type(value) is not list:
        raise BadRequest("content must be text, or a list of texts and elements")
    for child in value:
        if type(child) is str:
            out.append(escape_text(_string(child, "text")))
        else:
            element = _object(child, "what stands in a list of content")
            namespace = _string(element.get("namespace"), "the namespace of an element")
            _write_element(out, namespace, element.get("name"), element, depth=depth + 1)
