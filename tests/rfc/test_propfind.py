"""PROPFIND: what is asked and how the answer is laid out (RFC 4918 sections 9.1 and 14.20)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import AppDav
from tests.support.dav import XML
from tests.support.reply import Reply

MakeDav = Callable[..., AppDav]
D = "{DAV:}"
TOPIC = "{http://example.org/ns}topic"
LIVE = {
    *("creationdate", "displayname", "getcontenttype", "getlastmodified"),
    *("lockdiscovery", "resourcetype", "supportedlock"),
}
ONLY_FILES = {"getcontentlength", "getetag"}


@pytest.fixture
def tree(make_dav: MakeDav) -> AppDav:
    """`/c/` with `/c/f`, both with a dead property."""
    dav = make_dav("filesystem")
    assert dav.mkcol("/c/").status == 201
    assert dav.put("/c/f", b"content").status == 201
    for target in ("/c/", "/c/f"):
        assert dav.proppatch(target, set={TOPIC: "x"}).status == 207
    return dav


def ask(inner: str) -> bytes:
    return (
        f'<D:propfind xmlns:D="DAV:" xmlns:e="http://example.org/ns">{inner}</D:propfind>'.encode()
    )


def send(dav: AppDav, target: str, body: bytes = b"", depth: str | None = "0") -> Reply:
    headers = {"Content-Type": XML} if body else {}
    return dav.request("PROPFIND", target, headers | ({"Depth": depth} if depth else {}), body)


# -- bodies ------------------------------------------------------------------------------------


@pytest.mark.rfc("PF-03", "PF-07", "LP-04", "QU-02")
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(b"", None, id="no body"),
        pytest.param(b"", "text/html", id="no body of any type"),
        pytest.param(ask("<D:allprop/>"), XML, id="allprop"),
    ],
)
def test_no_body_is_allprop_whatever_its_type(tree: AppDav, body: bytes, kind: str | None) -> None:
    headers = {"Depth": "1", "Content-Length": str(len(body))}

    reply = tree.request(
        "PROPFIND", "/c/", headers | ({"Content-Type": kind} if kind else {}), body
    )

    answer = reply.multistatus
    live = {f"{D}{name}" for name in LIVE}
    assert list(answer["/c/"]) == [200]
    assert set(answer.ok("/c/")) == live | {TOPIC}
    assert set(answer.ok("/c/f")) == live | {f"{D}{name}" for name in ONLY_FILES} | {TOPIC}


@pytest.mark.rfc("PF-07", "PF-09")
def test_include_adds_names_and_its_missing_ones_are_404(tree: AppDav) -> None:
    include = "<e:topic/><D:getetag/><D:quota-used-bytes/><e:none/><e:none/>"
    body = ask(f"<D:include>{include}</D:include><D:allprop/>")

    answer = send(tree, "/c/", body, "1").multistatus

    assert set(answer["/c/"][404]) == {f"{D}getetag", "{http://example.org/ns}none"}
    assert answer.text("/c/", TOPIC) == "x"
    assert f"{D}quota-used-bytes" in answer.ok("/c/")
    assert set(answer["/c/f"][404]) == {f"{D}quota-used-bytes", "{http://example.org/ns}none"}


@pytest.mark.rfc("PF-06", "PF-09")
def test_each_name_is_answered_once_found_or_404(tree: AppDav) -> None:
    names = "<e:none/><D:getetag/><e:topic/><D:getetag/><e:none/><D:lastmodified/>"

    reply = send(tree, "/c/f", ask(f"<D:prop>{names}</D:prop>"))

    groups = reply.multistatus["/c/f"]
    assert {status: sorted(found) for status, found in groups.items()} == {
        200: [f"{D}getetag", TOPIC],
        404: [f"{D}lastmodified", "{http://example.org/ns}none"],
    }
    assert all(len(found) == 0 and not found.text for found in groups[404].values())
    assert reply.body.index(b"200 OK") < reply.body.index(b"404 Not Found")


@pytest.mark.rfc("PF-06", "MS-04")
def test_a_resource_with_nothing_of_what_was_asked_has_one_404(tree: AppDav) -> None:
    reply = send(tree, "/c/", ask("<D:prop><e:none/><D:source/></D:prop>"), "1")

    assert [list(groups) for groups in reply.multistatus.values()] == [[404], [404]]


@pytest.mark.rfc("PF-08")
def test_propname_names_everything_and_no_value(tree: AppDav) -> None:
    tree.lock("/c/f")

    answer = send(tree, "/c/", ask("<D:propname/>"), "1").multistatus

    everything = send(tree, "/c/", b"", "1").multistatus
    for href in ("/c/", "/c/f"):
        assert list(answer[href]) == [200]
        assert set(everything.ok(href)) <= set(answer.ok(href))
        for element in answer.ok(href).values():
            assert (len(element), element.text) == (0, None)
    # What a name stands for is there when asked for.
    names = list(answer.ok("/c/"))
    assert list(tree.propfind("/c/", props=names)["/c/"]) == [200]


@pytest.mark.rfc("PF-14")
def test_an_empty_prop_is_an_empty_propstat(tree: AppDav) -> None:
    answer = send(tree, "/c/", ask("<D:prop/>"), "1").multistatus

    assert answer == {"/c/": {200: {}}, "/c/f": {200: {}}}


@pytest.mark.rfc("PF-13")
def test_values_in_prop_are_ignored(tree: AppDav) -> None:
    body = ask("<D:prop><e:topic lang='x'>other<D:getetag/></e:topic></D:prop>")

    answer = send(tree, "/c/f", body).multistatus

    assert set(answer.ok("/c/f")) == {TOPIC}
    assert answer.text("/c/f", TOPIC) == "x"


REFUSED = {
    "A.3 allprop and propname": ask("<D:allprop/><D:propname/>"),
    "allprop and prop": ask("<D:allprop/><D:prop><D:getetag/></D:prop>"),
    "A.4 unknown alone": ask("<e:expired-props/>"),
    "nothing": ask(""),
    "include alone": ask("<D:include><D:getetag/></D:include>"),
    "another root": b'<D:prop xmlns:D="DAV:"/>',
    "another namespace": b'<D:propfind xmlns:D="dav:"><D:allprop/></D:propfind>',
    "no namespace": b"<propfind><allprop/></propfind>",
    "no XML": b"hello",
}


@pytest.mark.rfc("PF-10", "PF-11", "PF-12", "XX-05")
@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("target", ["/c/", "/none"])
def test_a_body_that_asks_nothing_or_two_things_is_400(
    tree: AppDav, target: str, body: bytes
) -> None:
    reply = send(tree, target, body)

    assert reply.status == 400
    assert b"multistatus" not in reply.body


@pytest.mark.rfc("PF-11", "PF-12", "XX-01")
def test_what_is_unknown_beside_it_is_ignored(tree: AppDav) -> None:
    plain = send(tree, "/c/f", ask("<D:propname/>"))
    body = ask(
        "<e:new><D:prop><D:getetag/></D:prop></e:new><D:propname e:x='1'>"
        "<D:allprop/></D:propname><D:leave-out/>"
    )

    reply = send(tree, "/c/f", body.replace(b"<D:propfind", b"<D:propfind e:a='1' b='2'"))

    assert reply.status == 207
    assert reply.body == plain.body


# -- depth -------------------------------------------------------------------------------------


@pytest.mark.rfc("PF-18", "PF-01")
@pytest.mark.parametrize("depth", ["INFINITY", "Infinity", "infinity"])
def test_infinity_in_any_case(tree: AppDav, depth: str) -> None:
    assert sorted(tree.propfind("/", depth=depth).hrefs) == ["/", "/c/", "/c/f"]


@pytest.mark.rfc("PF-18")
@pytest.mark.parametrize(
    "depth", ["2", "-1", "01", "", "1,noroot", "0, 1", "infinite", "1 infinity"]
)
@pytest.mark.parametrize("target", ["/c/", "/c/f", "/none"])
def test_another_depth_is_400(tree: AppDav, target: str, depth: str) -> None:
    assert tree.request("PROPFIND", target, {"Depth": depth}).status == 400


@pytest.mark.rfc("PF-18")
def test_two_depths_are_400(tree: AppDav) -> None:
    assert tree.request("PROPFIND", "/c/", [("Depth", "0"), ("Depth", "1")]).status == 400


@pytest.mark.rfc("PF-02")
@pytest.mark.parametrize(
    ("depth", "expected"), [(None, ["/", "/c/"]), ("1", ["/", "/c/"]), ("0", ["/"])]
)
def test_where_infinity_is_refused_other_depths_are_not(
    make_dav: MakeDav, depth: str | None, expected: list[str]
) -> None:
    """Without a Depth, 1 is meant then: clients that forget the field never see a 403."""
    dav = make_dav("memory", propfind_infinity="refuse")
    dav.mkcol("/c/")
    dav.put("/c/f", b"")

    assert sorted(dav.propfind("/", depth=depth).hrefs) == expected


@pytest.mark.rfc("PF-01")
def test_a_file_has_no_depth(tree: AppDav) -> None:
    for depth in ("0", "1", "infinity", None):
        assert tree.propfind("/c/f", depth=depth).hrefs == ["/c/f"]


# -- layout: what clients rely on ---------------------------------------------------------------


def test_the_collection_itself_comes_first(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    for name in ("/m/", "/m/a/", "/m/z/"):
        dav.mkcol(name)
    for number in range(40):
        dav.put(f"/m/{number:02}")

    for depth in ("1", "infinity"):
        assert dav.propfind("/m/", depth=depth).hrefs[0] == "/m/"


@pytest.mark.spelling
def test_prefixes_are_d_alone_and_nothing_is_indented(tree: AppDav) -> None:
    """Windows and Finder look for `D:`; Finder reads the first piece of text only."""
    tree.lock("/c/f")

    body = send(tree, "/c/", depth="1").body

    assert body.count(b'xmlns:D="DAV:"') == 2  # the root, and the lock's owner as it was sent
    assert b'<D:multistatus xmlns:D="DAV:"><D:response>' in body
    assert b"xmlns=" not in body.replace(b'xmlns="http://example.org/ns"', b"")
    assert re.search(rb">\s+<", body.partition(b"\n")[2]) is None
    assert b"CDATA" not in body


def test_a_short_answer_has_its_length(tree: AppDav) -> None:
    reply = send(tree, "/c/", depth="1")

    assert reply.headers["content-type"] == 'application/xml; charset="utf-8"'
    assert reply.headers["content-length"] == str(len(reply.body))


def test_resourcetype_holds_collection_first(tree: AppDav) -> None:
    answer = tree.propfind("/", props=[f"{D}resourcetype"], depth="infinity")

    for href in ("/", "/c/"):
        assert answer.ok(href)[f"{D}resourcetype"][0].tag == f"{D}collection"
    assert len(answer.ok("/c/f")[f"{D}resourcetype"]) == 0


def test_allprop_has_hrefs_only_of_locks(tree: AppDav) -> None:
    """Finder takes any other href for a resource of the listing."""
    tree.lock("/c/f")

    root: Any = send(tree, "/c/", depth="1").xml

    parents = [href.getparent().tag for href in root.iter(f"{D}href")]
    assert sorted(set(parents)) == [f"{D}lockroot", f"{D}locktoken", f"{D}response"]


def test_allprop_of_a_member_is_short(make_dav: MakeDav) -> None:
    """The Windows redirector takes 1 MB for a listing: 1,100 members at least."""
    dav = make_dav("memory")
    dav.mkcol("/c/")
    for number in range(20):
        dav.put(f"/c/a file of some length, number {number}.txt".replace(" ", "%20"))

    assert len(send(dav, "/c/", depth="1").body) / 21 < 900


@pytest.mark.parametrize(
    "headers", [{"Brief": "t"}, {"Prefer": "return=minimal"}], ids=["Brief", "Prefer"]
)
def test_what_is_missing_is_left_out_when_the_client_says_so(
    tree: AppDav, headers: dict[str, str]
) -> None:
    body = ask("<D:prop><D:getetag/><e:none/></D:prop>")

    reply = tree.request("PROPFIND", "/c/f", {"Depth": "0", **headers}, body)

    assert list(reply.multistatus["/c/f"]) == [200]
    assert list(reply.multistatus.ok("/c/f")) == [f"{D}getetag"]
    applied = "return=minimal" if "Prefer" in headers else None
    assert reply.headers.get("preference-applied") == applied


def test_properties_that_clients_ask_for_and_nobody_has_are_404(tree: AppDav) -> None:
    names = [
        "{http://owncloud.org/ns}checksums",
        "{http://www.apple.com/webdav_fs/props/}appledoubleheader",
        f"{D}source",
        f"{D}getmodifiedby",
        f"{D}ishidden",
        "{test}relative",
        "without",
    ]

    answer = tree.propfind("/c/f", props=names)

    assert sorted(answer["/c/f"][404]) == sorted(names)
    assert list(answer["/c/f"]) == [404]


@pytest.mark.rfc("PF-12")
@pytest.mark.parametrize(
    "kind",
    [
        None,
        "application/xml",
        "text/xml",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "application/vnd.example+xml; charset=utf-8",
    ],
)
@pytest.mark.parametrize("declaration", [b"", b'<?xml version="1.0" encoding="utf-8"?>'])
def test_a_body_is_xml_whatever_a_client_calls_it(
    tree: AppDav, kind: str | None, declaration: bytes
) -> None:
    body = declaration + b'<propfind xmlns="DAV:"><prop><getetag/></prop></propfind>'
    headers = {"Depth": "0"} | ({"Content-Type": kind} if kind else {})

    reply = tree.request("PROPFIND", "/c/f", headers, body)

    assert list(reply.multistatus.ok("/c/f")) == [f"{D}getetag"]


# -- nothing changes ---------------------------------------------------------------------------


@pytest.mark.rfc("PF-17")
def test_propfind_changes_nothing(tree: AppDav) -> None:
    assert tree.root is not None
    granted = tree.lock("/c/f", timeout="Second-600")
    paths = [tree.root, tree.root / "c", tree.root / "c" / "f"]
    long_ago = 10**18
    for path in reversed(paths):
        os.utime(path, ns=(long_ago, long_ago))
    before = [path.stat() for path in paths]
    tree.clock.pass_s(500)

    for body in (b"", ask("<D:propname/>"), ask("<D:prop><D:lockdiscovery/></D:prop>")):
        headers = {"Depth": "infinity", "If": f"<http://127.0.0.1:8080/c/f> {granted.untagged}"}
        assert tree.request("PROPFIND", "/", headers, body).status == 207

    (active,) = tree.locks("/c/f")
    assert active.findtext(f"{D}timeout") == "Second-100"
    after = [path.stat() for path in paths]
    assert [(s.st_mtime_ns, s.st_ctime_ns) for s in before] == [
        (s.st_mtime_ns, s.st_ctime_ns) for s in after
    ]
    assert after[2].st_atime_ns == long_ago
    tree.clock.pass_s(101)
    assert tree.locks("/c/f") == []
