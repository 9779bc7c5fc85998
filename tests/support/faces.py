"""JSON answers read as somebody else would: written as XML again, and compared with the server's.

Nothing here is the server's own code but what `json_of` asks it for.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from lxml import etree

from davserver.protocol.jsonface import JsonFace

SCHEMA = Path(__file__).parents[2] / "davserver" / "service" / "schema.json"
DECLARATION = b'<?xml version="1.0" encoding="utf-8"?>\n'
D = "{DAV:}"
GROUPS = tuple(
    D + name for name in ("multistatus", "response", "propstat", "location", "mkcol-response")
)
LANG = "{http://www.w3.org/XML/1998/namespace}lang"
COMPARED: Counter[str] = Counter()
"""How many of each document element have been compared in this process."""
_LARGE = 1 << 20
_VALID: set[int] = set()
"""By their hashes, for some are as large as their documents."""
_HREF = re.compile(r"/[!-~]*")
_PREFIX = re.compile(r"(?<![\w.\-])([^\W\d][\w.\-]*+):")


@cache
def validator(definition: str | None = None) -> Any:
    """Returns what validates an answer, or one of the schema's definitions."""
    schema = json.loads(SCHEMA.read_text("utf-8"))
    if definition is not None:
        schema = {"$ref": f"#/$defs/{definition}", "$defs": schema["$defs"]}
    return jsonschema.Draft202012Validator(schema)


def read_json(body: bytes) -> Any:
    """Returns a JSON answer, valid by the schema and without a name twice in one object."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), f"a name twice: {pairs}"
        return dict(pairs)

    document = json.loads(body, object_pairs_hook=once)
    form = hash(_form(document))
    if form not in _VALID:
        validator().validate(document)
        _VALID.add(form)
    return document


def _form(value: Any, key: str = "") -> Any:
    """What the schema looks at: documents of one form are all valid, or none is. The members of a
    list that are alike count once, for validation takes a millisecond each."""
    if isinstance(value, dict):
        return tuple([(name, _form(one, name)) for name, one in value.items()])
    if isinstance(value, list):
        return frozenset([_form(one) for one in value]), bool(value)
    if key in ("href", "location") and isinstance(value, str):
        return _HREF.fullmatch(value) is not None
    return value if key in ("status", "state", "op") else (type(value), bool(value))


def json_of(xml: bytes, status: int) -> bytes:
    """Returns what the server makes of its XML, which comes in pieces."""
    face = JsonFace(status)
    cut = len(xml) // 3
    return face.feed(xml[:cut]) + face.feed(xml[cut : cut + 1]) + face.finish(xml[cut + 1 :])


def check_faces(xml: bytes, status: int) -> None:
    """Asserts that both faces of a document have the same facts."""
    if len(xml) <= _LARGE:
        compare(xml, json_of(xml, status))


def compare(xml: bytes, body: bytes) -> None:
    """Asserts that a JSON answer says what an XML answer says, no more and no less."""
    document = read_json(body)
    expected = etree.fromstring(xml)
    found = etree.fromstring(xml_of(document))
    if expected.tag != f"{D}multistatus":
        # The status stands in the JSON alone; in XML it is the answer's.
        assert document.get("properties") is not None or document["status"] >= 400
    assert facts(expected) == facts(found)
    COMPARED[expected.tag.removeprefix(D)] += 1


def facts(element: Any) -> Any:
    """What a document says, whatever its prefixes and the order of properties."""
    if element.tag in (f"{D}prop", f"{D}error"):
        children = {child.tag: facts_of_value(child) for child in element}
        assert len(children) == len(element), "a name twice"
        return element.tag, children
    if element.tag in GROUPS:
        return element.tag, [facts(child) for child in element]
    assert len(element) == 0, element.tag
    return element.tag, element.text or ""


def facts_of_value(element: Any) -> Any:
    content: list[Any] = [element.text or ""]
    for child in element:
        content += [facts_of_value(child), child.tail or ""]
    text = " ".join([*(one for one in content if isinstance(one, str)), *element.attrib.values()])
    bound = element.nsmap
    used = {prefix: bound[prefix] for prefix in _PREFIX.findall(text) if prefix in bound}
    return element.tag, sorted(element.attrib.items()), content, used


def xml_of(document: Any) -> bytes:
    """Returns the XML that a JSON answer stands for."""
    if "results" in document:
        root = etree.Element(f"{D}multistatus", nsmap={"D": "DAV:"})
        for result in document["results"]:
            _write_result(etree.SubElement(root, f"{D}response"), result)
        for name, tag in (("sync-token", "sync-token"), ("description", "responsedescription")):
            if name in document:
                etree.SubElement(root, D + tag).text = document[name]
    elif "properties" in document:
        root = etree.Element(f"{D}prop", nsmap={"D": "DAV:"})
        _write_properties(root, document["properties"])
    elif "propstat" in document:
        root = etree.Element(f"{D}mkcol-response", nsmap={"D": "DAV:"})
        _write_result(root, {"propstat": document["propstat"]})
    else:
        root = etree.Element(f"{D}error", nsmap={"D": "DAV:"})
        _write_properties(root, document["error"])
    return DECLARATION + etree.tostring(root, encoding="utf-8", xml_declaration=False)


def _write_result(at: Any, result: Any) -> None:
    if "href" in result:
        etree.SubElement(at, f"{D}href").text = result["href"]
    for propstat in result.get("propstat", ()):
        _write_result(etree.SubElement(at, f"{D}propstat"), propstat)
    if "properties" in result:
        _write_properties(etree.SubElement(at, f"{D}prop"), result["properties"])
    if "status" in result:
        status = f"HTTP/1.1 {result['status']} {result['message']}"
        etree.SubElement(at, f"{D}status").text = status
    if "error" in result:
        _write_properties(etree.SubElement(at, f"{D}error"), result["error"])
    if "description" in result:
        etree.SubElement(at, f"{D}responsedescription").text = result["description"]
    if "location" in result:
        location = etree.SubElement(at, f"{D}location")
        etree.SubElement(location, f"{D}href").text = result["location"]


def _write_properties(at: Any, properties: Any) -> None:
    for namespace, values in properties.items():
        for name, value in values.items():
            carried = value if isinstance(value, dict) else {"content": value}
            _write_element(at, {"namespace": namespace, "name": name} | carried)


def _write_element(at: Any, element: Any) -> None:
    tag = etree.QName(element["namespace"] or None, element["name"])
    new = etree.SubElement(at, tag, nsmap=element.get("namespaces"))
    if "lang" in element:
        new.set(LANG, element["lang"])
    for one in element.get("attributes", ()):
        new.set(etree.QName(one["namespace"] or None, one["name"]), one["value"])
    content = element.get("content")
    last = None
    for child in [content] if isinstance(content, str) else content or ():
        if isinstance(child, dict):
            _write_element(new, child)
            last = new[-1]
        elif last is None:
            new.text = (new.text or "") + child
        else:
            last.tail = (last.tail or "") + child
