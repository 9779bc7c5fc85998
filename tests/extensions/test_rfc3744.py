"""Privileges as properties (RFC 3744 section 5), read-only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import AppDav
from tests.support.shares import make_shares

MakeDav = Callable[..., AppDav]
D = "{DAV:}"
MINE, ALL = f"{D}current-user-privilege-set", f"{D}supported-privilege-set"
PARTS = {"write-properties", "write-content", "bind", "unbind"}
READER = {"read", "read-current-user-privilege-set"}


def granted(element: Any) -> set[str]:
    """Returns the names in a set of `privilege` elements."""
    assert all(child.tag == f"{D}privilege" and len(child) == 1 for child in element)
    return {child[0].tag.removeprefix(D) for child in element}


@pytest.fixture
def tree(dav: AppDav) -> AppDav:
    dav.mkcol("/c/")
    dav.put("/c/f", b"x")
    return dav


@pytest.mark.rfc("AC-02", "AC-04")
def test_who_may_write_has_each_privilege_of_it(tree: AppDav) -> None:
    found = tree.propfind("/", props=[MINE], depth="infinity")

    for href in ("/", "/c/", "/c/f"):
        assert granted(found[href][200][MINE]) == {*READER, *PARTS, "write"}


@pytest.mark.rfc("AC-02", "AC-04")
@pytest.mark.parametrize("settings", [{"read_only": True}, {"anonymous": "read"}], ids=str)
def test_who_may_only_read_has_none_of_them(make_dav: MakeDav, settings: dict[str, Any]) -> None:
    dav = make_dav("filesystem", **settings)
    assert dav.root is not None
    (dav.root / "f").write_bytes(b"x")

    found = dav.propfind("/", props=[MINE], depth="1")

    for href in ("/", "/f"):
        assert granted(found[href][200][MINE]) == READER


@pytest.mark.rfc("AC-02")
def test_each_share_has_its_own(make_dav: MakeDav, tmp_path: Path) -> None:
    dav = make_shares(make_dav, tmp_path, "open", shares={"fixed": {"read_only": True}})

    found = dav.propfind("/", props=[MINE], depth="1")

    writes = {href for href in found if "bind" in granted(found[href][200][MINE])}
    assert writes == {"/open/"}


@pytest.mark.rfc("AC-03", "AC-04")
def test_the_tree_of_privileges_has_descriptions(tree: AppDav) -> None:
    tops = list(tree.prop("/c/f", ALL))

    described: dict[str, set[str]] = {}
    for node in tree.prop("/c/f", ALL).iter(f"{D}supported-privilege"):
        name = node.find(f"{D}privilege")[0].tag.removeprefix(D)
        description = node.find(f"{D}description")
        assert description.text
        assert description.get("{http://www.w3.org/XML/1998/namespace}lang") == "en"
        inner = node.findall(f"{D}supported-privilege/{D}privilege")
        described[name] = {one[0].tag.removeprefix(D) for one in inner}
    assert len(tops) == 1
    assert described["all"] == {"read", "write"}
    assert described["write"] == PARTS
    assert not described["read"] & PARTS


@pytest.mark.rfc("AC-02")
def test_what_is_granted_is_all_that_is_supported_and_not_abstract(tree: AppDav) -> None:
    supported = tree.prop("/c/f", ALL).iter(f"{D}supported-privilege")

    concrete = {
        node.find(f"{D}privilege")[0].tag.removeprefix(D)
        for node in supported
        if node.find(f"{D}abstract") is None
    }
    assert granted(tree.prop("/c/f", MINE)) == concrete


@pytest.mark.rfc("AC-07")
def test_none_of_it_is_in_allprop(tree: AppDav) -> None:
    everything = tree.propfind("/c/f")["/c/f"][200]

    assert not {MINE, ALL} & set(everything)


@pytest.mark.parametrize("name", [MINE, ALL])
def test_they_are_protected(tree: AppDav, name: str) -> None:
    reply = tree.proppatch("/c/f", set={name: "all"})

    assert list(reply.multistatus["/c/f"]) == [403]


@pytest.mark.rfc("AC-01")
def test_access_control_is_not_advertised(tree: AppDav) -> None:
    reply = tree.options("/c/f")

    assert "access-control" not in reply.headers.tokens("dav")
    assert "ACL" not in reply.headers.tokens("allow")


@pytest.mark.rfc("AC-05", "PC-13")
@pytest.mark.parametrize(
    ("method", "target", "headers", "where"),
    [
        ("PUT", "/fixed/new", {}, "/fixed/new"),
        ("DELETE", "/fixed/", {}, "/fixed/"),
        ("COPY", "/open/", {"Destination": "/fixed/%26"}, "/fixed/%26"),
        ("PROPPATCH", "/", {}, "/"),
    ],
)
def test_a_missing_right_is_named(
    make_dav: MakeDav,
    tmp_path: Path,
    method: str,
    target: str,
    headers: dict[str, str],
    where: str,
) -> None:
    dav = make_shares(make_dav, tmp_path, "open", shares={"fixed": {"read_only": True}})

    reply = dav.request(method, target, headers)

    assert reply.status == 403
    assert reply.conditions == [f"{D}need-privileges"]
    (resource,) = reply.xml[0]
    assert [child.tag for child in resource] == [f"{D}href", f"{D}privilege"]
    assert resource[0].text == where
    assert resource[1][0].tag == f"{D}write"
