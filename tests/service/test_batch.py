"""Batches: each operation is the single method, and a batch that is malformed does nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import pytest

from davserver.errors import GateBusy
from davserver.protocol.path import DavPath
from tests.conftest import AppDav
from tests.support.credentials import Basic, entry
from tests.support.dav import Dav
from tests.support.faces import validator
from tests.support.reply import Headers, Reply

BATCH = "/.davserver/batch"
JSON = {"Content-Type": "application/json"}
PATCH = (
    '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><topic xmlns="urn:x">t</topic>{}</D:prop>'
    "</D:set></D:propertyupdate>"
)


def post(dav: Dav, *operations: dict[str, Any], atomic: bool = False, **headers: str) -> Reply:
    body = {"atomic": atomic, "operations": list(operations)}
    validator("batch").validate(body)
    return dav.request("POST", BATCH, JSON | headers, json.dumps(body).encode())


def results(reply: Reply) -> list[dict[str, Any]]:
    assert reply.headers["content-type"] == "application/json", reply
    document = json.loads(reply.body)
    validator("batch-results").validate(document)
    found: list[dict[str, Any]] = document["results"]
    return found


def statuses(reply: Reply) -> list[int]:
    return [result["status"] for result in results(reply)]


def test_operations_run_in_order_and_one_that_fails_stops_none(dav: AppDav) -> None:
    reply = post(
        dav,
        {"op": "mkcol", "href": "/a"},
        {"op": "put", "href": "/a/f", "content": "text é"},
        {"op": "mkcol", "href": "/a"},
        {"op": "put", "href": "/a/g", "base64": "AAH/"},
        {"op": "copy", "href": "/a/f", "destination": "/a/copy"},
        {"op": "move", "href": "/a/g", "destination": "/moved"},
        {"op": "delete", "href": "/a/f"},
    )

    assert reply.status == 207
    assert statuses(reply) == [201, 201, 405, 201, 201, 201, 204]
    assert dav.members("/") == ["/a/", "/moved"]
    assert dav.get("/a/copy").body == "text é".encode()
    assert dav.get("/moved").body == b"\x00\x01\xff"
    assert dav.get("/a/f").status == 404


def test_a_result_has_what_the_single_method_tells(dav: AppDav) -> None:
    dav.put("/f", b"x")
    stored, copied, locked = results(
        post(
            dav,
            {"op": "put", "href": "/f", "content": "y", "content-type": "text/plain"},
            {"op": "copy", "href": "/f", "destination": "/g"},
            {"op": "lock", "href": "/f", "owner": "me & <you>", "timeout": 77},
        )
    )
    (lock,) = dav.locks("/f")

    assert stored["headers"]["etag"] == dav.get("/f").headers["etag"]
    assert (stored["op"], stored["href"], stored["message"]) == ("put", "/f", "No Content")
    assert copied["headers"]["location"] == "/g"
    token = lock.findtext("{DAV:}locktoken/{DAV:}href")
    assert locked["headers"]["lock-token"] == f"<{token}>"
    assert "lockdiscovery" in locked["properties"]["DAV:"]
    assert lock.findtext("{DAV:}owner") == "me & <you>"
    assert lock.findtext("{DAV:}timeout") == "Second-77"


def test_conditions_are_each_operations_own(dav: AppDav) -> None:
    etag = dav.put("/f", b"x").headers["etag"]
    reply = post(
        dav,
        {"op": "put", "href": "/f", "content": "y", "if-match": '"other"'},
        {"op": "put", "href": "/f", "content": "y", "if-none-match": "*"},
        {"op": "delete", "href": "/f", "if": '(["other"])'},
        {"op": "copy", "href": "/f", "destination": "/g"},
        {"op": "copy", "href": "/f", "destination": "/g", "overwrite": False},
        {"op": "put", "href": "/f", "content": "y", "if-match": etag},
    )

    assert statuses(reply) == [412, 412, 412, 201, 412, 204]
    assert dav.get("/g").body == b"x"
    assert dav.get("/f").body == b"y"


def test_locks_hold_and_tokens_are_submitted(dav: AppDav) -> None:
    dav.put("/f", b"x")
    dav.mkcol("/c")
    token, other = dav.lock("/f").token, dav.lock("/c").token
    refused, moved = results(
        post(
            dav,
            {"op": "delete", "href": "/f"},
            {"op": "move", "href": "/f", "destination": "/c/f", "lock-tokens": [token, other]},
        )
    )

    assert refused["status"] == 423
    submitted = refused["error"]["DAV:"]["lock-token-submitted"]
    assert submitted == {"content": [{"namespace": "DAV:", "name": "href", "content": "/f"}]}
    assert moved["status"] == 201


def test_locks_are_refreshed_and_given_up(dav: AppDav) -> None:
    dav.put("/f", b"x")
    token = dav.lock("/f").token
    refreshed = post(dav, {"op": "lock", "href": "/f", "refresh": token, "timeout": 99})
    (lock,) = dav.locks("/f")
    given_up = post(dav, {"op": "unlock", "href": "/f", "lock-token": token})

    assert statuses(refreshed) == [200]
    assert lock.findtext("{DAV:}timeout") == "Second-99"
    assert statuses(given_up) == [204]
    assert dav.locks("/f") == []


def test_a_multistatus_is_told_inside(dav: AppDav) -> None:
    dav.mkcol("/c")
    dav.put("/c/f", b"x")
    dav.lock("/c/f")
    deleted, refused, patched = results(
        post(
            dav,
            {"op": "delete", "href": "/c"},
            {"op": "proppatch", "href": "/c", "xml": PATCH.format("<D:getetag/>")},
            {"op": "proppatch", "href": "/c", "xml": PATCH.format("")},
        )
    )

    (member,) = deleted["multistatus"]["results"]
    assert (deleted["status"], member["href"], member["status"]) == (207, "/c/f", 423)
    (answer,) = refused["multistatus"]["results"]
    assert [(p["status"], p["properties"]) for p in answer["propstat"]] == [
        (424, {"urn:x": {"topic": None}}),
        (403, {"DAV:": {"getetag": None}}),
    ]
    (answer,) = patched["multistatus"]["results"]
    assert [p["status"] for p in answer["propstat"]] == [200]
    assert dav.prop("/c", "{urn:x}topic").text == "t"


def test_properties_are_set_and_removed_in_json(dav: AppDav) -> None:
    dav.put("/f", b"x")
    dav.proppatch("/f", set={"{urn:x}old": "v"})
    update = [{"set": {"urn:x": {"topic": "a < b"}}}, {"remove": {"urn:x": ["old"]}}]
    reply = post(dav, {"op": "proppatch", "href": "/f", "update": update})

    assert statuses(reply) == [207]
    assert dav.prop("/f", "{urn:x}topic").text == "a < b"
    assert dav.prop("/f", "{urn:x}old") is None


def test_a_collection_has_properties_from_the_start(dav: AppDav) -> None:
    resourcetype = {"content": [{"namespace": "DAV:", "name": "collection"}]}
    wanted = {"DAV:": {"resourcetype": resourcetype}, "urn:x": {"topic": "t"}}
    made, refused = results(
        post(
            dav,
            {"op": "mkcol", "href": "/c", "set": wanted},
            {"op": "mkcol", "href": "/d", "set": wanted | {"DAV:": {"getetag": "x"}}},
        )
    )

    assert made["status"] == 201
    assert dav.prop("/c", "{urn:x}topic").text == "t"
    assert 400 <= refused["status"] < 500
    assert dav.get("/d").status == 404


def test_reserved_names_and_other_servers_are_none_of_its_business(dav: AppDav) -> None:
    reply = post(
        dav,
        {"op": "delete", "href": "/.davserver/batch"},
        {"op": "put", "href": BATCH, "content": ""},
        {"op": "copy", "href": "/", "destination": "/.davserver/x"},
    )

    assert statuses(reply) == [404, 404, 404]


def test_rights_are_those_of_the_single_methods(make_dav: Callable[..., AppDav]) -> None:
    rules = [{"path": "/alice", "access": "none", "users": ["bob"]}]
    users = [entry("alice"), entry("bob")]
    dav = make_dav(user=users, anonymous=None, rule=rules)
    alice, bob = Basic(dav, "alice"), Basic(dav, "bob")
    alice.mkcol("/alice")
    alice.put("/alice/f", b"x")
    reply = post(
        bob,
        {"op": "delete", "href": "/alice/f"},
        {"op": "put", "href": "/f", "content": "y"},
        {"op": "copy", "href": "/f", "destination": "/alice/g"},
    )

    assert statuses(reply) == [403, 201, 403]
    assert alice.members("/alice") == ["/alice/f"]


def test_a_lock_is_its_creators(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav(user=[entry("alice"), entry("bob")], anonymous=None)
    alice, bob = Basic(dav, "alice"), Basic(dav, "bob")
    alice.put("/f", b"x")
    token = post(alice, {"op": "lock", "href": "/f"})
    held = results(token)[0]["headers"]["lock-token"][1:-1]
    write = {"op": "put", "href": "/f", "content": "y", "lock-tokens": [held]}

    assert statuses(post(bob, write)) == [423]
    assert statuses(post(alice, write)) == [204]


def test_who_may_only_read_changes_nothing(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav(anonymous="read")

    assert statuses(post(dav, {"op": "mkcol", "href": "/c"})) == [403]


def test_who_must_sign_in_is_asked_to(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav(user=[entry("alice")], anonymous=None)

    assert post(dav, {"op": "mkcol", "href": "/c"}).status == 401


def test_what_is_too_long_to_be_told_is_said_to_be(
    make_dav: Callable[..., AppDav], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is done all the same; nor does an atomic batch fail by that."""
    monkeypatch.setattr("davserver.service._operations._KEPT", 100)
    monkeypatch.setattr("davserver.methods._failures._KEPT", 100)
    dav = make_dav()
    dav.mkcol("/c")
    for name in "ab":
        dav.put(f"/c/{name}", b"x")
        dav.lock(f"/c/{name}")
    patch = {"op": "proppatch", "href": "/c", "xml": PATCH.format("")}
    spooled = post(dav, {"op": "delete", "href": "/c"})
    patched = post(dav, patch, atomic=True)

    assert "too long" in results(spooled)[0]["description"]
    assert "too long" in results(patched)[0]["description"]
    assert patched.status == 200
    assert dav.prop("/c", "{urn:x}topic").text == "t"


def test_depths_and_timeouts_are_those_of_the_fields(dav: AppDav) -> None:
    dav.mkcol("/c")
    dav.put("/c/f", b"x")
    reply = post(
        dav,
        {"op": "copy", "href": "/c", "destination": "/d", "depth": "0"},
        {"op": "lock", "href": "/c", "depth": 0, "timeout": "infinite"},
    )
    (lock,) = dav.locks("/c")

    assert statuses(reply) == [201, 200]
    assert dav.members("/d") == []
    assert lock.findtext("{DAV:}depth") == "0"
    assert lock.findtext("{DAV:}timeout") == "Second-86400"


MADE = {"op": "mkcol", "href": "/c"}
KEYS = {"a string": '"k 1"', "bare": "8e03978e-40d5-43dd-bc93-6894a57f9324", "escaped": '"a\\"b"'}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
@pytest.mark.parametrize("atomic", [False, True], ids=["each", "atomic"])
def test_a_batch_that_is_repeated_is_answered_again(dav: AppDav, key: str, atomic: bool) -> None:
    field = {"Idempotency-Key": key}
    first = post(dav, MADE, atomic=atomic, **field)
    dav.delete("/c")
    second = post(dav, MADE, atomic=atomic, **field)
    other = post(dav, MADE, atomic=atomic, **{"Idempotency-Key": "other"})

    assert (first.status, statuses(first)) == (200 if atomic else 207, [201])
    assert (second.status, second.body) == (first.status, first.body)
    assert second.headers["content-type"] == "application/json"
    assert statuses(other) == [201], "the second one did not act"


def test_an_atomic_batch_that_failed_is_answered_again(dav: AppDav) -> None:
    field = {"Idempotency-Key": "k"}
    dav.mkcol("/c")
    first = post(dav, MADE, atomic=True, **field)
    dav.delete("/c")
    second = post(dav, MADE, atomic=True, **field)

    assert statuses(first) == [405]
    assert second.body == first.body
    assert dav.get("/c").status == 404


def test_a_key_that_came_with_something_else_is_422(dav: AppDav) -> None:
    post(dav, MADE, **{"Idempotency-Key": "k"})
    reply = post(dav, MADE | {"href": "/d"}, **{"Idempotency-Key": '"k"'})

    assert reply.status == 422
    assert dav.members("/") == ["/c/"]


@pytest.mark.parametrize("key", ["", '"', '""', "a, b", '"a', "x" * 256, '"\\a"'])
def test_what_is_no_key_is_400_and_nothing_ran(dav: AppDav, key: str) -> None:
    reply = post(dav, MADE, **{"Idempotency-Key": key})

    assert reply.status == 400
    assert dav.members("/") == []


def test_a_key_is_its_principals(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav(user=[entry("alice"), entry("bob")], anonymous=None)
    field = {"Idempotency-Key": "k"}
    first = post(Basic(dav, "alice"), MADE, **field)
    second = post(Basic(dav, "bob"), MADE, **field)

    assert (statuses(first), statuses(second)) == ([201], [405])


def test_a_key_is_forgotten_in_time(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav(batch_key_s=60)
    field = {"Idempotency-Key": "k"}
    first = post(dav, MADE, **field)
    dav.clock.pass_s(59)
    again = post(dav, MADE, **field)
    dav.clock.pass_s(2)
    later = post(dav, MADE, **field)

    assert again.body == first.body
    assert statuses(later) == [405]


def test_a_key_outlives_the_server(make_dav: Callable[..., AppDav]) -> None:
    field = {"Idempotency-Key": "k"}
    dav = make_dav()
    first = post(dav, MADE, **field)
    dav.delete("/c")
    dav.close()
    other = make_dav()
    second = post(other, MADE, **field)

    assert second.body == first.body
    assert other.members("/") == []


@pytest.mark.parametrize("storage", ["filesystem", "memory"])
def test_while_a_batch_runs_its_key_is_409(make_dav: Callable[..., AppDav], storage: str) -> None:
    dav = make_dav(storage)
    other: list[Reply] = []

    class Asking:
        """Sends the same batch while the first one is at its operation."""

        def permits(self, principal: object, privilege: object, path: DavPath) -> bool:
            if path.name == "c" and not other:
                other.append(Reply(0, "", Headers(()), b""))
                with ThreadPoolExecutor(1) as pool:
                    other[0] = pool.submit(ask).result(10)
            return True

    asking = make_dav(
        storage,
        overrides={
            "authorizer": Asking(),
            "storage": dav.app.services.storage,
            "state": dav.app.services.state,
        },
    )  # type: ignore[attr-defined]

    def ask() -> Reply:
        return post(dav, MADE, **{"Idempotency-Key": "k"})

    first = post(asking, MADE, **{"Idempotency-Key": "k"})

    assert statuses(first) == [201]
    assert (other[0].status, other[0].headers["retry-after"]) == (409, "1")


def test_what_is_raised_gives_up_the_key(
    make_dav: Callable[..., AppDav], monkeypatch: pytest.MonkeyPatch
) -> None:
    dav = make_dav()
    field = {"Idempotency-Key": "k"}
    with monkeypatch.context() as patched:
        patched.setattr("davserver.service.batch.run_all", _busy)
        busy = post(dav, MADE, atomic=True, **field)
    done = post(dav, MADE, atomic=True, **field)

    assert (busy.status, done.status) == (503, 200)


def _busy(*_: object) -> NoReturn:
    raise GateBusy("the gate is held")


PUT = {"op": "put", "href": "/f", "content": ""}
MALFORMED = {
    "not JSON": b"{",
    "no object": b"[]",
    "not UTF-8": b'{"atomic": false, "x": "\xff"}',
    "a name twice": b'{"atomic": false, "atomic": true, "operations": []}',
    "nested too deep": b"[" * 100_000,
    "not a number": b'{"atomic": NaN}',
    "a huge number": b'{"atomic": ' + b"9" * 10_000 + b"}",
    "unknown name": {"atomic": False, "operations": [PUT], "x": 1},
    "no atomic": {"operations": [PUT]},
    "atomic is no bool": {"atomic": 0, "operations": [PUT]},
    "no operations": {"atomic": False},
    "none of them": {"atomic": False, "operations": []},
    "operations are no array": {"atomic": False, "operations": {}},
}
WRONG: dict[str, object] = {
    "no object": "put",
    "no op": {"href": "/f"},
    "unknown op": {"op": "get", "href": "/f"},
    "op is no string": {"op": ["put"], "href": "/f"},
    "no href": {"op": "mkcol"},
    "href is no string": {"op": "mkcol", "href": 1},
    "href is no path": {"op": "mkcol", "href": "http://other/f"},
    "href is not encoded": {"op": "mkcol", "href": "/é"},
    "href with a dot segment": {"op": "mkcol", "href": "/../f"},
    "href with a query": {"op": "mkcol", "href": "/f?x"},
    "unknown name": {"op": "mkcol", "href": "/f", "contents": ""},
    "of another op": {"op": "mkcol", "href": "/f", "content": ""},
    "no content": {"op": "put", "href": "/f"},
    "two contents": {"op": "put", "href": "/f", "content": "", "base64": ""},
    "content is no string": {"op": "put", "href": "/f", "content": 1},
    "content with half a pair": {"op": "put", "href": "/f", "content": "\ud800"},
    "not base64": {"op": "put", "href": "/f", "base64": "*"},
    "base64 is no string": {"op": "put", "href": "/f", "base64": None},
    "no destination": {"op": "move", "href": "/f"},
    "destination elsewhere": {"op": "move", "href": "/f", "destination": "http://other/"},
    "overwrite is no bool": {"op": "copy", "href": "/f", "destination": "/g", "overwrite": "F"},
    "no depth": {"op": "delete", "href": "/f", "depth": "2"},
    "depth is a bool": {"op": "delete", "href": "/f", "depth": True},
    "depth is a fraction": {"op": "delete", "href": "/f", "depth": 0.0},
    "a line break in a condition": PUT | {"if-match": '"x"\r\nif: y'},
    "a set that is none": {"op": "mkcol", "href": "/c", "set": []},
    "no update": {"op": "proppatch", "href": "/f"},
    "two updates": {"op": "proppatch", "href": "/f", "update": [], "xml": ""},
    "an update that is none": {"op": "proppatch", "href": "/f", "update": [{"put": {}}]},
    "no scope": {"op": "lock", "href": "/f", "scope": "both"},
    "no timeout": {"op": "lock", "href": "/f", "timeout": -1},
    "timeout is a bool": {"op": "lock", "href": "/f", "timeout": True},
    "a refresh with a scope": {"op": "lock", "href": "/f", "refresh": "urn:x", "scope": "shared"},
    "no lock token": {"op": "unlock", "href": "/f"},
    "a token with a bracket": {"op": "unlock", "href": "/f", "lock-token": "<urn:x>"},
    "tokens are no array": PUT | {"lock-tokens": "urn:x"},
    "tokens beside if": PUT | {"lock-tokens": ["urn:x"], "if": "(<urn:x>)"},
}
MALFORMED |= {
    f"operation: {name}": {"atomic": False, "operations": [PUT, one]} for name, one in WRONG.items()
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_malformed_anywhere_is_400_and_nothing_ran(
    make_dav: Callable[..., AppDav], body: object
) -> None:
    dav = make_dav("memory")
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = dav.request("POST", BATCH, JSON, raw)

    assert reply.status == 400, reply
    assert len(reply.body) < 300
    assert dav.members("/") == []


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        pytest.param({"batch_operations": 1}, 422, id="operations"),
        pytest.param({"batch_body_limit": 60}, 413, id="body"),
        pytest.param({"batch_content_limit": 1}, 413, id="content"),
    ],
)
def test_too_much_is_refused_and_nothing_ran(
    make_dav: Callable[..., AppDav], settings: dict[str, int], status: int
) -> None:
    dav = make_dav("memory", **settings)
    reply = post(dav, PUT, PUT | {"content": "xx"})

    assert reply.status == status
    assert dav.members("/") == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_a_form_on_any_page_can_send_is_no_batch(dav: AppDav, kind: str) -> None:
    body = json.dumps({"atomic": False, "operations": [PUT]}).encode()
    headers = {"Content-Type": kind} if kind else {}

    assert dav.request("POST", BATCH, headers, body).status == 415
    assert dav.members("/") == []


def test_a_batch_that_is_compressed_is_not_read(dav: AppDav) -> None:
    reply = dav.request("POST", BATCH, JSON | {"Content-Encoding": "gzip"}, b"x")

    assert (reply.status, reply.headers["accept-encoding"]) == (415, "identity")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PROPFIND", "OPTIONS"])
def test_nothing_but_post_is_for_it(dav: AppDav, method: str) -> None:
    reply = dav.request(method, BATCH)

    assert reply.status == (405 if method == "GET" else 404)


def test_below_it_is_nothing(dav: AppDav) -> None:
    assert dav.request("POST", f"{BATCH}/x", JSON, b"{}").status == 404


def test_hrefs_have_the_prefix(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav(prefix="/dav")
    body = {"atomic": False, "operations": [PUT, PUT | {"href": "/dav/f"}]}
    reply = dav.request("POST", f"/dav{BATCH}", JSON, json.dumps(body).encode())

    assert statuses(reply) == [404, 201]
    assert dav.get("/dav/f").status == 200
