"""PROPPATCH: its statuses, and names that are compared exactly (RFC 4918 sections 4.4, 9.2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import AppDav

MakeDav = Callable[..., AppDav]
A = "{http://example.org/ns}a"
B = "{http://example.org/ns}b"
ETAG = "{DAV:}getetag"


@pytest.mark.rfc("PP-04", "PP-14")
def test_tried_instructions_are_207_even_if_all_failed(dav: AppDav) -> None:
    dav.put("/f", b"x")

    reply = dav.proppatch("/f", set={ETAG: '"mine"'})

    assert reply.status == 207
    assert list(reply.multistatus["/f"]) == [403]
    assert "no-store" in reply.headers["cache-control"]


@pytest.mark.rfc("PP-04", "PP-06")
def test_the_one_that_failed_has_its_status_and_the_rest_424(dav: AppDav) -> None:
    dav.put("/f", b"x")
    dav.proppatch("/f", set={A: "old"})

    reply = dav.proppatch("/f", set={A: "new", ETAG: '"mine"', B: "new"})

    groups = reply.multistatus["/f"]
    assert {status: sorted(names) for status, names in groups.items()} == {
        403: [ETAG],
        424: [A, B],
    }
    assert dav.prop("/f", A).text == "old"
    assert dav.prop("/f", B) is None


@pytest.mark.rfc("PP-11")
def test_no_room_for_a_property_is_507_in_its_propstat(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", property_bytes=200)
    dav.put("/f", b"x")

    reply = dav.proppatch("/f", set={A: "small", B: "large" * 100})

    groups = reply.multistatus["/f"]
    assert {status: sorted(names) for status, names in groups.items()} == {507: [B], 424: [A]}
    assert dav.prop("/f", A) is None


@pytest.mark.rfc("PP-12", "ST-03")
def test_a_locked_resource_is_a_plain_423_without_its_token(dav: AppDav) -> None:
    dav.put("/f", b"x")
    granted = dav.lock("/f")

    refused = dav.proppatch("/f", set={A: "1"})
    allowed = dav.proppatch("/f", set={A: "2"}, headers={"If": granted.untagged})

    assert refused.status == 423
    assert refused.xml.find("{DAV:}lock-token-submitted/{DAV:}href").text == "/f"
    assert list(allowed.multistatus["/f"]) == [200]
    assert dav.prop("/f", A).text == "2"


@pytest.mark.rfc("PP-13")
def test_an_unmapped_url_is_404(dav: AppDav) -> None:
    reply = dav.proppatch("/no", set={A: "1"})

    assert reply.status == 404
    assert dav.members("/") == []


NAMESPACES = ["http://example.org/ns", "http://example.org/NS", "http://example.org/ns/", "dav:"]


@pytest.mark.rfc("DP-07", "XX-05")
def test_a_name_is_there_once_and_its_namespace_is_compared_exactly(dav: AppDav) -> None:
    dav.put("/f", b"x")
    names = [f"{{{namespace}}}a" for namespace in NAMESPACES]
    for name in names:
        dav.proppatch("/f", set={name: f"first {name}"})
        dav.proppatch("/f", set={name: name})

    everything = dav.propfind("/f")["/f"][200]

    assert {name: everything[name].text for name in names} == {name: name for name in names}


@pytest.mark.rfc("DP-09")
@pytest.mark.parametrize(
    "value",
    ["&#0;", "&#1;", "&#xFFFE;", "&#xD800;", "\x01", "\x0b"],
    ids=["NUL", "U+0001", "U+FFFE", "surrogate", "raw U+0001", "raw U+000B"],
)
def test_characters_that_xml_forbids_are_400_and_never_stored(dav: AppDav, value: str) -> None:
    dav.put("/f", b"x")
    body = (
        '<D:propertyupdate xmlns:D="DAV:" xmlns:e="http://example.org/ns"><D:set><D:prop>'
        f"<e:a>{value}</e:a></D:prop></D:set></D:propertyupdate>"
    )

    reply = dav.proppatch("/f", body)

    assert reply.status == 400
    assert dav.prop("/f", A) is None


# RFC 4918 sections 14 and 15, RFC 3744, RFC 4331, RFC 5397: all that may stand in the namespace.
DEFINED = {
    *("multistatus", "response", "href", "propstat", "prop", "status", "error", "collection"),
    *("responsedescription", "creationdate", "displayname", "getcontentlanguage"),
    *("getcontentlength", "getcontenttype", "getetag", "getlastmodified", "lockdiscovery"),
    *("resourcetype", "supportedlock", "lockentry", "lockscope", "locktype", "exclusive"),
    *("shared", "write", "activelock", "depth", "owner", "timeout", "locktoken", "lockroot"),
    *("quota-available-bytes", "quota-used-bytes"),
    *("current-user-principal", "current-user-privilege-set", "supported-privilege-set"),
    *("resource-id", "parent-set"),
}


@pytest.mark.rfc("XX-04", "LP-12")
def test_nothing_of_our_own_is_in_the_namespace_of_dav(dav: AppDav) -> None:
    dav.mkcol("/c/")
    dav.put("/c/f", b"x")
    dav.put("/c/f", b"replaced, so that a creation time is stored")
    dav.lock("/c/f")
    used = set()
    for body in (b"", b'<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>'):
        reply = dav.request("PROPFIND", "/c/", {"Depth": "1"}, body)
        used |= {element.tag for element in reply.xml.iter()}

    own = {tag for tag in used if tag.startswith("{DAV:}")}
    assert {tag.partition("}")[2] for tag in own} - DEFINED == set()
    assert not [tag for tag in used if tag.startswith("{davserver:}")]
