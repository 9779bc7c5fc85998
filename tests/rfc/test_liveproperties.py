"""Live properties are what the other methods say of a resource (RFC 4918 section 15)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.conftest import AppDav
from tests.support.storages import HookedStorage
from tests.support.users import TestUsers, User

MakeDav = Callable[..., AppDav]
D = "{DAV:}"
DATE = "Sun, 09 Sep 2001 01:46:40 GMT"


@pytest.fixture
def tree(dav: AppDav) -> AppDav:
    """`/c/` with a file `/c/f.txt`."""
    assert dav.mkcol("/c/").status == 201
    assert dav.put("/c/f.txt", b"content").status == 201
    return dav


def value(dav: AppDav, target: str, local: str) -> str | None:
    element = dav.prop(target, f"{D}{local}")
    return None if element is None else element.text or ""


# -- creationdate --------------------------------------------------------------------------------


@pytest.mark.rfc("LP-01")
def test_creationdate_is_when_it_was_made(tree: AppDav) -> None:
    text = value(tree, "/c/f.txt", "creationdate")

    assert text is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text)
    age = datetime.now(UTC) - datetime.fromisoformat(text)
    assert abs(age.total_seconds()) < 60


@pytest.mark.rfc("LP-01", "LP-07")
def test_new_content_keeps_the_creation_date(tree: AppDav) -> None:
    set_to = "1997-12-01T17:42:21Z"
    tree.proppatch("/c/f.txt", set={f"{D}creationdate": set_to})

    assert tree.put("/c/f.txt", b"other").status == 204

    assert value(tree, "/c/f.txt", "creationdate") == set_to
    assert value(tree, "/c/f.txt", "getlastmodified") != "Mon, 01 Dec 1997 17:42:21 GMT"


@pytest.mark.rfc("LP-01", "MV-05")
@pytest.mark.parametrize("source", ["/c/", "/c/f.txt"])
def test_move_keeps_the_creation_date_and_copy_makes_a_new_one(tree: AppDav, source: str) -> None:
    tree.proppatch(source, set={f"{D}creationdate": "1997-12-01T17:42:21Z"})

    assert tree.copy(source, "/copy").status == 201
    assert tree.move(source, "/moved").status == 201

    assert value(tree, "/moved", "creationdate") == "1997-12-01T17:42:21Z"
    copied = value(tree, "/copy", "creationdate")
    assert copied is not None
    assert copied > "2020"


@pytest.mark.rfc("LP-01", "PF-06")
def test_an_unknown_creation_date_is_404(make_dav: MakeDav) -> None:
    class NoBirth(HookedStorage):
        def locate(self, path: object) -> object:  # type: ignore[override]
            found = super().locate(path)  # type: ignore[arg-type]
            stat = found.stat
            return found if stat is None else found._replace(stat=stat._replace(birth_ns=None))

    dav = make_dav("memory", overrides={"storage": NoBirth()})
    dav.put("/f", b"")

    assert list(dav.propfind("/f", props=[f"{D}creationdate"])["/f"]) == [404]
    assert f"{D}creationdate" not in dav.propfind("/f").ok("/f")


# -- displayname ---------------------------------------------------------------------------------

SHOWN = {
    "/plain": "plain",
    "/with%20space": "with space",
    "/%C3%A4%C3%B6": "\u00e4\u00f6",
    "/%3Ca%26b%3E": "<a&b>",
    "/c/": "c",
    "/%F0%9F%98%80/": "\U0001f600",
    "/a%2520b": "a%20b",
}


@pytest.mark.rfc("LP-02", "LP-11", "PF-20")
@pytest.mark.parametrize(("target", "shown"), SHOWN.items())
def test_a_name_that_was_not_set_is_the_decoded_segment(
    dav: AppDav, target: str, shown: str
) -> None:
    assert (dav.mkcol(target) if target.endswith("/") else dav.put(target)).status == 201

    assert value(dav, target, "displayname") == shown
    assert dav.propfind("/", depth="1").text(target, f"{D}displayname") == shown


@pytest.mark.rfc("LP-02", "LP-12")
@pytest.mark.parametrize("target", ["/c/", "/c/f.txt"])
def test_a_display_name_can_be_set_goes_along_and_can_be_taken_back(
    tree: AppDav, target: str
) -> None:
    name = "Bericht <1> & \u00e4 "
    assert tree.proppatch(target, set={f"{D}displayname": name}).multistatus[target].keys() == {200}

    assert tree.copy(target, "/copy").status == 201
    assert tree.move(target, "/moved").status == 201

    for place in ("/copy", "/moved"):
        assert value(tree, place, "displayname") == name
    tree.proppatch("/moved", remove=[f"{D}displayname"])
    assert value(tree, "/moved", "displayname") == "moved"


@pytest.mark.rfc("LP-02")
def test_a_display_name_may_be_empty(tree: AppDav) -> None:
    tree.proppatch("/c/f.txt", set={f"{D}displayname": ""})

    assert value(tree, "/c/f.txt", "displayname") == ""


# -- get* ----------------------------------------------------------------------------------------


@pytest.mark.rfc("LP-03")
def test_the_content_language_is_what_get_sends(tree: AppDav) -> None:
    assert value(tree, "/c/f.txt", "getcontentlanguage") is None
    assert "content-language" not in tree.get("/c/f.txt").headers

    tree.proppatch("/c/f.txt", set={f"{D}getcontentlanguage": "de, en-GB"})

    assert value(tree, "/c/f.txt", "getcontentlanguage") == "de, en-GB"
    for method in ("GET", "HEAD"):
        assert tree.request(method, "/c/f.txt").headers["content-language"] == "de, en-GB"
    tree.proppatch("/c/f.txt", remove=[f"{D}getcontentlanguage"])
    assert "content-language" not in tree.get("/c/f.txt").headers


FIELDS = {
    "getcontentlength": "content-length",
    "getcontenttype": "content-type",
    "getetag": "etag",
    "getlastmodified": "last-modified",
}


@pytest.mark.rfc("LP-04", "LP-05", "LP-06", "LP-07", "LP-11")
@pytest.mark.parametrize("content", [b"", b"x" * 70_000], ids=["empty", "70 kB"])
@pytest.mark.parametrize(
    "target", ["/a.txt", "/a.html", "/a.jpg", "/a", "/a.tar.gz", "/a.unknown", "/%C3%A4.pdf"]
)
def test_get_properties_are_the_fields_of_get(dav: AppDav, target: str, content: bytes) -> None:
    dav.put(target, content)

    found = dav.propfind(target, props=[f"{D}{local}" for local in FIELDS])
    listed = dav.propfind("/", depth="1")

    for method in ("GET", "HEAD"):
        headers = dav.request(method, target).headers
        fields = {local: headers[field] for local, field in FIELDS.items()}
        assert {local: found.text(target, f"{D}{local}") for local in FIELDS} == fields
        assert {local: listed.text(target, f"{D}{local}") for local in FIELDS} == fields
    assert fields["getcontentlength"] == str(len(content))
    assert not fields["getetag"].startswith("W/")


@pytest.mark.rfc("LP-05")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_the_content_type_goes_along(tree: AppDav, method: str) -> None:
    before = value(tree, "/c/f.txt", "getcontenttype")

    tree.request(method, "/c/f.txt", {"Destination": "/other.txt"})

    assert value(tree, "/other.txt", "getcontenttype") == before == "text/plain; charset=utf-8"
    assert tree.get("/other.txt").headers["content-type"] == before


@pytest.mark.rfc("LP-04", "LP-06")
def test_a_collection_has_no_length_and_no_etag(tree: AppDav) -> None:
    names = [f"{D}getcontentlength", f"{D}getetag"]

    assert list(tree.propfind("/c/", props=names)["/c/"]) == [404]
    assert not set(names) & set(tree.propfind("/c/").ok("/c/"))


@pytest.mark.rfc("LP-07", "LP-06")
@pytest.mark.parametrize("target", ["/c/", "/c/f.txt"])
def test_properties_and_locks_leave_the_time_alone(tree: AppDav, target: str) -> None:
    tree.proppatch(target, set={f"{D}getlastmodified": DATE})
    before = [value(tree, target, name) for name in ("getlastmodified", "getetag")]

    tree.proppatch(target, set={"{urn:x}a": "1", f"{D}displayname": "n"})
    granted = tree.lock(target, depth="0")
    tree.proppatch(target, remove=["{urn:x}a"], headers={"If": granted.untagged})
    tree.unlock(target, granted.token)

    assert [value(tree, target, name) for name in ("getlastmodified", "getetag")] == before
    assert before[0] == DATE


@pytest.mark.rfc("LP-06")
def test_the_etag_changes_with_the_content_and_its_time(tree: AppDav) -> None:
    seen = {value(tree, "/c/f.txt", "getetag")}
    for _ in range(5):
        tree.put("/c/f.txt", b"content")
        seen.add(value(tree, "/c/f.txt", "getetag"))
        tree.proppatch("/c/f.txt", set={f"{D}getlastmodified": DATE})
        seen.add(value(tree, "/c/f.txt", "getetag"))

    assert len(seen) == 11


# -- locks ---------------------------------------------------------------------------------------


@pytest.mark.rfc("LP-08")
def test_lockdiscovery_has_direct_and_indirect_locks(tree: AppDav) -> None:
    assert tree.locks("/c/f.txt") == []
    outer = tree.lock("/c/", scope="shared", depth="infinity")
    inner = tree.lock("/c/f.txt", scope="shared", headers={"If": outer.untagged})
    tree.lock("/", scope="shared", depth="0")

    found = {
        lock.findtext(f"{D}locktoken/{D}href"): lock.findtext(f"{D}lockroot/{D}href")
        for lock in tree.locks("/c/f.txt")
    }

    assert found == {outer.token: "/c/", inner.token: "/c/f.txt"}
    listed = tree.propfind("/c/", depth="1").ok("/c/f.txt")[f"{D}lockdiscovery"]
    assert len(listed) == 2


@pytest.mark.rfc("LP-08")
def test_lockdiscovery_shows_while_the_resource_is_locked(tree: AppDav) -> None:
    """It is not lockable itself: it changes, and is read, without a token."""
    granted = tree.lock("/c/f.txt")
    assert len(tree.locks("/c/f.txt")) == 1

    tree.unlock("/c/f.txt", granted.token)

    element = tree.prop("/c/f.txt", f"{D}lockdiscovery")
    assert (len(element), element.text) == (0, None)


@pytest.mark.rfc("LP-08", "SE-03")
def test_only_the_holder_sees_the_token(make_dav: MakeDav) -> None:
    dav = make_dav("memory", overrides={"authenticator": TestUsers()})
    alice, bob = User(dav, "alice"), User(dav, "bob")
    alice.mkcol("/c/")
    alice.put("/c/f")
    granted = alice.lock("/c/", depth="infinity")

    replies = [
        bob.request("PROPFIND", "/c/", {"Depth": "infinity"}),
        bob.request("PROPFIND", "/c/f", {"Depth": "0"}),
        bob.put("/c/f", b"x"),
        bob.lock_request("/c/f"),
        bob.delete("/c/"),
        bob.unlock("/c/", "urn:uuid:00000000-0000-0000-0000-000000000000"),
    ]

    assert [reply.status for reply in replies] == [207, 207, 423, 423, 423, 409]
    for reply in replies:
        assert granted.token.encode() not in reply.body + repr(reply.headers).encode()
    (active,) = bob.locks("/c/f")
    assert active.find(f"{D}locktoken") is None
    assert active.findtext(f"{D}lockroot/{D}href") == "/c/"
    (own,) = alice.locks("/c/f")
    assert own.findtext(f"{D}locktoken/{D}href") == granted.token


@pytest.mark.rfc("LP-10")
@pytest.mark.parametrize("target", ["/", "/c/", "/c/f.txt"])
def test_supportedlock_is_what_can_be_locked(tree: AppDav, target: str) -> None:
    element = tree.prop(target, f"{D}supportedlock")

    entries = [
        (entry.find(f"{D}lockscope")[0].tag, entry.find(f"{D}locktype")[0].tag)
        for entry in element.findall(f"{D}lockentry")
    ]
    scopes = ["exclusive", "shared"]
    assert sorted(entries) == [(f"{D}{scope}", f"{D}write") for scope in scopes]
    for scope in scopes:
        granted = tree.lock(target, scope=scope, depth="0")
        assert tree.prop(target, f"{D}supportedlock") is not None
        tree.unlock(target, granted.token)


@pytest.mark.rfc("LP-09")
def test_everything_has_a_resourcetype_without_text(tree: AppDav) -> None:
    answer = tree.propfind("/", depth="infinity")

    types = {href: [child.tag for child in answer.ok(href)[f"{D}resourcetype"]] for href in answer}
    assert types == {"/": [f"{D}collection"], "/c/": [f"{D}collection"], "/c/f.txt": []}
    assert {answer.text(href, f"{D}resourcetype") for href in answer} == {None}


# -- quota ---------------------------------------------------------------------------------------


@pytest.mark.rfc("QU-01", "QU-02", "QU-03")
def test_quota_is_told_of_collections_when_asked(make_dav: MakeDav) -> None:
    """Unknown is 404: Finder takes 0 for a full disk."""
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    dav.mkcol("/c/")
    dav.put("/c/f")
    names = [f"{D}quota-available-bytes", f"{D}quota-used-bytes"]

    unknown = dav.propfind("/c/", props=names, depth="1")
    storage.available = 12_345
    known = dav.propfind("/c/", props=names, depth="1")
    storage.available = -1
    over = dav.propfind("/c/", props=names)

    assert [list(unknown[href]) for href in ("/c/", "/c/f")] == [[404], [404]]
    assert known.text("/c/", names[0]) == "12345"
    assert list(known["/c/f"]) == [404]
    assert over.text("/c/", names[0]) == "0"
    assert not set(names) & set(dav.propfind("/c/").ok("/c/"))


# -- copies --------------------------------------------------------------------------------------


@pytest.mark.rfc("LP-12", "CP-09")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_live_properties_stay_live(tree: AppDav, method: str) -> None:
    tree.lock("/c/f.txt", scope="shared")
    token = tree.locks("/c/f.txt")[0].findtext(f"{D}locktoken/{D}href")
    headers = {"Destination": "/new.txt", "If": f"(<{token}>)"}
    assert tree.request(method, "/c/f.txt", headers).status == 201

    tree.put("/new.txt", b"changed since")

    assert value(tree, "/new.txt", "getcontentlength") == "13"
    assert value(tree, "/new.txt", "getetag") == tree.head("/new.txt").headers["etag"]
    assert tree.locks("/new.txt") == []
    refused = tree.proppatch("/new.txt", set={f"{D}getetag": "x"})
    assert list(refused.multistatus["/new.txt"]) == [403]
    names = list(tree.propfind("/new.txt").ok("/new.txt"))
    assert len(names) == len(set(names))
