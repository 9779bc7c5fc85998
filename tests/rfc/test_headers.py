"""Depth, Destination, Overwrite (RFC 4918 section 10), status codes and condition elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import AppDav
from tests.support.dav import XML

D = "{DAV:}"


@pytest.fixture
def tree(dav: AppDav) -> AppDav:
    """`/c/` with `/c/f` and `/c/d/`; and `/f`."""
    for name in ("/c/", "/c/d/"):
        assert dav.mkcol(name).status == 201
    for name in ("/c/f", "/f"):
        assert dav.put(name, b"old").status == 201
    return dav


# -- Depth -----------------------------------------------------------------------------------


@pytest.mark.rfc("DE-01", "PF-18")
@pytest.mark.parametrize("depth", ["2", "-1", "01", "", "infinite", "1,noroot", "0, 1", "\x61\xff"])
@pytest.mark.parametrize(
    ("method", "target"),
    [("PROPFIND", "/c/"), ("PROPFIND", "/f"), ("COPY", "/c/"), ("MOVE", "/f"), ("DELETE", "/f")],
)
def test_other_depths_are_400(tree: AppDav, method: str, target: str, depth: str) -> None:
    headers = {"Depth": depth, "Destination": "/copy"}

    assert tree.request(method, target, headers).status == 400
    assert tree.members("/") == ["/c/", "/f"]


@pytest.mark.rfc("DE-01")
def test_two_depths_are_400(tree: AppDav) -> None:
    assert tree.request("PROPFIND", "/c/", [("Depth", "0"), ("Depth", "1")]).status == 400


@pytest.mark.rfc("DE-01", "PF-18")
@pytest.mark.parametrize("depth", ["infinity", "Infinity", "INFINITY"])
def test_case_of_infinity(tree: AppDav, depth: str) -> None:
    hrefs = tree.propfind("/c/", depth=depth).hrefs

    assert sorted(hrefs) == ["/c/", "/c/d/", "/c/f"]


@pytest.mark.rfc("DE-01", "D-6")
@pytest.mark.parametrize("depth", ["0", "1", "infinity"])
@pytest.mark.parametrize("method", ["DELETE", "MOVE", "COPY", "PROPFIND"])
def test_depth_of_a_file_does_not_matter(tree: AppDav, method: str, depth: str) -> None:
    reply = tree.request(method, "/f", {"Depth": depth, "Destination": "/new"})

    assert reply.status == {"DELETE": 204, "PROPFIND": 207}.get(method, 201)


@pytest.mark.rfc("DE-02", "HC-11")
def test_conditions_are_about_the_request_uri_alone(tree: AppDav) -> None:
    """A member, or the Destination, may have whatever entity-tag."""
    tag = tree.head("/f").headers["etag"]

    assert tree.copy("/f", "/c/f", headers={"If-Match": tag}).status == 204
    assert tree.copy("/f", "/c/f", headers={"If-None-Match": tag}).status == 412
    assert tree.copy("/f", "/none", headers={"If-None-Match": '"x"'}).status == 201
    assert tree.move("/f", "/c/f", headers={"If-Match": '"x"'}).status == 412
    assert tree.get("/f").body == b"old"


# -- Destination -----------------------------------------------------------------------------

HERE = "127.0.0.1:8080"
DESTINATIONS = {
    "absolute path": ("/new", 201),
    "path and query": ("/new?x=/y", 201),
    "URL": (f"http://{HERE}/new", 201),
    "https": (f"https://{HERE}/new", 201),
    "webdav": (f"webdav://{HERE}/new", 201),
    "userinfo": (f"http://me:secret@{HERE}/new", 201),
    "upper case": (f"HTTP://{HERE}/new", 201),
    "encoded": ("/%6eew", 201),
    "trailing slash": ("/new/", 201),
    "runs of slashes inside": ("/c//../new", 400),
    "relative": ("new", 400),
    "empty": ("", 400),
    "two slashes": (f"//{HERE}/new", 400),
    "fragment": ("/new#x", 400),
    "no host": ("http:///new", 400),
    "dot segment": ("/c/../new", 400),
    "encoded dot segment": ("/c/%2e%2e/new", 400),
    "single dot": ("/./new", 400),
    "encoded slash": ("/c%2fnew", 400),
    "NUL": ("/new%00", 400),
    "bad escape": ("/new%zz", 400),
    "half escape": ("/new%4", 400),
    "decoded once": ("/%252e%252e", 201),
    "control character": ("/new%0a", 400),
    "not UTF-8": ("/new%ff", 400),
    "too long": ("/" + "x" * 9000, 400),
    "foreign host": ("http://other.example/new", 502),
    "foreign port": ("http://127.0.0.1:8081/new", 502),
    "foreign host of the same beginning": (f"http://{HERE}.example/new", 502),
    "foreign host in userinfo's clothes": (f"http://{HERE}@other.example/new", 502),
    "reserved name": ("/.davserver/new", 404),
    "hidden name": ("/.davserver.a.b", 404),
}


@pytest.mark.rfc("DN-01", "DN-02", "DN-03", "DN-04", "ST-05", "G-20")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize(("destination", "status"), DESTINATIONS.values(), ids=DESTINATIONS.keys())
def test_destination(tree: AppDav, method: str, destination: str, status: int) -> None:
    reply = tree.request(method, "/f", {"Destination": destination})

    assert reply.status == status
    if status == 201:
        name = "/%252e%252e" if "%252e" in destination else "/new"
        gone = [] if method == "MOVE" else ["/f"]
        assert tree.members("/") == sorted(["/c/", *gone, name])
        assert tree.get(name).body == b"old"
    else:
        assert tree.members("/") == ["/c/", "/f"]
        assert b"secret" not in reply.body


@pytest.mark.rfc("DN-01")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_no_destination_is_400(tree: AppDav, method: str) -> None:
    assert tree.request(method, "/f").status == 400
    assert tree.request(method, "/f", [("Destination", "/a"), ("Destination", "/b")]).status == 400
    assert tree.members("/") == ["/c/", "/f"]


@pytest.mark.rfc("DN-02")
def test_foreign_destination_names_the_setting(tree: AppDav) -> None:
    reply = tree.copy("/f", "http://user:secret@other.example/new")

    assert reply.status == 502
    assert b"public_url" in reply.body
    assert b"other.example" in reply.body
    assert b"secret" not in reply.body


# What the client's request looks like at us, and a Destination that means us.
OURS: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "default port": ({}, {"Host": "files.example"}, "http://files.example:80/new"),
    "default port of https": ({}, {"Host": "files.example"}, "https://files.example:443/new"),
    "default port in Host": ({}, {"Host": "files.example:80"}, "http://files.example/new"),
    "case": ({}, {"Host": "Files.Example"}, "http://fILES.eXAMPLE/new"),
    "X-Forwarded-Host": (
        {},
        {"Host": "backend", "X-Forwarded-Host": "files.example"},
        "https://files.example/new",
    ),
    "Forwarded": (
        {},
        {"Host": "backend", "Forwarded": 'for=192.0.2.1;host="files.example";proto=https'},
        "https://files.example/new",
    ),
    "public_url": (
        {"public_url": ("https://files.example/",)},
        {"Host": "backend"},
        "https://files.example/new",
    ),
}


@pytest.mark.rfc("DN-02")
@pytest.mark.security("T-01")
@pytest.mark.parametrize(("settings", "headers", "destination"), OURS.values(), ids=OURS.keys())
def test_destinations_that_are_ours(
    make_dav: Callable[..., AppDav],
    settings: dict[str, Any],
    headers: dict[str, str],
    destination: str,
) -> None:
    dav = make_dav("memory", **settings)
    dav.put("/f", b"old")

    assert dav.copy("/f", destination, headers=headers).status == 201
    assert dav.get("/new").body == b"old"


@pytest.mark.rfc("DN-02")
@pytest.mark.security("T-02")
@pytest.mark.parametrize(
    "field", ["X-Forwarded-Host: files.example", "Forwarded: host=files.example"]
)
def test_forwarded_fields_of_strangers_do_not_count(
    make_dav: Callable[..., AppDav], field: str
) -> None:
    dav = make_dav("memory")
    dav.put("/f", b"old")
    dav.client = ("192.0.2.7", 50000)
    name, _, value = field.partition(": ")

    reply = dav.copy("/f", "http://files.example/new", headers={name: value})

    assert reply.status == 502


@pytest.mark.rfc("DN-02")
def test_destination_outside_of_the_prefix_is_refused(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav("memory", prefix="/dav")
    dav.put("/dav/f", b"old")

    assert dav.copy("/dav/f", "/new").status == 502
    assert dav.copy("/dav/f", "/davnew").status == 502
    assert dav.copy("/dav/f", "/dav/new").status == 201
    assert dav.members("/dav/") == ["/dav/f", "/dav/new"]


# -- Overwrite -------------------------------------------------------------------------------


@pytest.mark.rfc("OV-01")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize(
    ("overwrite", "status"),
    [(None, 204), ("T", 204), ("t", 204), ("F", 412), ("f", 412), ("yes", 400), ("", 400)],
)
def test_overwrite(tree: AppDav, method: str, overwrite: str | None, status: int) -> None:
    tree.put("/c/f", b"target")
    headers = {"Destination": "/c/f"} | ({} if overwrite is None else {"Overwrite": overwrite})

    assert tree.request(method, "/f", headers).status == status
    assert tree.get("/c/f").body == (b"old" if status == 204 else b"target")
    assert tree.get("/f").status == (404 if (method, status) == ("MOVE", 204) else 200)


@pytest.mark.rfc("OV-01")
def test_overwrite_f_hinders_no_creation(tree: AppDav) -> None:
    assert tree.copy("/f", "/new", overwrite="F").status == 201
    assert tree.copy("/c/", "/c2/", overwrite="F").status == 201
    assert tree.copy("/c/", "/c2/", overwrite="F").status == 412


# -- status codes and condition elements ------------------------------------------------------


@pytest.mark.rfc("ST-01", "ST-04")
def test_nothing_of_the_100_series_is_sent(tree: AppDav) -> None:
    for method, target in (("PROPFIND", "/"), ("COPY", "/c/"), ("DELETE", "/c/")):
        tree.request(method, target, {"Depth": "infinity", "Destination": "/c2/"})
        statuses = [m["status"] for m in tree.last.messages if "status" in m]
        assert len(statuses) == 1
        assert statuses[0] >= 200


ENTITIES = {
    "external": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
    "parameter": '<!DOCTYPE x [<!ENTITY % e SYSTEM "http://192.0.2.1/e"> %e;]>',
    "subset": '<!DOCTYPE x SYSTEM "http://192.0.2.1/x.dtd">',
}


@pytest.mark.rfc("PC-04", "SE-04")
@pytest.mark.parametrize("doctype", ENTITIES.values(), ids=ENTITIES.keys())
@pytest.mark.parametrize(
    ("method", "root"),
    [("PROPFIND", "propfind"), ("PROPPATCH", "propertyupdate"), ("LOCK", "lockinfo")],
)
def test_external_entities_are_refused(tree: AppDav, method: str, root: str, doctype: str) -> None:
    body = f'<?xml version="1.0"?>{doctype}<D:{root} xmlns:D="DAV:">&e;</D:{root}>'

    reply = tree.request(method, "/f", {"Depth": "0", "Content-Type": XML}, body.encode())

    assert (reply.status, reply.conditions) == (403, [f"{D}no-external-entities"])
    assert tree.locks("/f") == []


@pytest.mark.rfc("PC-06", "PF-02")
def test_refused_infinity_says_so(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav("memory", propfind_infinity="refuse")
    dav.mkcol("/c/")
    dav.put("/f", b"")

    reply = dav.request("PROPFIND", "/c/", {"Depth": "infinity"})

    assert (reply.status, reply.conditions) == (403, [f"{D}propfind-finite-depth"])
    assert dav.propfind("/f", depth="infinity").hrefs == ["/f"]


@pytest.mark.rfc("PC-07", "PP-05")
@pytest.mark.parametrize("name", ["getetag", "resourcetype", "lockdiscovery", "supportedlock"])
def test_protected_property_says_so(tree: AppDav, name: str) -> None:
    reply = tree.proppatch("/f", set={"{urn:x}a": "1", f"{D}{name}": "x"})

    assert reply.multistatus.status_of("/f", f"{D}{name}") == 403
    assert reply.multistatus.by_property["/f"][f"{D}{name}"] == [
        f"{D}cannot-modify-protected-property"
    ]
    assert reply.multistatus.status_of("/f", "{urn:x}a") == 424
    assert tree.prop("/f", "{urn:x}a") is None


# -- GET and HEAD ------------------------------------------------------------------------------


@pytest.mark.rfc("HM-01")
@pytest.mark.parametrize("target", ["/f", "/c/", "/c", "/page.html", "/none"])
def test_head_has_the_fields_of_get(tree: AppDav, target: str) -> None:
    tree.put("/page.html", b"<p>x</p>")

    get, head = tree.get(target), tree.head(target)

    assert head.status == get.status
    assert sorted(head.headers) == sorted(get.headers)
    assert head.body == b""
    if not target.startswith("/c"):
        assert head.headers["content-length"] == str(len(get.body))


@pytest.mark.rfc("HM-03", "HM-02")
def test_trace_is_refused_and_echoes_nothing(tree: AppDav) -> None:
    reply = tree.request("TRACE", "/f", {"Authorization": "Basic c2VjcmV0"})

    assert reply.status in (405, 501)
    assert "allow" in reply.headers
    assert b"c2VjcmV0" not in reply.body
