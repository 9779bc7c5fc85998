"""PROPPATCH: instructions in order, all or none (RFC 4918 sections 9.2, 14.19, 14.23, 14.26)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from davserver.errors import NoSpace, ReadOnlyStorage, StorageError
from davserver.protocol.path import DavPath
from davserver.storage.memory import MemoryStorage
from tests.conftest import AppDav
from tests.support.dav import XML
from tests.support.reply import Reply

MakeDav = Callable[..., AppDav]
D = "{DAV:}"
E = "{http://example.org/ns}"
A, B = f"{E}a", f"{E}b"
DATE = "Sun, 09 Sep 2001 01:46:40 GMT"


@pytest.fixture
def file(dav: AppDav) -> AppDav:
    """`/f` with the property A."""
    assert dav.put("/f", b"content").status == 201
    assert dav.proppatch("/f", set={A: "old"}).status == 207
    return dav


def update(inner: str) -> str:
    return (
        '<D:propertyupdate xmlns:D="DAV:" xmlns:e="http://example.org/ns">'
        f"{inner}</D:propertyupdate>"
    )


def put(*elements: str) -> str:
    return f"<D:set><D:prop>{''.join(elements)}</D:prop></D:set>"


def drop(*elements: str) -> str:
    return f"<D:remove><D:prop>{''.join(elements)}</D:prop></D:remove>"


def value(dav: AppDav, name: str, target: str = "/f") -> str | None:
    element = dav.prop(target, name)
    return None if element is None else element.text or ""


def outcome(reply: Reply, href: str = "/f") -> dict[int, list[str]]:
    return {status: sorted(names) for status, names in reply.multistatus[href].items()}


# -- the body ----------------------------------------------------------------------------------

REFUSED = {
    "no body": "",
    "another root": '<D:propfind xmlns:D="DAV:"/>',
    "another namespace": f"<propertyupdate xmlns='dav:'>{put('<a/>')}</propertyupdate>",
    "nothing": update(""),
    "neither set nor remove": update("<e:set/>"),
    "set without prop": update("<D:set/>"),
    "the second without prop": update(put("<e:a>new</e:a>") + "<D:remove/>"),
    "not well-formed": update(put("<e:a>new</e:a>")) + "x",
    "cut": update(put("<e:a>new</e:a>"))[:-9],
    "undeclared prefix": update(put("<e:a>new</e:a>", "<f:a/>")),
    "empty namespace for a prefix": update(put("<e:a>new</e:a>", "<f:a xmlns:f=''/>")),
}


@pytest.mark.rfc("PP-01", "D-8")
@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_a_body_that_says_nothing_is_400(file: AppDav, body: str) -> None:
    reply = file.proppatch("/f", body)

    assert reply.status == 400
    assert value(file, A) == "old"


@pytest.mark.rfc("PP-01")
def test_an_empty_prop_changes_nothing_and_is_207(file: AppDav) -> None:
    assert outcome(file.proppatch("/f", update(put()))) == {200: []}
    assert value(file, A) == "old"


# -- order -------------------------------------------------------------------------------------

SET, UNSET = put("<e:a>new</e:a>"), drop("<e:a/>")
ORDERS = [
    pytest.param(SET + UNSET, None, id="set, remove"),
    pytest.param(UNSET + SET, "new", id="remove, set"),
    pytest.param(SET + UNSET + put("<e:a>3</e:a>"), "3", id="set, remove, set"),
    pytest.param(UNSET + SET + UNSET, None, id="remove, set, remove"),
    pytest.param(SET + put("<e:a>2</e:a>"), "2", id="set twice"),
    pytest.param(put("<e:a>1</e:a>", "<e:a>2</e:a>"), "2", id="twice in one set"),
    pytest.param(UNSET + UNSET, None, id="remove twice"),
    pytest.param(f"<e:x>{UNSET}</e:x>{SET}", "new", id="what is unknown does nothing"),
]


@pytest.mark.rfc("PP-02", "PP-15", "XX-02", "PF-09")
@pytest.mark.parametrize(("inner", "expected"), ORDERS)
@pytest.mark.parametrize("name", [A, f"{D}displayname"], ids=["dead", "live"])
def test_instructions_are_done_in_document_order(
    file: AppDav, name: str, inner: str, expected: str | None
) -> None:
    if name != A:
        inner = inner.replace("e:a", "D:displayname")
        expected = expected or "f"  # what it is while nothing is set

    reply = file.proppatch("/f", update(inner))

    assert outcome(reply) == {200: [name]}
    assert value(file, name) == expected


@pytest.mark.rfc("PP-15")
def test_set_replaces_all_of_a_value(file: AppDav) -> None:
    file.proppatch("/f", update(put("<e:a xml:lang='de' e:x='1'>text<e:b/></e:a>")))
    file.proppatch("/f", update(put("<e:a/>")))

    element = file.prop("/f", A)

    assert (len(element), element.text, dict(element.attrib)) == (0, None, {})


# -- success -----------------------------------------------------------------------------------


@pytest.mark.rfc("PP-05")
def test_success_lists_names_without_values(file: AppDav) -> None:
    reply = file.proppatch(
        "/f", update(put("<e:a x='1'>new<e:c/></e:a>", "<b xmlns=''>v</b>") + drop("<e:gone/>"))
    )

    assert outcome(reply) == {200: sorted([A, "b", f"{E}gone"])}
    for element in reply.multistatus.ok("/f").values():
        assert (len(element), element.text, dict(element.attrib)) == (0, None, {})
    assert reply.multistatus.hrefs == ["/f"]


@pytest.mark.rfc("PP-08")
def test_removing_what_is_not_there_succeeds(file: AppDav) -> None:
    names = [f"{E}never", f"{D}getcontentlanguage", f"{D}unknown", f"{D}creationdate"]

    assert outcome(file.proppatch("/f", remove=names)) == {200: sorted(names)}


@pytest.mark.rfc("PP-09")
def test_content_in_remove_is_ignored(file: AppDav) -> None:
    reply = file.proppatch("/f", update(drop("<e:a e:x='1'>other<e:b>kept</e:b></e:a>")))

    assert outcome(reply) == {200: [A]}
    assert value(file, A) is None
    assert value(file, B) is None


NAMES = [
    "plain",
    "{http://example.org/ns}a",
    "{urn:x:y}a.b-c_d1",
    "{relative}a",
    "{DAV:}not-defined",
    "{http://example.org/?a=1&b='x'}a",
    "{http://example.org/ns}\u00e4\u4e2d",
    "{http://www.w3.org/XML/1998/namespace}custom",
    "{http://example.org/ns}" + "n" * 1000,
]


@pytest.mark.rfc("PP-10", "PP-05", "PF-20")
@pytest.mark.parametrize("target", ["/", "/c/", "/f"])
def test_any_name_can_be_set_found_and_removed(file: AppDav, target: str) -> None:
    file.mkcol("/c/")
    body = update(
        "".join(
            put(f"<xml:custom>{n}</xml:custom>") for n, name in enumerate(NAMES) if "XML" in name
        )
    )
    assert outcome(file.proppatch(target, body), target) == {200: [n for n in NAMES if "XML" in n]}
    others = {name: name for name in NAMES if "XML" not in name}

    reply = file.proppatch(target, set=others)

    assert outcome(reply, target) == {200: sorted(others)}
    everything = file.propfind(target)
    assert {name: everything.text(target, name) for name in others} == others
    by_name = file.propfind(target, props=list(others))
    assert {name: by_name.text(target, name) for name in others} == others
    names = file.propfind(target, '<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>')
    assert set(NAMES) <= set(names.ok(target))
    file.proppatch(target, remove=list(others))
    assert sorted(file.propfind(target, props=list(others))[target][404]) == sorted(others)


# -- failure -----------------------------------------------------------------------------------

PROTECTED = [
    f"{D}{name}"
    for name in (
        *("getetag", "getcontentlength", "getcontenttype", "lockdiscovery", "resourcetype"),
        *("supportedlock", "quota-available-bytes", "quota-used-bytes"),
    )
]


@pytest.mark.rfc("PP-07", "PC-07", "PP-06", "MS-08", "LP-04", "LP-06", "LP-08", "LP-09", "LP-10")
@pytest.mark.parametrize("removes", [False, True], ids=["set", "remove"])
@pytest.mark.parametrize("target", ["/f", "/c/"])
def test_protected_properties_are_403_and_the_rest_424(
    file: AppDav, target: str, removes: bool
) -> None:
    file.mkcol("/c/")
    before = file.propfind(target, props=PROTECTED)[target]

    if removes:
        reply = file.proppatch(target, set={B: "new"}, remove=PROTECTED)
    else:
        reply = file.proppatch(target, set={B: "new"} | dict.fromkeys(PROTECTED, "x"))

    assert outcome(reply, target) == {403: sorted(PROTECTED), 424: [B]}
    conditions = reply.multistatus.by_property[target]
    assert conditions == {name: [f"{D}cannot-modify-protected-property"] for name in PROTECTED}
    assert value(file, B, target) is None
    after = file.propfind(target, props=PROTECTED)[target]
    assert before.keys() == after.keys()
    assert before[200].keys() == after[200].keys()


@pytest.mark.rfc("PP-03", "PP-06")
@pytest.mark.parametrize("position", [0, 1, 2])
def test_one_failure_anywhere_stores_nothing(file: AppDav, position: int) -> None:
    instructions = [put("<e:a>new</e:a>"), put("<D:displayname>new</D:displayname>")]
    instructions.insert(position, put("<D:getetag>x</D:getetag>"))

    reply = file.proppatch("/f", update("".join(instructions)))

    assert outcome(reply) == {403: [f"{D}getetag"], 424: sorted([A, f"{D}displayname"])}
    assert (value(file, A), value(file, f"{D}displayname")) == ("old", "f")


WRONG = {
    "creationdate": ["yesterday", "2001-09-09", "2001-09-09T01:46:40"],
    "getlastmodified": ["yesterday", "1000000000", "2001-09-09T01:46:40Z"],
    "lastmodified": ["yesterday", "-1", ""],
    "getcontentlanguage": ["en\r\nX-Injected: 1", "what is this?", ""],
}


@pytest.mark.rfc("D-8", "PP-06")
@pytest.mark.parametrize(("local", "wrong"), [(n, v) for n, vs in WRONG.items() for v in vs])
def test_a_value_of_the_wrong_kind_is_409_for_it(file: AppDav, local: str, wrong: str) -> None:
    before = (file.head("/f").headers["last-modified"], file.head("/f").headers["etag"])

    reply = file.proppatch("/f", set={A: "new", f"{D}{local}": wrong})

    assert outcome(reply) == {409: [f"{D}{local}"], 424: [A]}
    assert value(file, A) == "old"
    assert before == (file.head("/f").headers["last-modified"], file.head("/f").headers["etag"])


@pytest.mark.rfc("PP-06", "MS-04", "MS-05")
def test_failures_of_several_kinds_have_a_propstat_each(file: AppDav) -> None:
    names = {f"{D}getetag": "x", f"{D}creationdate": "x", f"{D}resourcetype": "x", A: "new"}

    reply = file.proppatch("/f", set=names)

    assert outcome(reply) == {
        403: [f"{D}getetag", f"{D}resourcetype"],
        409: [f"{D}creationdate"],
        424: [A],
    }
    assert b"HTTP/1.1 424 Failed Dependency" in reply.body


class Stubborn(MemoryStorage):
    """A storage whose times cannot be set."""

    error: StorageError = ReadOnlyStorage("no")

    def set_attributes(self, path: DavPath, **attributes: Any) -> Any:
        raise self.error


@pytest.mark.rfc("PP-03", "PP-06", "PP-11")
@pytest.mark.parametrize(
    ("error", "status"), [(ReadOnlyStorage("no"), 403), (NoSpace("full"), 507)], ids=["403", "507"]
)
def test_a_storage_that_refuses_a_time_undoes_the_rest(
    make_dav: MakeDav, error: StorageError, status: int
) -> None:
    """The dead properties and the display name are in the state, the time is on the disk."""
    storage = Stubborn()
    storage.error = error
    dav = make_dav("memory", overrides={"storage": storage})
    dav.put("/f", b"x")
    dav.proppatch("/f", set={A: "old"})
    names = {A: "new", B: "new", f"{D}displayname": "new", f"{D}getlastmodified": DATE}

    reply = dav.proppatch("/f", set=names)

    assert outcome(reply) == {
        status: [f"{D}getlastmodified"],
        424: sorted([A, B, f"{D}displayname"]),
    }
    assert (value(dav, A), value(dav, B), value(dav, f"{D}displayname")) == ("old", None, "f")
    # Nothing is left to be done again.
    assert outcome(dav.proppatch("/f", set={B: "later"})) == {200: [B]}
    assert value(dav, A) == "old"


@pytest.mark.rfc("PP-11")
def test_too_many_properties_are_507_and_removing_makes_room(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", properties_per_resource=3)
    dav.put("/f", b"x")
    names = [f"{E}p{number}" for number in range(4)]
    dav.proppatch("/f", set=dict.fromkeys(names[:3], "x"))

    full = dav.proppatch("/f", set={names[3]: "x"})
    swapped = dav.proppatch("/f", update(drop("<e:p0/>") + put("<e:p3>x</e:p3>")))

    assert outcome(full) == {507: [names[3]]}
    assert outcome(swapped) == {200: [names[0], names[3]]}
    assert sorted(dav.propfind("/f", props=names)["/f"][200]) == names[1:]


@pytest.mark.rfc("PP-06", "PP-11")
def test_of_several_properties_the_one_that_is_too_much_is_named(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", properties_per_resource=3)
    dav.put("/f", b"x")
    names = [f"{E}p{number}" for number in range(5)]
    dav.proppatch("/f", set=dict.fromkeys(names[:3], "x"))

    body = update(drop("<e:p0/>") + put("<e:p3>x</e:p3><e:p4>x</e:p4>"))
    answer = dav.proppatch("/f", body)

    assert outcome(answer) == {424: [names[0], names[3]], 507: [names[4]]}
    assert sorted(dav.propfind("/f", props=names)["/f"][200]) == names[:3]


def test_many_properties_are_set_and_changed_at_once(dav: AppDav) -> None:
    dav.put("/f", b"x")
    names = [f"{E}p{number:02}" for number in range(30)]

    dav.proppatch("/f", set={name: name[-3:] for name in names})
    dav.proppatch("/f", set=dict.fromkeys(names[5:25], "new"))

    values = [value(dav, name, "/f") for name in names]
    assert values == [name[-3:] if not 5 <= i < 25 else "new" for i, name in enumerate(names)]


# -- around it ---------------------------------------------------------------------------------


@pytest.mark.rfc("PP-13")
@pytest.mark.parametrize("target", ["/none", "/none/", "/f/none", "/.davserver.x"])
def test_an_unmapped_url_is_404_and_gets_no_properties(file: AppDav, target: str) -> None:
    reply = file.proppatch(target, set={A: "new"})

    assert reply.status == 404
    assert file.put("/none", b"").status == 201
    assert value(file, A, "/none") is None


@pytest.mark.parametrize(
    "headers",
    [{"If-Match": '"other"'}, {"If": '(["other"])'}, {"If-None-Match": "*"}],
    ids=["If-Match", "If", "If-None-Match"],
)
def test_a_false_condition_is_412_and_nothing_is_set(file: AppDav, headers: dict[str, str]) -> None:
    assert file.proppatch("/f", set={A: "new"}, headers=headers).status == 412
    assert value(file, A) == "old"


def test_a_collection_without_its_slash_is_named_with_it(file: AppDav) -> None:
    file.mkcol("/c/")

    reply = file.proppatch("/c", set={A: "new"})

    assert reply.multistatus.hrefs == ["/c/"]
    assert reply.headers["content-location"] == "/c/"
    assert value(file, A, "/c/") == "new"


@pytest.mark.rfc("PP-01")
def test_a_chunked_body_is_read_whole(file: AppDav) -> None:
    text = update(put("<e:a>new</e:a>", f"<e:b>{'x' * 5000}</e:b>")).encode()
    pieces = [text[start : start + 7] for start in range(0, len(text), 7)]

    reply = file.request("PROPPATCH", "/f", {"Content-Type": XML}, pieces)

    assert outcome(reply) == {200: [A, B]}
    assert value(file, B) == "x" * 5000
