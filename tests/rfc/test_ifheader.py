"""The If header field on real resources (RFC 4918 section 10.4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import AppDav
from tests.support.dav import LOCKINFO

UNKNOWN = "urn:uuid:00000000-0000-4000-8000-000000000000"
HERE = "http://127.0.0.1:8080"


class Scene:
    """`/f` and `/c/` (with `/c/m`) are locked, `/free` is not; `/none` is unmapped."""

    def __init__(self, dav: AppDav) -> None:
        self.dav = dav
        assert dav.mkcol("/c/").status == 201
        for name in ("/f", "/free", "/c/m"):
            assert dav.put(name, b"old").status == 201
        self.names = {
            "tok": dav.lock("/f").token,
            "col": dav.lock("/c/").token,
            "etag": dav.head("/f").headers["etag"],
            "free": dav.head("/free").headers["etag"],
            "member": dav.head("/c/m").headers["etag"],
            "unknown": UNKNOWN,
            "here": HERE,
        }

    def put(self, target: str, condition: str) -> int:
        """PUTs with that If, and returns the status. What was refused has changed nothing."""
        before = self.dav.get(target)
        value = condition.format(**self.names)
        status = self.dav.put(target, b"new", {"If": value}).status
        after = self.dav.get(target)
        if status in (201, 204):
            assert after.body == b"new"
        else:
            assert (after.status, after.body) == (before.status, before.body)
        return status


@pytest.fixture
def scene(dav: AppDav) -> Scene:
    return Scene(dav)


# (target, If, status). Letters in braces stand for tokens and entity-tags.
CONDITIONS = {
    # IF-01: OR of lists, AND of conditions, Not
    "token": ("/f", "(<{tok}>)", 204),
    "token and etag": ("/f", "(<{tok}> [{etag}])", 204),
    "token and bad etag": ("/f", '(<{tok}> ["bad"])', 412),
    "second list true": ("/f", "(<{unknown}>) (<{tok}> [{etag}])", 204),
    "both lists false": ("/f", '(<{tok}> ["bad"]) (<{unknown}>)', 412),
    "not a bad etag": ("/f", '(<{tok}> Not ["bad"])', 204),
    "not the etag": ("/f", "(<{tok}> Not [{etag}])", 412),
    "not the token": ("/f", "(Not <{tok}>)", 412),
    "not binds to one": ("/f", '(Not ["bad"] <{tok}>)', 204),
    "case of not": ("/f", '(NOT ["bad"] <{tok}>)', 204),
    "no blanks": ("/f", "(<{unknown}>)(<{tok}>[{etag}])", 204),
    "blanks": ("/f", "  ( <{tok}>   [{etag}] )  ", 204),
    # IF-02: a state token matches anywhere in the lock's scope
    "indirect": ("/c/m", "(<{col}>)", 204),
    "indirect, with etag": ("/c/m", "(<{col}> [{member}])", 204),
    "another's lock": ("/free", "(<{tok}>)", 412),
    "unknown": ("/free", "(<{unknown}>)", 412),
    "etag alone": ("/free", "([{free}])", 204),
    "etag alone on what is locked": ("/f", "([{etag}])", 423),
    # IF-03: weak ones are parsed, and compared strongly
    "weak": ("/free", '([W/"x"])', 412),
    "weak form of the tag": ("/free", "([W/{free}])", 412),
    "not weak": ("/free", "(Not [W/{free}])", 204),
    # IF-04: unmapped
    "unmapped etag": ("/none", '(["e"])', 412),
    "unmapped not etag": ("/none", '(Not ["e"])', 201),
    "unmapped not token": ("/none", "(Not <{tok}>)", 201),
    "unmapped token": ("/none", "(<{tok}>)", 412),
    "unmapped member, its collection's token": ("/c/new", "(<{col}>)", 412),
    "unmapped member, tagged": ("/c/new", "</c/> (<{col}>)", 201),
    # IF-05: tags
    "tagged": ("/f", "</f> (<{tok}>)", 204),
    "tagged by URL": ("/f", "<{here}/f> (<{tok}>)", 204),
    "tagged by https": ("/f", "<https://127.0.0.1:8080/f> (<{tok}>)", 204),
    "tagged, percent-encoded": ("/f", "</%66> (<{tok}>)", 204),
    "tag for more lists": ("/f", '</f> (["bad"]) (<{tok}>) </free> (["bad"])', 204),
    "second tag true": ("/f", '</free> (["bad"]) </f> (<{tok}>)', 204),
    "tag of another resource, false": ("/f", "</free> (<{tok}>)", 412),
    "tag of another resource, true": ("/free", "</f> (<{tok}> [{etag}])", 204),
    "tag of nothing": ("/f", "</none> (<{tok}>)", 412),
    "tag of nothing, negated": ("/f", "</none> (Not <{tok}>)", 204),
    "foreign": ("/f", "<http://other.example/f> (<{tok}>)", 412),
    "foreign, negated": ("/f", "<http://other.example/f> (Not <{tok}>)", 204),
    "another port": ("/f", "<http://127.0.0.1:8081/f> (<{tok}>)", 412),
    "reserved name": ("/f", "</.davserver/x> (<{tok}>)", 412),
    # IF-06, IF-07, IF-08
    "no-lock negated": ("/f", "(<{tok}>) (Not <DAV:no-lock>)", 204),
    "no-lock negated, stale token": ("/free", "(<{unknown}>) (Not <DAV:no-lock>)", 204),
    "no-lock negated alone": ("/f", "(Not <DAV:no-lock>)", 423),
    "no-lock": ("/free", "(<DAV:no-lock>)", 412),
    "corrupt token": ("/f", "(<{tok}x>) (Not <DAV:no-lock>)", 423),
    "corrupt, and false": ("/f", '(<{tok}> ["bad"]) (Not <DAV:no-lock> ["bad"])', 412),
    "submitted by a false list": ("/f", '(<{tok}> ["bad"]) ([{etag}])', 204),
    "submitted by a list never reached": ("/f", '([{etag}]) (<{tok}> ["bad"])', 204),
    "submitted negated": ("/f", "(Not <{unknown}>) (Not <{tok}>)", 204),
    "submitted under another tag": ("/f", "</f> ([{etag}]) </free> (<{tok}>)", 204),
    "submitted, but the whole is false": ("/f", '(<{tok}> ["bad"])', 412),
    "token with other scheme": ("/free", "(<opaquelocktoken:x>) (Not <x:y>)", 204),
}


@pytest.mark.rfc("IF-01", "IF-02", "IF-03", "IF-04", "IF-05", "IF-06", "IF-07", "IF-08", "CL-06")
@pytest.mark.parametrize(
    ("target", "condition", "status"), CONDITIONS.values(), ids=CONDITIONS.keys()
)
def test_condition(scene: Scene, target: str, condition: str, status: int) -> None:
    assert scene.put(target, condition) == status


GARBAGE = {
    "empty": "",
    "empty list": "()",
    "second list empty": "(<{tok}>) ()",
    "unfinished list": "(<{tok}>",
    "unfinished token": "(<{tok})",
    "unfinished etag": '(["x)',
    "no list": "<{tok}>",
    "tag without a list": "</f>",
    "tag after a list": "(<{tok}>) </f> (<{tok}>)",
    "two tags": "</f> </f> (<{tok}>)",
    "etag without quotes": "([x])",
    "not alone": "(Not)",
    "not twice": "(Not Not <{tok}>)",
    "comma": "(<{tok}>), (<{tok}>)",
    "text": "yes",
    "relative tag": "<f> (<{tok}>)",
    "dot segments in a tag": "</c/../f> (<{tok}>)",
    "fragment in a tag": "</f#x> (<{tok}>)",
    "tag with two slashes": "<//127.0.0.1:8080/f> (<{tok}>)",
    "blank in a token": "(<{tok} x>)",
    "over 8 KiB": "(<{tok}> " + '["' + "x" * 8200 + '"])',
    "over 100 lists": "(<{tok}>) " * 101,
    "over 1000 conditions": "(" + "<x:y>" * 1001 + ")",
}


@pytest.mark.rfc("D-9", "IF-11", "DN-03")
@pytest.mark.security("S-07")
@pytest.mark.parametrize("condition", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_cannot_be_read_is_400(scene: Scene, condition: str) -> None:
    assert scene.put("/f", condition) == 400
    assert scene.put("/free", condition) == 400


@pytest.mark.rfc("D-9")
def test_two_lines_are_400(scene: Scene) -> None:
    fields = [("If", f"(<{scene.names['tok']}>)")] * 2

    assert scene.dav.put("/f", b"new", fields).status == 400
    assert scene.dav.get("/f").body == b"old"


@pytest.mark.rfc("IF-10", "CL-06", "DE-02")
def test_tag_of_the_collection_submits_for_its_member(scene: Scene) -> None:
    condition = f"<{HERE}/c/> (<{scene.names['col']}>)"

    assert scene.dav.delete("/c/m", {"If": condition}).status == 204
    assert scene.dav.members("/c/") == []


UPDATE = (
    b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><a xmlns="urn:x">1</a></D:prop></D:set>'
    b"</D:propertyupdate>"
)
METHODS = {
    "GET": ("GET", "/free", {}, b"", 200),
    "HEAD": ("HEAD", "/free", {}, b"", 200),
    "OPTIONS": ("OPTIONS", "/free", {}, b"", 200),
    "PROPFIND": ("PROPFIND", "/free", {"Depth": "0"}, b"", 207),
    "PROPPATCH": ("PROPPATCH", "/free", {}, UPDATE, 207),
    "PUT": ("PUT", "/free", {}, b"new", 204),
    "DELETE": ("DELETE", "/free", {}, b"", 204),
    "MKCOL": ("MKCOL", "/none", {}, b"", 201),
    "COPY": ("COPY", "/free", {"Destination": "/copy"}, b"", 201),
    "MOVE": ("MOVE", "/free", {"Destination": "/moved"}, b"", 201),
    "LOCK": ("LOCK", "/free", {}, LOCKINFO.format(scope="shared", owner="").encode(), 200),
    "LOCK new": ("LOCK", "/none", {}, LOCKINFO.format(scope="shared", owner="").encode(), 201),
    "UNLOCK": ("UNLOCK", "/f", {"Lock-Token": "<{tok}>"}, b"", 204),
}


@pytest.mark.rfc("IF-09", "G-19")
@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "status"), METHODS.values(), ids=METHODS.keys()
)
def test_if_holds_for_every_method(
    scene: Scene, method: str, target: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    dav = scene.dav
    fields = {name: value.format(**scene.names) for name, value in headers.items()}
    before = dav.members("/"), len(dav.locks("/f")), dav.get("/free").body

    refused = dav.request(method, target, fields | {"If": '</free> (["bad"])'}, body)

    assert refused.status == 412
    assert (dav.members("/"), len(dav.locks("/f")), dav.get("/free").body) == before
    assert dav.prop("/free", "{urn:x}a") is None
    assert dav.locks("/free") == []
    good = f"</free> ([{scene.names['free']}])"
    assert dav.request(method, target, fields | {"If": good}, body).status == status


@pytest.mark.rfc("IF-09")
def test_if_holds_for_a_refresh(scene: Scene) -> None:
    token = scene.names["tok"]

    refused = scene.dav.request("LOCK", "/f", {"If": f'(<{token}> ["bad"])'})
    granted = scene.dav.request("LOCK", "/f", {"If": f"(<{token}> [{scene.names['etag']}])"})

    assert (refused.status, granted.status) == (412, 200)
    assert not refused.body.startswith(b"<?xml"), "the token does name a lock here"


@pytest.mark.rfc("IF-05", "IF-09")
def test_destination_can_be_tagged(scene: Scene) -> None:
    dav, names = scene.dav, scene.names
    for condition, status in (
        ("</f> (Not <{tok}>)", 412),
        ("</f> (<{tok}> [{etag}])", 204),
    ):
        reply = dav.copy("/free", "/f", headers={"If": condition.format(**names)})
        assert reply.status == status
    assert dav.put("/free", b"x").status == 204


@pytest.mark.rfc("IF-05")
@pytest.mark.parametrize("tag", ["/dav/f", "http://files.example.org/dav/f", "/f"])
def test_tag_is_the_whole_url_path_below_a_prefix(
    make_dav: Callable[..., AppDav], tag: str
) -> None:
    dav = make_dav("memory", prefix="/dav", public_url=("https://files.example.org/dav",))
    dav.put("/dav/f", b"old")
    token = dav.lock("/dav/f").token

    status = dav.put("/dav/f", b"new", {"If": f"<{tag}> (<{token}>)"}).status

    assert status == (412 if tag == "/f" else 204)
