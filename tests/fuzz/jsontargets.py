"""What is fuzzed of JSON, and of the fields that choose it; see targets.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from davserver.errors import (
    BadRequest,
    ContentTooLarge,
    Forbidden,
    UnprocessableContent,
    UnsupportedMediaType,
)
from davserver.protocol.accept import prefers_json
from davserver.protocol.batch import parse_batch
from davserver.protocol.headers import DavHeaders
from davserver.protocol.idempotency import parse_key
from davserver.protocol.jsonbody import mkcol_xml, propfind_xml, proppatch_xml
from davserver.protocol.jsonface import JsonFace, as_json
from davserver.protocol.multistatus import MultiStatusWriter, PropStat
from davserver.protocol.names import PropertyChange
from davserver.protocol.path import DavPath
from davserver.protocol.prefer import Preferences, Return
from davserver.protocol.xmlread import parse_mkcol, parse_propfind, parse_proppatch

_REFUSALS = (*(BadRequest, ContentTooLarge, Forbidden, UnprocessableContent, UnsupportedMediaType),)


def preferences(data: bytes) -> None:
    """Two lines, of which the first is all that counts where both name something."""
    first, _, second = data.partition(b"\n")
    one = Preferences.from_headers(DavHeaders([(b"prefer", first)]))
    both = Preferences.from_headers(DavHeaders([(b"prefer", first), (b"prefer", second)]))
    assert one.wait_s is None or 0 <= one.wait_s < 10**9
    assert one.returns in (None, *Return)
    if first.count(b'"') == 0:
        assert both.is_async >= one.is_async
        assert both.wait_s == one.wait_s or one.wait_s is None


def accept(data: bytes) -> None:
    fields = [(b"accept", line) for line in data.split(b"\n")]
    if prefers_json(DavHeaders(fields)):
        with_xml = [(b"accept", b"application/xml"), *fields]
        assert not prefers_json(DavHeaders(with_xml)), "nothing is above a weight of 1"


def json_propfind(data: bytes) -> None:
    try:
        found = parse_propfind(propfind_xml(data))
    except _REFUSALS:
        return
    assert len(found.names) == len(set(found.names)) <= 10_000


def json_proppatch(data: bytes) -> None:
    """What is set is told again, and told again it can be set."""
    _check_told(data, lambda body: parse_proppatch(proppatch_xml(body)))


def json_mkcol(data: bytes) -> None:
    _check_told(data, lambda body: parse_mkcol(mkcol_xml(body)))


def _check_told(data: bytes, read: Callable[[bytes], list[PropertyChange]]) -> None:
    try:
        changes = read(data)
    except _REFUSALS:
        return
    values = {change.name: change.value for change in changes if change.value is not None}
    told = _told(list(values.values()))
    again = json.dumps({"update": [{"set": told}]}).encode()
    stored = [change.value for change in parse_proppatch(proppatch_xml(again))]
    assert _told([value for value in stored if value is not None]) == told


def _told(values: Sequence[bytes]) -> object:
    writer = MultiStatusWriter()
    writer.propstats(b"/a", [PropStat(200, b"".join(values))])
    xml = writer.finish()
    face = JsonFace(207)
    pieces = [face.feed(xml[at : at + 7]) for at in range(0, len(xml), 7)]
    body = b"".join(pieces) + face.finish()
    assert body == as_json(xml, 207)
    ((propstat,),) = [result["propstat"] for result in json.loads(body)["results"]]
    return propstat["properties"]


def batch(data: bytes) -> None:
    """What is taken makes fields that cannot be taken for others, and paths that are none."""
    try:
        found = parse_batch(data, operations=100, content=1_000)
    except _REFUSALS:
        return
    assert 0 < len(found.operations) <= 100
    for operation in found.operations:
        DavPath.from_raw(operation.href)
        values = b"".join(value for _, value in operation.fields)
        assert not any(octet < 32 or octet > 126 for octet in values)
        assert operation.op != "put" or len(operation.body) <= 1_000


def idempotency_key(data: bytes) -> None:
    try:
        key = parse_key(DavHeaders([(b"idempotency-key", data)]))
    except BadRequest:
        return
    assert key is not None
    assert 0 < len(key) <= 255
    assert key.isascii()
    assert key.isprintable()


JSON_TARGETS: dict[str, Callable[[bytes], None]] = {
    "prefer": preferences,
    "accept": accept,
    "json-propfind": json_propfind,
    "json-proppatch": json_proppatch,
    "json-mkcol": json_mkcol,
    "batch": batch,
    "idempotency-key": idempotency_key,
}
JSON_SEEDS: dict[str, tuple[bytes, ...]] = {
    "prefer": (
        b'respond-async, wait=10;x="a,b"\nreturn=minimal',
        b"depth-noroot, return=representation",
    ),
    "accept": (b"application/json, application/xml;q=0.9, */*;q=0.1", b"text/*;q=0\n*/*"),
    "json-propfind": (
        b'{"prop": {"DAV:": ["getetag"], "u:x": {"a": null}}}',
        b'{"allprop": true, "include": {"": ["a"]}}',
        b'{"propname": true}',
    ),
    "json-proppatch": (
        b'{"update": [{"set": {"u": {"a": "x", "b": {"lang": "en", "content": ["p:t",'
        b' {"namespace": "v", "name": "c", "content": "<"}], "namespaces": {"p": "q"},'
        b' "attributes": [{"namespace": "w", "name": "k", "value": "\\u00e9"}]}}}},'
        b' {"remove": {"u": ["a"]}}]}',
    ),
    "json-mkcol": (
        b'{"set": {"DAV:": {"resourcetype": {"content": [{"namespace": "DAV:",'
        b' "name": "collection"}]}}, "": {"a": null}}}',
    ),
    "batch": (
        b'{"atomic": true, "operations": [{"op": "put", "href": "/a%20b", "base64": "AAE=",'
        b' "if-match": "\\"x\\""}, {"op": "lock", "href": "/", "timeout": 5, "depth": 0,'
        b' "owner": "<"}]}',
        b'{"atomic": false, "operations": [{"op": "move", "href": "/a", "destination": "/b",'
        b' "overwrite": false, "lock-tokens": ["urn:x"]}, {"op": "unlock", "href": "/b",'
        b' "lock-token": "urn:x"}, {"op": "proppatch", "href": "/b",'
        b' "update": [{"set": {"u": {"a": "v"}}}]}]}',
    ),
    "idempotency-key": (b'"8e03978e-40d5"', b'"a\\"b\\\\"', b"bare-1"),
}
