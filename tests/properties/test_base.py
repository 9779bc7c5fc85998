"""The registry and the plan, with the live properties of RFC 4918 and its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from davserver.errors import Conflict, DavError, Forbidden
from davserver.extensions.rfc4331_quota import EXTENSION as QUOTA
from davserver.properties import apache, owncloud, rfc4918, windows
from davserver.properties.base import (
    CREATED,
    LivePropertyRegistry,
    Needs,
    Prepared,
    Resource,
    created_element,
)
from davserver.properties.rfc4918 import content_language
from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, LockScope
from davserver.protocol.multistatus import PropStat
from davserver.protocol.names import PropertyChange, QName, dav
from davserver.protocol.path import Key
from davserver.storage.base import Kind, Quota, Stat

LIVE = LivePropertyRegistry(
    (
        *rfc4918.PROPERTIES,
        *apache.PROPERTIES,
        *windows.PROPERTIES,
        *owncloud.PROPERTIES,
        *QUOTA.properties,
    )
)
FILE = Stat(Kind.FILE, 5, 1_000_000_000_123_456_789, 900_000_000_000_000_000, 1, 0xAB)
FOLDER = FILE._replace(kind=Kind.COLLECTION, size=0)
NOW = 2_000_000_000
DEAD = QName("{u}x")


def resource(stat: Stat = FILE, name: str = "a.txt", **values: Any) -> Resource:
    values = {"principal": "me", "base": b"", "now": NOW, "can_write": True} | values
    return Resource(b"/a", name, stat, **values)


def ask(*names: str) -> bytes:
    inner = "".join(
        f'<{name.partition("}")[2]} xmlns="{name[1:].partition("}")[0]}"/>' for name in names
    )
    return f'<propfind xmlns="DAV:"><prop>{inner}</prop></propfind>'.encode()


def found(body: bytes, one: Resource, *, minimal: bool = False) -> dict[int, bytes]:
    propstats = LIVE.compile(body, minimal=minimal).render(one)
    return {propstat.status: propstat.content for propstat in propstats}


LOCK = Lock(
    "urn:uuid:1", Key("", b"a"), b"/a", LockScope.EXCLUSIVE, Depth.ZERO, b"", "me", 60, NOW + 60
)


@pytest.mark.rfc(
    "LP-01", "LP-02", "LP-03", "LP-04", "LP-05", "LP-06", "LP-07", "LP-09", "LP-10", "LP-11"
)
@pytest.mark.parametrize(
    ("local", "stat", "values", "expected"),
    [
        pytest.param("creationdate", FILE, {}, b"1998-07-09T16:00:00Z", id="birth time"),
        pytest.param(
            "creationdate",
            FILE,
            {"dead": {CREATED: created_element(0)}},
            b"1970-01-01T00:00:00Z",
            id="stored creation time",
        ),
        pytest.param("creationdate", FILE._replace(birth_ns=None), {}, None, id="unknown birth"),
        pytest.param("displayname", FILE, {}, b"a.txt", id="last segment"),
        pytest.param("displayname", FILE, {"name": "a<\udcff\x01"}, "a&lt;��".encode(), id="odd"),
        pytest.param(
            "displayname",
            FILE,
            {"dead": {dav("displayname"): b'<x:displayname xmlns:x="DAV:">N</x:displayname>'}},
            b"N",
            id="stored name",
        ),
        pytest.param("getcontentlanguage", FILE, {}, None, id="no language"),
        pytest.param("getcontentlength", FILE, {}, b"5", id="length"),
        pytest.param("getcontentlength", FOLDER, {}, None, id="length of a collection"),
        pytest.param("getcontenttype", FILE, {}, b"text/plain; charset=utf-8", id="type"),
        pytest.param("getcontenttype", FOLDER, {}, b"httpd/unix-directory", id="collection type"),
        pytest.param("getetag", FILE, {}, b'"ab-5-de0b6b3aebfcd15"', id="etag"),
        pytest.param("getetag", FOLDER, {}, None, id="no etag"),
        pytest.param(
            "getlastmodified", FILE, {}, b"Sun, 09 Sep 2001 01:46:40 GMT", id="last modified"
        ),
        pytest.param(
            "getlastmodified", FILE, {"now": 5.5}, b"Thu, 01 Jan 1970 00:00:05 GMT", id="future"
        ),
        pytest.param("resourcetype", FOLDER, {}, b"<D:collection/>", id="collection"),
        pytest.param("resourcetype", FILE, {}, b"<D:resourcetype/>", id="file"),
        pytest.param("lockdiscovery", FILE, {}, b"<D:lockdiscovery/>", id="no locks"),
        pytest.param("lockdiscovery", FILE, {"locks": [LOCK]}, b">urn:uuid:1<", id="own lock"),
        pytest.param("lockdiscovery", FILE, {"can_write": False}, None, id="class 1: discovery"),
        pytest.param("supportedlock", FILE, {"can_write": False}, None, id="class 1: supported"),
        pytest.param("supportedlock", FILE, {}, b"<D:exclusive/>", id="supported"),
        pytest.param("quota-used-bytes", FOLDER, {"quota": Quota(7, 8)}, b">8<", id="used"),
        pytest.param("quota-available-bytes", FOLDER, {"quota": Quota(-7, 8)}, b">0<", id="full"),
        pytest.param("quota-used-bytes", FOLDER, {}, None, id="quota unknown"),
        pytest.param("quota-available-bytes", FOLDER, {}, None, id="space unknown"),
        pytest.param("quota-used-bytes", FILE, {"quota": Quota(7, 8)}, None, id="quota of a file"),
    ],
)
def test_live_property(
    local: str, stat: Stat, values: Mapping[str, Any], expected: bytes | None
) -> None:
    actual = found(ask(f"{{DAV:}}{local}"), resource(stat, **values))

    if expected is None:
        assert {404: b"<D:%s/>" % local.encode()} == actual
    else:
        assert list(actual) == [200]
        assert expected in actual[200]


@pytest.mark.rfc("LP-08", "SE-03")
def test_token_of_somebody_else_is_hidden() -> None:
    content = found(ask("{DAV:}lockdiscovery"), resource(locks=[LOCK], principal="other"))[200]

    assert b"<D:activelock>" in content
    assert b"urn:uuid" not in content


@pytest.mark.rfc("PF-07", "QU-02", "LP-08")
def test_allprop_has_dead_and_live_ones_but_not_quota() -> None:
    dead = {DEAD: b'<x xmlns="u">v</x>', CREATED: created_element(0)}
    actual = found(b"", resource(FOLDER, dead=dead, quota=Quota(1, 2)))

    assert list(actual) == [200]
    for name in (b"creationdate", b"displayname", b"lockdiscovery", b"supportedlock"):
        assert b"<D:%s" % name in actual[200]
    assert actual[200].endswith(dead[DEAD])
    for name in (b"quota", b"davserver:", b"executable", b"getcontentlength"):
        assert name not in actual[200]


@pytest.mark.rfc("PF-07", "PF-09")
def test_include_adds_names_once() -> None:
    include = "<D:getetag/><x xmlns='u'/><y xmlns='u'/><D:quota-used-bytes/>"
    body = f'<D:propfind xmlns:D="DAV:"><D:allprop/><D:include>{include}</D:include></D:propfind>'
    dead = {DEAD: b'<x xmlns="u">v</x>'}

    actual = found(body.encode(), resource(dead=dead))

    assert actual[200].count(b"getetag>") // 2 == 1
    assert actual[200].count(dead[DEAD]) == 1
    assert actual[404] == b'<D:quota-used-bytes/><ns0:y xmlns:ns0="u"/>'


@pytest.mark.rfc("PF-08", "QU-02")
def test_propname_lists_every_name_without_values() -> None:
    body = b'<propfind xmlns="DAV:"><propname/></propfind>'
    dead = {DEAD: b'<x xmlns="u">v</x>', dav("displayname"): b"<y/>", CREATED: b""}

    folder = found(body, resource(FOLDER, dead=dead, quota=Quota(1, 2)))
    file = found(body, resource(dead=dead))

    assert list(folder) == [200]
    assert folder[200].count(b"<") == folder[200].count(b"/>")
    assert folder[200].count(b"<D:displayname/>") == 1
    assert b'<ns0:x xmlns:ns0="u"/>' in folder[200]
    assert b"<D:quota-used-bytes/>" in folder[200]
    assert b"executable" not in folder[200]
    assert b"executable" in file[200]
    assert b"davserver:" not in file[200]
    assert Needs.LOCKS not in LIVE.compile(body).needs


@pytest.mark.rfc("PF-06", "PF-09", "PF-14")
def test_missing_names_have_their_own_propstat() -> None:
    body = ask("{DAV:}getetag", "{u}x", "{DAV:}foo", "{DAV:}lastmodified")
    one = resource()

    response = LIVE.compile(body).render_response(one)

    missing = b'<ns0:x xmlns:ns0="u"/><D:foo/><D:lastmodified/>'
    assert {200, 404} == set(found(body, one))
    assert missing == found(body, one)[404]
    assert response.startswith(b"<D:response><D:href>/a</D:href><D:propstat><D:prop><D:getetag>")
    assert response.index(b"200 OK") < response.index(b"404 Not Found")
    assert found(ask(), one) == {200: b""}


@pytest.mark.parametrize("body", [ask("{u}y"), ask("{davserver:}created")])
def test_nothing_found_is_one_404_propstat(body: bytes) -> None:
    one = resource(dead={DEAD: b"", CREATED: created_element(1)})

    assert list(found(body, one)) == [404]
    assert LIVE.compile(body).render_response(one).count(b"<D:propstat>") == 1


def test_minimal_leaves_out_what_is_missing() -> None:
    assert found(ask("{u}y"), resource(), minimal=True) == {200: b""}


def test_response_is_what_the_propstats_say() -> None:
    plan = LIVE.compile(ask("{DAV:}resourcetype"))

    assert [PropStat(200, b"<D:resourcetype/>")] == plan.render(resource())
    assert plan.render_response(resource()) == (
        b"<D:response><D:href>/a</D:href><D:propstat><D:prop><D:resourcetype/></D:prop>"
        b"<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(ask("{DAV:}getetag", "{DAV:}resourcetype"), Needs.STAT, id="stat alone"),
        pytest.param(ask("{DAV:}lockdiscovery"), Needs.LOCKS, id="locks"),
        pytest.param(ask("{DAV:}quota-used-bytes"), Needs.QUOTA, id="quota"),
        pytest.param(ask("{u}x"), Needs.DEAD, id="dead"),
        pytest.param(b"", Needs.DEAD | Needs.LOCKS, id="allprop"),
    ],
)
def test_plan_fetches_only_what_it_needs(body: bytes, expected: Needs) -> None:
    assert expected == LIVE.compile(body).needs


def test_short_bodies_are_compiled_once() -> None:
    short = ask("{DAV:}getetag")
    long = ask(*(f"{{u}}n{i}" for i in range(500)))

    assert LIVE.compile(short) is LIVE.compile(short)
    assert LIVE.compile(long) is not LIVE.compile(long)


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="creationdate"):
        LivePropertyRegistry((*rfc4918.PROPERTIES, *rfc4918.PROPERTIES))


def change(name: QName, text: str | None) -> PropertyChange:
    local, uri = name.rpartition("}")[2], name[1:].partition("}")[0]
    value = None if text is None else f'<{local} xmlns="{uri}">{text}</{local}>'.encode()
    return PropertyChange(name, value)


DATE = "Sun, 09 Sep 2001 01:46:40 GMT"
MTIME = (("mtime_ns", 1_000_000_000_000_000_000),)
EXECUTABLE, WIN32 = apache.EXECUTABLE, windows.LAST_MODIFIED_TIME


@pytest.mark.rfc("LP-02", "LP-03", "PP-08", "PP-16")
@pytest.mark.parametrize(
    ("one", "expected"),
    [
        pytest.param(change(DEAD, "v"), Prepared((change(DEAD, "v"),)), id="dead"),
        pytest.param(change(DEAD, None), Prepared((change(DEAD, None),)), id="dead, removed"),
        pytest.param(
            change(dav("displayname"), "v"), Prepared((change(dav("displayname"), "v"),)), id="name"
        ),
        pytest.param(
            change(dav("getcontentlanguage"), "en, de-AT"),
            Prepared((change(dav("getcontentlanguage"), "en, de-AT"),)),
            id="languages",
        ),
        pytest.param(
            change(dav("creationdate"), " 2001-09-09T03:46:40.5+02:00 "),
            Prepared((PropertyChange(CREATED, created_element(MTIME[0][1])),)),
            id="creation time",
        ),
        pytest.param(
            change(dav("creationdate"), None),
            Prepared((PropertyChange(CREATED, None),)),
            id="creation time, removed",
        ),
        pytest.param(change(dav("getlastmodified"), DATE), Prepared((), MTIME), id="WinSCP"),
        pytest.param(change(dav("lastmodified"), "1000000000"), Prepared((), MTIME), id="rclone"),
        pytest.param(change(EXECUTABLE, "T"), Prepared((), (("executable", 1),)), id="executable"),
        pytest.param(change(EXECUTABLE, "F"), Prepared((), (("executable", 0),)), id="not so"),
        pytest.param(change(WIN32, DATE), Prepared((change(WIN32, DATE),), MTIME), id="Windows"),
        pytest.param(change(WIN32, None), Prepared((change(WIN32, None),)), id="Windows, removed"),
    ],
)
def test_value_is_prepared(one: PropertyChange, expected: Prepared) -> None:
    assert expected == LIVE.prepare(resource(), one)


@pytest.mark.rfc("PP-07", "PC-07", "QU-01", "LP-04", "LP-06", "LP-08", "LP-09", "LP-10", "D-8")
@pytest.mark.parametrize(
    ("one", "expected"),
    [
        *(
            pytest.param(change(dav(local), text), Forbidden, id=f"{local} {text}")
            for local in (
                *("getetag", "getcontentlength", "getcontenttype", "lockdiscovery"),
                *("resourcetype", "supportedlock", "quota-used-bytes", "quota-available-bytes"),
            )
            for text in ("x", None)
        ),
        pytest.param(change(CREATED, "1"), Forbidden, id="private"),
        pytest.param(change(dav("getlastmodified"), None), Forbidden, id="getlastmodified gone"),
        pytest.param(change(dav("lastmodified"), None), Forbidden, id="lastmodified gone"),
        pytest.param(change(dav("getlastmodified"), "x"), Conflict, id="no date"),
        pytest.param(change(dav("lastmodified"), "-1"), Conflict, id="no number"),
        pytest.param(change(dav("creationdate"), "x"), Conflict, id="no creation date"),
        pytest.param(change(dav("creationdate"), "2001-01-01"), Conflict, id="no offset"),
        pytest.param(change(dav("displayname"), "<a/>"), Conflict, id="elements in a name"),
        pytest.param(change(dav("getcontentlanguage"), "en&#13;\nX: y"), Conflict, id="header"),
        pytest.param(change(dav("getcontentlanguage"), "<a/>"), Conflict, id="no language"),
        pytest.param(change(EXECUTABLE, "x"), Conflict, id="neither T nor F"),
        pytest.param(change(EXECUTABLE, None), Conflict, id="executable gone"),
    ],
)
def test_value_is_refused(one: PropertyChange, expected: type[DavError]) -> None:
    with pytest.raises(expected) as caught:
        LIVE.prepare(resource(), one)

    condition = b"cannot-modify-protected-property" if expected is Forbidden else None
    assert condition == caught.value.condition


def test_collection_is_not_executable() -> None:
    with pytest.raises(Conflict):
        LIVE.prepare(resource(FOLDER), change(EXECUTABLE, "T"))


@pytest.mark.rfc("LP-03")
def test_content_language_is_a_header_value() -> None:
    name = dav("getcontentlanguage")

    assert content_language({}) is None
    assert content_language({name: b"<a> en, de\n</a>"}) == b"en, de"


def test_live_properties_are_found_by_name() -> None:
    assert LIVE.get(DEAD) is None
    assert getattr(LIVE.get(EXECUTABLE), "name", None) == EXECUTABLE


def test_a_plan_is_kept_unless_its_names_are_long() -> None:
    ask_for = b'<D:propfind xmlns:D="DAV:" xmlns:b="%b"><D:prop>%b</D:prop></D:propfind>'
    names = b"".join(b"<b:n%d/>" % number for number in range(300))
    short, long = (ask_for % (namespace, names) for namespace in (b"u", b"u" * 600))

    assert LIVE.compile(short) is not LIVE.compile(short, minimal=True)
    assert LIVE.compile(long) is not LIVE.compile(long)
    assert LIVE.compile(ask("{u}a")) is LIVE.compile(ask("{u}a"))
