"""The JSON face of what is told in XML: multistatus, refusals, the lock that was granted. No I/O.

It is made of the XML itself, while that is written: both faces have the same facts because there
is one builder. The model, which `.davserver/schema` publishes:

    document    {"results": [result, ...]}, of a multistatus
                result without href, of an error or a mkcol-response; the status is the answer's
                {"properties": properties}, of a LOCK
    result      {"href", and either "status", "message" or "propstat": [propstat, ...],
                "error": properties, "description": text, "location": href}
    propstat    {"status", "message", "properties": properties, "error", "description"}
    properties  {namespace: {name: value}}: a name stands once, and no prefix hides where it is from
    value       null for an empty element, its text, or {"content"} and what else it carries
    content     text, or a list of texts and elements: {"namespace", "name"} and as a value

An element may carry "lang" (its own xml:lang), "attributes" [{"namespace", "name", "value"}] and
"namespaces" {prefix: namespace}, of those prefixes that stand in its text, which may be qualified
names (RFC 4918 section 4.3); other prefixes mean nothing and are left out.
"""

from __future__ import annotations

import json
import re
from typing import Any
from xml.parsers import expat

from davserver.protocol.deadprops import XML_NAMESPACE
from davserver.protocol.jsonplain import END, REBOUND, START, plain_response
from davserver.protocol.status import reason

Json = dict[str, Any]
_PREFIX = re.compile(r"(?<![\w.\-])([^\W\d][\w.\-]*+):")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SEPARATOR = "}"


class _Node:
    """An element while it is read; `declared` are the prefixes that are bound here, and by the
    elements around it below the root."""

    __slots__ = ("attributes", "children", "declared", "name", "namespace")

    def __init__(
        self,
        namespace: str,
        name: str,
        attributes: list[str],
        declared: dict[str, str],
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.attributes = attributes
        self.declared = declared
        self.children: list[_Node | str] = []

    def elements(self) -> list[_Node]:
        return [child for child in self.children if type(child) is _Node]

    def text(self) -> str:
        return "".join([child for child in self.children if type(child) is str])


class JsonFace:
    """Turns one XML document of ours into JSON, piece by piece.

    Args:
        status: of the answer, for documents that do not say it themselves.
    """

    def __init__(self, status: int) -> None:
        self._status = status
        self._out: list[str] = []
        self._stack: list[_Node] = []
        self._declared: dict[str, str] = {}
        self._results = 0
        self._after: Json = {}
        self._rest = b""
        parser = expat.ParserCreate("utf-8", _SEPARATOR)
        parser.buffer_text = True
        parser.ordered_attributes = True
        parser.StartNamespaceDeclHandler = self._declare
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        if hasattr(parser, "SetReparseDeferralEnabled"):
            parser.SetReparseDeferralEnabled(False)  # what it was given it has seen
        self._parser = parser

    def feed(self, xml: bytes) -> bytes:
        """Takes a piece of the XML, and returns what of the JSON is ready."""
        self._pass_responses(xml)
        return self._take()

    def finish(self, xml: bytes = b"") -> bytes:
        """Takes the last piece, and returns the rest. Raises ExpatError for no whole document."""
        self._pass_responses(xml)
        self._parser.Parse(self._rest, True)
        return self._take()

    def _pass_responses(self, xml: bytes) -> None:
        """Takes whole responses: the parser sees the others, and what is around them."""
        data = self._rest + xml if self._rest else xml
        position = 0
        while (end := data.find(END, position)) >= 0:
            end += len(END)
            start = position
            if not self._stack:
                start = data.find(START, position, end)
                if start < 0:
                    break  # it ends something in another document
                self._parser.Parse(data[position:start], False)
            self._pass_response(data[start:end])
            position = end
        self._rest = data[position:]

    def _pass_response(self, response: bytes) -> None:
        plain = None
        if len(self._stack) == 1 and REBOUND not in response:
            plain = plain_response(response)
        if plain is None:
            self._parser.Parse(response, False)
        else:
            self._add(plain)

    def _take(self) -> bytes:
        data = "".join(self._out).encode("utf-8")
        self._out.clear()
        return data

    def _declare(self, prefix: str | None, uri: str | None) -> None:
        if prefix is not None and self._stack:
            self._declared[prefix] = uri or ""

    def _start(self, tag: str, attributes: list[str]) -> None:
        namespace, _, name = tag.rpartition(_SEPARATOR)
        declared = self._stack[-1].declared if self._stack else {}
        if self._declared:
            declared = declared | self._declared
            self._declared = {}
        node = _Node(namespace, name, attributes, declared)
        if not self._stack:
            if name == "multistatus":
                self._out.append('{"results":[')
        elif len(self._stack) > 1 or self._stack[0].name != "multistatus":
            self._stack[-1].children.append(node)
        self._stack.append(node)

    def _text(self, text: str) -> None:
        children = self._stack[-1].children
        if children and type(children[-1]) is str:
            children[-1] += text  # it was cut where a piece ended
        else:
            children.append(text)

    def _end(self, tag: str) -> None:
        node = self._stack.pop()
        if not self._stack:
            self._end_root(node)
        elif len(self._stack) == 1 and self._stack[0].name == "multistatus":
            self._end_part(node)

    def _end_part(self, node: _Node) -> None:
        """What stands in a multistatus."""
        if node.name != "response":
            name = "description" if node.name == "responsedescription" else node.name
            self._after[name] = node.text()
            return
        self._add(_encode(_result(node)))

    def _add(self, result: str) -> None:
        if self._results:
            self._out.append(",")
        self._results += 1
        self._out.append(result)

    def _end_root(self, node: _Node) -> None:
        if node.name == "multistatus":
            after = [f",{_encode(key)}:{_encode(value)}" for key, value in self._after.items()]
            self._out.append("]" + "".join(after) + "}")
        elif node.name == "prop":
            self._out.append(_encode({"properties": _properties(node)}))
        elif node.name == "error":
            self._out.append(_encode(_refusal(self._status) | {"error": _properties(node)}))
        else:
            self._out.append(_encode(_refusal(self._status) | _result(node)))


def as_json(xml: bytes, status: int) -> bytes:
    """Returns the JSON face of a whole document."""
    return JsonFace(status).finish(xml)


def encode_refusal(status: int, description: str = "") -> bytes:
    """Returns a refusal without a condition, as a document of its own."""
    told = _refusal(status)
    return _encode(told | {"description": description} if description else told).encode("utf-8")


def _refusal(status: int) -> Json:
    return {"status": status, "message": reason(status)}


def _result(node: _Node) -> Json:
    """A response, a propstat, or a mkcol-response."""
    told: Json = {}
    after: Json = {}
    for child in node.elements():
        name = child.name
        if name == "href":
            told["href"] = child.text()
        elif name == "propstat":
            told.setdefault("propstat", []).append(_result(child))
        elif name == "prop":
            after["properties"] = _properties(child)
        elif name == "status":
            # A status-line: HTTP/1.1 424 Failed Dependency.
            _, code, phrase = child.text().split(" ", 2)
            told["status"] = int(code)
            told["message"] = phrase
        elif name == "error":
            after["error"] = _properties(child)
        elif name == "responsedescription":
            after["description"] = child.text()
        elif name == "location":
            after["location"] = "".join([href.text() for href in child.elements()])
    return told | after


def _properties(node: _Node) -> Json:
    found: dict[str, Json] = {}
    for child in node.elements():
        found.setdefault(child.namespace, {})[child.name] = _value(child)
    return found


def _value(node: _Node) -> object:
    carried = _carried(node)
    if carried.keys() <= {"content"}:
        content = carried.get("content")
        return carried if type(content) is list else content
    return carried


def _carried(node: _Node) -> Json:
    """What an element has besides its name."""
    carried: Json = {}
    children = node.children
    if node.attributes:
        _add_attributes(node, carried)
    if children:
        texts = node.text()
        if len(children) == 1 and type(children[0]) is str:
            carried["content"] = texts
        else:
            carried["content"] = [
                child if type(child) is str else _element(child)  # type: ignore[arg-type]
                for child in children
            ]
    else:
        texts = ""
    if node.declared and (":" in texts or node.attributes):
        _add_namespaces(node, texts, carried)
    return carried


def _element(node: _Node) -> Json:
    return {"namespace": node.namespace, "name": node.name} | _carried(node)


def _add_attributes(node: _Node, carried: Json) -> None:
    attributes = []
    for tag, value in zip(node.attributes[::2], node.attributes[1::2], strict=True):
        namespace, _, name = tag.rpartition(_SEPARATOR)
        if namespace == XML_NAMESPACE and name == "lang":
            carried["lang"] = value
        else:
            attributes.append({"namespace": namespace, "name": name, "value": value})
    if attributes:
        carried["attributes"] = attributes


def _add_namespaces(node: _Node, texts: str, carried: Json) -> None:
    used = _PREFIX.findall(" ".join([texts, *node.attributes[1::2]]))
    found = {prefix: node.declared[prefix] for prefix in used if prefix in node.declared}
    if found:
        carried["namespaces"] = found
