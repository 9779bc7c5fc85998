"""Request XML of every method: what is ignored, what is refused (RFC 4918 sections 17, 19, 20)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import AppDav
from tests.support.dav import XML
from tests.support.reply import Reply

MakeDav = Callable[..., AppDav]
D = "{DAV:}"
TOPIC = "{http://example.org/ns}topic"
BODIES = {
    "PROPFIND": (
        '<D:propfind xmlns:D="DAV:" xmlns:e="http://example.org/ns">'
        "<D:prop><e:topic/><D:getcontentlength/></D:prop></D:propfind>"
    ),
    "PROPPATCH": (
        '<D:propertyupdate xmlns:D="DAV:" xmlns:e="http://example.org/ns">'
        "<D:set><D:prop><e:topic>new</e:topic></D:prop></D:set></D:propertyupdate>"
    ),
    "LOCK": (
        '<D:lockinfo xmlns:D="DAV:" xmlns:e="http://example.org/ns"><D:lockscope><D:exclusive/>'
        "</D:lockscope><D:locktype><D:write/></D:locktype><D:owner>me</D:owner></D:lockinfo>"
    ),
}
METHODS = pytest.mark.parametrize("method", BODIES)


@pytest.fixture
def file(make_dav: MakeDav) -> AppDav:
    dav = make_dav("memory")
    assert dav.put("/f", b"content").status == 201
    return dav


def send(dav: AppDav, method: str, body: str | bytes) -> Reply:
    content = body.encode() if isinstance(body, str) else body
    return dav.request(method, "/f", {"Depth": "0", "Content-Type": XML}, content)


def assert_done(dav: AppDav, method: str, reply: Reply) -> None:
    """The body was taken for what it says."""
    if method == "PROPFIND":
        assert set(reply.multistatus["/f"][200]) == {f"{D}getcontentlength"}
        assert set(reply.multistatus["/f"][404]) == {TOPIC}
    elif method == "PROPPATCH":
        assert set(reply.multistatus["/f"]) == {200}
        assert set(reply.multistatus.ok("/f")) == {TOPIC}
        assert dav.prop("/f", TOPIC).text == "new"
    else:
        assert reply.status == 200
        (lock,) = dav.locks("/f")
        assert lock.find(f"{D}lockscope/{D}exclusive") is not None
        assert lock.findtext(f"{D}owner") == "me"


def assert_untouched(dav: AppDav) -> None:
    assert dav.prop("/f", TOPIC) is None
    assert dav.locks("/f") == []
    assert dav.get("/f").body == b"content"


# -- extensibility -----------------------------------------------------------------------------

STRANGE = (
    '<e:new xmlns:e="http://example.org/ns"><D:prop xmlns:D="DAV:"><e:other/></D:prop>'
    '<D:set xmlns:D="DAV:"><D:prop><e:topic>wrong</e:topic></D:prop></D:set>'
    '<D:lockscope xmlns:D="DAV:"><D:shared/></D:lockscope></e:new>'
)
PLACES = {
    "first": lambda body: body.replace(">", f">{STRANGE}", 1),
    "last": lambda body: f"{STRANGE}</".join(body.rsplit("</", 1)),
    "of DAV:": lambda body: body.replace(">", "><D:unheard><D:allprop/></D:unheard>", 1),
    "text between": lambda body: body.replace("><", "> some text <", 1),
    "attributes on the root": lambda body: body.replace("xmlns:D", 'e:x="1" y="2" xmlns:D', 1),
    "attributes within": lambda body: (
        body.replace("<D:prop>", '<D:prop e:x="1" y="2">')
        .replace("<D:lockscope>", '<D:lockscope e:x="1" D:scope="shared">')
        .replace("<D:exclusive/>", '<D:exclusive e:depth="0"/>')
    ),
    "beside exclusive": lambda body: body.replace("<D:exclusive/>", f"{STRANGE}<D:exclusive/>"),
    "beside set": lambda body: body.replace("<D:set>", f"{STRANGE}<D:set>{STRANGE}"),
}


@pytest.mark.rfc("XX-01", "PF-11", "PF-12")
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@METHODS
def test_what_is_unknown_is_as_if_absent(
    file: AppDav, method: str, place: Callable[[str], str]
) -> None:
    reply = send(file, method, place(BODIES[method]))

    assert_done(file, method, reply)


@pytest.mark.rfc("XX-01", "DP-06")
def test_within_a_value_nothing_is_unknown(file: AppDav) -> None:
    body = BODIES["PROPPATCH"].replace(">new<", f">{STRANGE}<")

    send(file, "PROPPATCH", body)

    assert [child.tag for child in file.prop("/f", TOPIC)] == ["{http://example.org/ns}new"]
    assert len(list(file.prop("/f", TOPIC).iter())) == 9


@pytest.mark.rfc("XX-02")
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_the_order_within_lockinfo_does_not_matter(file: AppDav, order: tuple[int, ...]) -> None:
    parts = [
        "<D:lockscope><D:exclusive/></D:lockscope>",
        "<D:locktype><D:write/></D:locktype>",
        "<D:owner>me</D:owner>",
    ]
    inner = "".join(parts[number] for number in order)

    reply = send(file, "LOCK", f'<D:lockinfo xmlns:D="DAV:">{inner}</D:lockinfo>')

    assert_done(file, "LOCK", reply)


@pytest.mark.rfc("XX-02")
@pytest.mark.parametrize("first", ["<D:allprop/>", "<D:include><D:quota-used-bytes/></D:include>"])
def test_the_order_within_propfind_does_not_matter(file: AppDav, first: str) -> None:
    parts = {"<D:allprop/>", "<D:include><D:quota-used-bytes/></D:include>"}
    (second,) = parts - {first}

    reply = send(file, "PROPFIND", f'<D:propfind xmlns:D="DAV:">{first}{second}</D:propfind>')

    assert set(reply.multistatus["/f"][404]) == {f"{D}quota-used-bytes"}
    assert f"{D}getetag" in reply.multistatus.ok("/f")


SPELLINGS = {
    "another prefix": {"D:": "weird-1.x:", "xmlns:D=": "xmlns:weird-1.x="},
    "default namespace": {"xmlns:D=": "xmlns=", "D:": ""},
    "single quotes": {'"': "'"},
    "a reference in the name": {'"DAV:"': '"DAV&#58;"'},
}


@pytest.mark.rfc("XX-05")
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
@METHODS
def test_names_are_compared_not_prefixes(
    file: AppDav, method: str, spelling: dict[str, str]
) -> None:
    body = BODIES[method]
    for old, new in spelling.items():
        body = body.replace(old, new)

    assert_done(file, method, send(file, method, body))


@pytest.mark.rfc("XX-05", "PF-12", "PP-01")
@pytest.mark.parametrize("namespace", ["dav:", "DAV", "DAV:/", "http://DAV:", " DAV:", "D:"])
@METHODS
def test_a_namespace_that_looks_like_it_is_another(
    file: AppDav, method: str, namespace: str
) -> None:
    reply = send(file, method, BODIES[method].replace('"DAV:"', f'"{namespace}"'))

    assert reply.status == 400
    assert_untouched(file)


# -- instructions, doctypes, entities ----------------------------------------------------------


@pytest.mark.rfc("XX-03")
@METHODS
def test_instructions_and_comments_are_ignored(file: AppDav, method: str) -> None:
    noise = '<?xml-stylesheet href="http://192.0.2.1/x"?><!-- <D:allprop/> --><?php exit ?>'
    body = BODIES[method].replace("><", f">{noise}<")

    reply = send(file, method, f'<?xml version="1.0"?>{noise}{body}{noise}')

    assert_done(file, method, reply)


@pytest.mark.rfc("XX-03")
def test_includes_are_not_followed(file: AppDav) -> None:
    include = (
        '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"'
        ' parse="text"/>'
    )

    send(file, "PROPPATCH", BODIES["PROPPATCH"].replace(">new<", f">{include}<"))

    (child,) = file.prop("/f", TOPIC)
    assert child.tag == "{http://www.w3.org/2001/XInclude}include"
    assert child.text is None


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
DOCTYPES = {
    "bare": ("<!DOCTYPE r>", 400),
    "elements": ("<!DOCTYPE r [<!ELEMENT r ANY>]>", 400),
    "default attribute": ('<!DOCTYPE r [<!ATTLIST r a CDATA "x">]>', 400),
    "internal entity": ('<!DOCTYPE r [<!ENTITY e "x">]>', 400),
    "billion laughs": (f'<!DOCTYPE r [<!ENTITY l0 "ha">{LAUGHS}]>', 400),
    "quadratic": (f'<!DOCTYPE r [<!ENTITY e "{"x" * 50_000}">]>', 400),
    "external entity": ('<!DOCTYPE r [<!ENTITY e SYSTEM "file:///etc/passwd">]>', 403),
    "external subset": ('<!DOCTYPE r SYSTEM "file:///etc/passwd">', 403),
}


@pytest.mark.rfc("SE-04", "XX-03", "PC-04")
@pytest.mark.security("X-01", "X-02")
@pytest.mark.parametrize(("doctype", "status"), DOCTYPES.values(), ids=DOCTYPES.keys())
@METHODS
def test_a_doctype_is_refused_early(file: AppDav, method: str, doctype: str, status: int) -> None:
    begun = time.process_time()

    reply = send(file, method, doctype + BODIES[method].replace("></", ">&e;&l9;</"))

    assert time.process_time() - begun < 1
    assert reply.status == status
    assert b"root:" not in reply.body
    if status == 403:
        assert reply.conditions == [f"{D}no-external-entities"]
    assert_untouched(file)


def many(count: int, element: str) -> str:
    return "".join(element.format(number) for number in range(count))


LARGE: dict[str, tuple[str, int]] = {
    "deep": ("<a>" * 100_000, 400),
    "elements": ("<e:a/>" * 20_000, 413),
    "attributes": (f"<e:a {many(20_000, ' a{}=&quot;&quot;')}/>".replace("&quot;", "'"), 413),
    "namespaces": (
        f"<e:a {many(20_000, ' xmlns:a{}=&quot;u&quot;')}/>".replace("&quot;", "'"),
        413,
    ),
    "names": (many(3_000, "<a{}/>"), 413),
    "a name of 300 kB": (f"<{'n' * 300_000}/>", 413),
    "more than may be sent": (f"<e:a>{'x' * 1_100_000}</e:a>", 413),
}


@pytest.mark.rfc("SE-05", "SE-04")
@pytest.mark.security("X-03", "X-07")
@pytest.mark.parametrize(("inner", "status"), LARGE.values(), ids=LARGE.keys())
@METHODS
def test_too_much_is_refused(file: AppDav, method: str, inner: str, status: int) -> None:
    body = BODIES[method].replace(">", f"><D:prop xmlns:e='urn:e'>{inner}</D:prop>", 1)

    reply = send(file, method, body)

    assert reply.status == status
    assert_untouched(file)


# -- i18n --------------------------------------------------------------------------------------


@pytest.mark.rfc("G-09", "G-10", "XX-05")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@METHODS
def test_text_is_the_same_in_every_encoding(file: AppDav, method: str, encoding: str) -> None:
    body = BODIES[method].replace("me<", "me \u00e4\u4e2d\U0001f600<")
    body = body.replace("new<", "new \u00e4\u4e2d\U0001f600<")
    headers: dict[str, Any] = {"Depth": "0"}
    declared = encoding if encoding.startswith("utf-16-") else encoding.removesuffix("-sig")
    headers["Content-Type"] = (
        f"text/xml; charset={declared.replace('-le', 'LE').replace('-be', 'BE')}"
    )

    reply = file.request(method, "/f", headers, body.encode(encoding))

    assert reply.status in (200, 207)
    if method == "PROPPATCH":
        assert file.prop("/f", TOPIC).text == "new \u00e4\u4e2d\U0001f600"
    if method == "LOCK":
        assert file.locks("/f")[0].findtext(f"{D}owner") == "me \u00e4\u4e2d\U0001f600"


# -- what we send ------------------------------------------------------------------------------

# RFC 4918 sections 14 to 16 and RFC 4331: all that may stand in the namespace.
DEFINED = {
    *("multistatus", "response", "href", "propstat", "prop", "status", "error", "collection"),
    *("responsedescription", "creationdate", "displayname", "getcontentlanguage"),
    *("getcontentlength", "getcontenttype", "getetag", "getlastmodified", "lockdiscovery"),
    *("resourcetype", "supportedlock", "lockentry", "lockscope", "locktype", "exclusive"),
    *("shared", "write", "activelock", "depth", "owner", "timeout", "locktoken", "lockroot"),
    *("lock-token-submitted", "no-conflicting-lock", "lock-token-matches-request-uri"),
    *("no-external-entities", "propfind-finite-depth", "cannot-modify-protected-property"),
}


@pytest.mark.rfc("XX-04")
def test_refusals_hold_nothing_undefined(make_dav: MakeDav) -> None:
    dav = make_dav("memory", propfind_infinity="refuse")
    dav.mkcol("/c/")
    dav.put("/c/f")
    granted = dav.lock("/c/f")
    replies = [
        granted.reply,
        dav.put("/c/f", b"x"),
        dav.lock_request("/c/f"),
        dav.lock_request("/c/"),
        dav.delete("/c/"),
        dav.unlock("/c/", granted.token),
        dav.refresh("/c/", granted.token),
        dav.request("PROPFIND", "/c/", {"Depth": "infinity"}),
        dav.proppatch("/c/f", set={f"{D}getetag": "x"}, headers={"If": granted.untagged}),
        dav.request("PROPFIND", "/c/f", {"Depth": "0"}, b"<!DOCTYPE x SYSTEM 'u'><x/>"),
    ]

    assert [reply.status for reply in replies] == [
        *(200, 423, 423, 207, 207, 409, 412, 403, 207, 403)
    ]
    for reply in replies:
        used = {element.tag.removeprefix(D) for element in reply.xml.iter()}
        assert used - DEFINED == set()
