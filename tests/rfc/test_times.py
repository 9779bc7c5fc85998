"""Times that clients give and get back: X-OC-Mtime, X-OC-CTime, Win32 properties."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from davserver.errors import AccessDenied, StorageFailure
from davserver.storage.base import Stat
from davserver.storage.faulty import FaultyStorage, Fuse
from davserver.storage.memory import MemoryStorage
from tests.conftest import AppDav

MakeDav = Callable[..., AppDav]
D = "{DAV:}"
MODIFIED, CREATED = f"{D}getlastmodified", f"{D}creationdate"
W = "{urn:schemas-microsoft-com:}"
STAMP, DATE, ISO = "1000000000", "Sun, 09 Sep 2001 01:46:40 GMT", "2001-09-09T01:46:40Z"
OLDER, OLDER_DATE, OLDER_ISO = "1", "Thu, 01 Jan 1970 00:00:01 GMT", "1970-01-01T00:00:01Z"
BOTH = {"X-OC-Mtime": STAMP, "X-OC-CTime": OLDER}
ACCEPTED = {"x-oc-mtime": "accepted", "x-oc-ctime": "accepted"}


def accepted(reply: object) -> dict[str, str]:
    headers = getattr(reply, "headers")  # noqa: B009 - any reply will do
    return {name: value for name, value in headers if name.startswith("x-oc-")}


def times(dav: AppDav, target: str) -> tuple[str | None, str | None]:
    """Returns the dates of modification and of creation."""
    found = dav.propfind(target, props=[MODIFIED, CREATED])
    (groups,) = found.values()
    values = groups.get(200, {})
    modified, created = values.get(MODIFIED), values.get(CREATED)
    return (
        None if modified is None else modified.text,
        None if created is None else created.text,
    )


@pytest.mark.parametrize(
    "body", [b"content", b"", b"c" * 3_000_000], ids=["short", "empty", "long"]
)
def test_put_keeps_both_times_and_says_so(dav: AppDav, body: bytes) -> None:
    reply = dav.put("/f", body, BOTH)

    assert (reply.status, accepted(reply)) == (201, ACCEPTED)
    assert reply.headers["last-modified"] == DATE
    assert times(dav, "/f") == (DATE, OLDER_ISO)


def test_put_over_a_file_sets_both_times(dav: AppDav) -> None:
    dav.put("/f", b"old")

    reply = dav.put("/f", b"new", BOTH)

    assert (reply.status, accepted(reply)) == (204, ACCEPTED)
    assert times(dav, "/f") == (DATE, OLDER_ISO)


def test_put_without_them_says_nothing_and_keeps_the_creation_time(dav: AppDav) -> None:
    dav.put("/f", b"old", BOTH)
    dav.clock.pass_s(5)

    reply = dav.put("/f", b"new")

    assert accepted(reply) == {}
    modified, created = times(dav, "/f")
    assert modified != DATE
    assert created == OLDER_ISO


@pytest.mark.parametrize("value", ["1000000000.5", "1000000000.123456789"])
def test_a_fraction_of_a_second_is_dropped(dav: AppDav, value: str) -> None:
    reply = dav.put("/f", b"", {"X-OC-Mtime": value})

    assert accepted(reply) == {"x-oc-mtime": "accepted"}
    assert dav.head("/f").headers["last-modified"] == DATE


def test_a_time_before_1970_is_one(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    dav.put("/f", b"", {"X-OC-Mtime": "-86400", "X-OC-CTime": "-86400"})

    assert times(dav, "/f") == ("Wed, 31 Dec 1969 00:00:00 GMT", "1969-12-31T00:00:00Z")


BAD = ["", "now", "1e9", "0x5f5e100", "1000000000s", "+1", "1.", ".5", "١", "9" * 12, "1, 2"]


@pytest.mark.parametrize("name", ["X-OC-Mtime", "X-OC-CTime"])
@pytest.mark.parametrize("value", BAD)
def test_what_is_no_time_is_400_before_the_body_is_asked_for(
    dav: AppDav, name: str, value: str
) -> None:
    dav.put("/f", b"old", {"X-OC-Mtime": STAMP})
    etag = dav.head("/f").headers["etag"]
    field = {name: value.encode().decode("latin-1")}

    for method, target, more in (
        ("PUT", "/f", {}),
        ("PUT", "/new", {}),
        ("COPY", "/f", {"Destination": "/new"}),
        ("MOVE", "/f", {"Destination": "/new"}),
    ):
        exchange = dav.run(
            dav.send(method, target, field | more, b"new" if method == "PUT" else b"")
        )
        assert exchange.reply.status == 400
        assert exchange.received == 0

    assert dav.members("/") == ["/f"]
    assert dav.get("/f").body == b"old"
    assert dav.head("/f").headers["etag"] == etag


def test_a_time_that_is_sent_twice_is_400(dav: AppDav) -> None:
    reply = dav.put("/f", b"", [("X-OC-Mtime", "1"), ("X-OC-Mtime", "2")])

    assert reply.status == 400
    assert dav.members("/") == []


@pytest.mark.security("L-04", "M-10")
def test_sixty_versions_of_one_size_and_time_have_sixty_tags(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", durability="none")
    replies = [dav.put("/f", b"%02d" % n, {"X-OC-Mtime": STAMP}) for n in range(60)]

    assert len({reply.headers["etag"] for reply in replies}) == 60
    assert {reply.headers["last-modified"] for reply in replies} == {DATE}


def test_move_keeps_the_times_of_a_file_and_of_a_collection(dav: AppDav) -> None:
    # Ahead of the disk's clock, so that none of its seconds is cut off.
    dav.clock.pass_s(60)
    dav.mkcol("/c/")
    dav.put("/c/f", b"x", BOTH)

    dav.move("/c/f", "/c/g")
    before = times(dav, "/c/")
    dav.clock.pass_s(5)
    dav.move("/c/", "/d/")

    assert times(dav, "/d/g") == (DATE, OLDER_ISO)
    assert times(dav, "/d/") == before


@pytest.mark.parametrize("method", ["MOVE", "COPY"])
@pytest.mark.parametrize("taken", [False, True], ids=["new", "over another"])
def test_move_and_copy_set_both_times_on_request(dav: AppDav, method: str, taken: bool) -> None:
    dav.put("/f", b"x")
    if taken:
        dav.put("/g", b"other")

    reply = dav.request(method, "/f", BOTH | {"Destination": "/g"})

    assert (reply.status, accepted(reply)) == (204 if taken else 201, ACCEPTED)
    assert times(dav, "/g") == (DATE, OLDER_ISO)
    assert dav.get("/g").body == b"x"


@pytest.mark.parametrize("method", ["MOVE", "COPY"])
def test_a_collection_gets_the_times_itself_and_not_its_members(dav: AppDav, method: str) -> None:
    dav.mkcol("/c/")
    dav.put("/c/f", b"x", {"X-OC-Mtime": "2"})

    reply = dav.request(method, "/c/", BOTH | {"Destination": "/d/"})

    assert (reply.status, accepted(reply)) == (201, ACCEPTED)
    assert times(dav, "/d/") == (DATE, OLDER_ISO)
    assert times(dav, "/d/f")[0] != DATE


def test_copy_without_them_is_a_new_file(dav: AppDav) -> None:
    dav.put("/f", b"x", BOTH)

    reply = dav.copy("/f", "/g")

    assert accepted(reply) == {}
    modified, created = times(dav, "/g")
    assert modified != DATE
    assert created != OLDER_ISO
    assert times(dav, "/f") == (DATE, OLDER_ISO)


@pytest.mark.parametrize("method", ["PUT", "MOVE", "COPY"])
def test_a_request_that_fails_sets_no_time(dav: AppDav, method: str) -> None:
    dav.put("/f", b"x", {"X-OC-Mtime": "2", "X-OC-CTime": "3"})
    dav.put("/g", b"y", {"X-OC-Mtime": "2", "X-OC-CTime": "3"})
    before = {name: (times(dav, name), dav.head(name).headers["etag"]) for name in ("/f", "/g")}
    target = {"Destination": "/g", "Overwrite": "F"}

    reply = dav.request(method, "/f", BOTH | target | {"If-Match": '"no"'}, b"")

    assert reply.status == 412
    assert accepted(reply) == {}
    after = {name: (times(dav, name), dav.head(name).headers["etag"]) for name in ("/f", "/g")}
    assert after == before


def test_a_link_is_renamed_and_what_it_leads_to_keeps_its_time(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    assert dav.root is not None
    dav.put("/f", b"x")
    os.symlink("f", dav.root / "link")
    before = times(dav, "/f")

    reply = dav.request("MOVE", "/link", BOTH | {"Destination": "/other"})

    assert (reply.status, accepted(reply)) == (201, {})
    assert times(dav, "/f") == before


def test_windows_sets_the_creation_time(dav: AppDav) -> None:
    dav.put("/f", b"x")

    reply = dav.proppatch("/f", set={f"{W}Win32CreationTime": DATE})

    assert list(reply.multistatus["/f"]) == [200]
    assert dav.prop("/f", CREATED).text == ISO
    assert dav.prop("/f", f"{W}Win32CreationTime").text == DATE


def test_windows_is_never_shown_the_time_of_an_older_version(dav: AppDav) -> None:
    """Explorer prefers its own properties to getlastmodified."""
    dav.put("/f", b"x")
    dav.proppatch("/f", set={f"{W}Win32LastModifiedTime": DATE, f"{W}Win32CreationTime": DATE})

    dav.put("/f", b"y", {"X-OC-Mtime": OLDER, "X-OC-CTime": OLDER})

    everything = dav.propfind("/f")["/f"][200]
    assert everything[f"{W}Win32LastModifiedTime"].text == OLDER_DATE
    assert everything[f"{W}Win32CreationTime"].text == OLDER_DATE


@pytest.mark.parametrize("local", ["Win32CreationTime", "Win32LastModifiedTime"])
def test_windows_times_can_be_removed_again(dav: AppDav, local: str) -> None:
    dav.put("/f", b"x")
    before = times(dav, "/f")
    assert dav.prop("/f", W + local) is None
    dav.proppatch("/f", set={W + local: DATE})

    reply = dav.proppatch("/f", remove=[W + local])

    assert list(reply.multistatus["/f"]) == [200]
    assert dav.prop("/f", W + local) is None
    assert times(dav, "/f") != before


@pytest.mark.parametrize("local", ["Win32CreationTime", "Win32LastModifiedTime"])
def test_a_windows_time_that_is_none_is_409_and_nothing_is_set(dav: AppDav, local: str) -> None:
    dav.put("/f", b"x")
    before = times(dav, "/f")

    reply = dav.proppatch("/f", set={W + local: "yesterday"})

    assert list(reply.multistatus["/f"]) == [409]
    assert times(dav, "/f") == before


@pytest.mark.parametrize("taken", [False, True], ids=["new", "over another"])
@pytest.mark.parametrize("method", ["PUT", "MOVE", "COPY"])
def test_a_storage_that_fails_anywhere_keeps_the_old_times_or_has_the_new(
    make_dav: MakeDav, method: str, taken: bool
) -> None:
    target = "/f" if method == "PUT" else "/g"
    for number in range(1, 60):
        storage = FaultyStorage(MemoryStorage(), fail_at=0, error=StorageFailure)
        dav = make_dav("memory", overrides={"storage": storage})
        names = [name for name in ("/f", "/g") if taken or name not in (target, "/g")]
        for name in names:
            dav.put(name, b"old", {"X-OC-Mtime": "2", "X-OC-CTime": "3"})
        before = {name: times(dav, name) for name in names}

        storage.fuse = fuse = Fuse(number, StorageFailure)
        headers = BOTH if method == "PUT" else BOTH | {"Destination": "/g"}
        reply = dav.request(method, "/f", headers, b"new" if method == "PUT" else b"")
        storage.fuse = Fuse(0, StorageFailure)

        if reply.status >= 400:
            # A disk that fails after the publication may have lost it, or not.
            for name in dav.members("/"):
                is_old = times(dav, name) == before.get(name)
                assert is_old or (name == target and times(dav, name) == (DATE, OLDER_ISO))
        elif accepted(reply) == ACCEPTED:
            assert times(dav, target) == (DATE, OLDER_ISO)
        else:
            assert (method, accepted(reply)) == ("MOVE", {"x-oc-ctime": "accepted"})
            assert times(dav, target)[1] == OLDER_ISO
        if not fuse.blown:
            break
    assert not fuse.blown, "it never came to its end"


class Foreign(MemoryStorage):
    """Resources of another user of the system, whose times only that one may set."""

    def set_attributes(self, path: object, **_: object) -> Stat:
        raise AccessDenied("not yours")


@pytest.mark.parametrize("method", ["MOVE", "COPY"])
def test_a_time_that_may_not_be_set_is_not_said_to_be(make_dav: MakeDav, method: str) -> None:
    dav = make_dav("memory", overrides={"storage": Foreign()})
    dav.mkcol("/c/")

    reply = dav.request(method, "/c/", BOTH | {"Destination": "/d/"})

    assert (reply.status, accepted(reply)) == (201, {"x-oc-ctime": "accepted"})
    assert times(dav, "/d/")[0] != DATE
