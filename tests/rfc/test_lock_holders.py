"""Who holds a lock: principals (RFC 4918 section 6.4), uploads longer than a lock, two workers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from davserver.auth.base import Principal, Privilege
from davserver.protocol.path import DavPath
from tests.conftest import AppDav
from tests.support.asgi import AsgiDav
from tests.support.dav import LOCKINFO
from tests.support.reply import Reply
from tests.support.users import TestUsers, User

D = "{DAV:}"


@pytest.fixture(params=["filesystem", "memory"])
def carrier(request: pytest.FixtureRequest, make_dav: Callable[..., AppDav]) -> AppDav:
    return make_dav(request.param, overrides={"authenticator": TestUsers()})


@pytest.fixture
def alice(carrier: AppDav) -> User:
    """Has made `/c/`, `/c/f` and `/free`."""
    alice = User(carrier, "alice")
    assert alice.mkcol("/c/").status == 201
    for name in ("/c/f", "/free"):
        assert alice.put(name, b"old").status == 201
    return alice


@pytest.fixture
def bob(carrier: AppDav) -> User:
    return User(carrier, "bob")


@pytest.mark.rfc("LM-04", "D-3", "LM-05")
@pytest.mark.parametrize("form", ["(<{0}>)", "(<{0}>) (Not <DAV:no-lock>)", "<{1}> (<{0}>)"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PROPPATCH", "MOVE"])
def test_token_counts_for_its_creator_alone(alice: User, bob: User, method: str, form: str) -> None:
    lock = alice.lock("/c/f")
    condition = form.format(lock.token, "/c/f")
    headers = {"If": condition, "Destination": "/moved"}
    body = b""
    if method == "PROPPATCH":
        body = b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><a xmlns="urn:x">1</a></D:prop>'
        body += b"</D:set></D:propertyupdate>"

    reply = bob.request(method, "/c/f", headers, body)

    assert (reply.status, reply.conditions) == (423, [f"{D}lock-token-submitted"])
    assert reply.condition_hrefs == ["/c/f"]
    assert bob.get("/c/f").body == b"old"
    assert alice.prop("/c/f", "{urn:x}a") is None
    assert alice.put("/c/f", b"mine", {"If": condition}).status == 204


@pytest.mark.rfc("LM-04")
def test_token_in_lock_token_counts_for_its_creator_alone(alice: User, bob: User) -> None:
    lock = alice.lock("/c/f")

    assert bob.put("/c/f", b"x", {"Lock-Token": f"<{lock.token}>"}).status == 423
    assert alice.put("/c/f", b"x", {"Lock-Token": f"<{lock.token}>"}).status == 204


@pytest.mark.rfc("LM-04", "LM-03")
def test_shared_locks_of_two_let_each_write(alice: User, bob: User) -> None:
    hers, his = alice.lock("/c/f", scope="shared"), bob.lock("/c/f", scope="shared")

    assert alice.put("/c/f", b"1", {"If": hers.untagged}).status == 204
    assert bob.put("/c/f", b"2", {"If": his.untagged}).status == 204
    assert bob.put("/c/f", b"3", {"If": hers.untagged}).status == 423
    assert bob.get("/c/f").body == b"2"


@pytest.mark.rfc("LR-06", "LT-01")
def test_refresh_by_another_principal_is_refused(carrier: AppDav, alice: User, bob: User) -> None:
    lock = alice.lock("/c/f", timeout="Second-100")
    carrier.clock.pass_s(60)

    reply = bob.refresh("/c/f", lock.token, timeout="Second-9000")

    assert reply.status in (403, 412)
    assert lock.token.encode() not in reply.body
    (active,) = alice.locks("/c/f")
    assert active.findtext(f"{D}timeout") == "Second-40"


@pytest.mark.rfc("UL-04")
def test_unlock_by_another_principal_is_403(alice: User, bob: User) -> None:
    lock = alice.lock("/c/f")

    assert bob.unlock("/c/f", lock.token).status == 403
    assert len(alice.locks("/c/f")) == 1
    assert bob.put("/c/f", b"x").status == 423


def _bodies(alice: User, bob: User) -> list[Reply]:
    """What bob is told about `/c/f`, which alice has locked."""
    return [
        bob.request("PROPFIND", "/c/", {"Depth": "1"}),
        bob.request("PROPFIND", "/c/f", {"Depth": "0"}),
        bob.lock_request("/c/f"),
        bob.lock_request("/c/", depth="infinity"),
        bob.put("/c/f", b"x"),
        bob.delete("/c/"),
        bob.delete("/c/f"),
        bob.move("/c/", "/moved/"),
        bob.copy("/free", "/c/f"),
        bob.proppatch("/c/f", set={"{urn:x}a": "1"}),
        bob.get("/c/"),
        bob.get("/c/f"),
        bob.options("/c/f"),
    ]


@pytest.mark.rfc("LP-08", "SE-03", "CL-08", "D-1")
@pytest.mark.security("C-14")
def test_no_answer_shows_another_ones_token(alice: User, bob: User) -> None:
    lock = alice.lock("/c/f", owner="<D:owner>Alice</D:owner>")

    replies = _bodies(alice, bob)

    statuses = [reply.status for reply in replies]
    assert statuses == [207, 207, 423, 207, 423, 207, 423, 423, 423, 423, 200, 200, 200]
    secret = lock.token.removeprefix("urn:uuid:")
    for reply in replies:
        assert secret.encode() not in reply.body
        assert secret not in repr(reply.headers)
    (shown,) = bob.locks("/c/f")
    assert shown.findtext(f"{D}owner") == "Alice"
    assert shown.find(f"{D}locktoken") is None
    (own,) = alice.locks("/c/f")
    assert own.findtext(f"{D}locktoken/{D}href") == lock.token


@pytest.mark.rfc("G-05", "G-06")
@pytest.mark.parametrize("target", ["/c/f", "/none/new", "/c/new"])
def test_sign_in_goes_before_locks_and_conditions(
    carrier: AppDav, alice: User, target: str
) -> None:
    alice.lock("/c/f")

    for headers in ({}, {"If": "(<urn:x:y>)"}, {"If-Match": '"x"'}, {"If-None-Match": "*"}):
        reply = carrier.put(target, b"x", headers)
        assert (reply.status, reply.headers["www-authenticate"]) == (401, "Test")
        assert carrier.last.received == 0
    assert alice.members("/c/") == ["/c/f"]


class NotForBob:
    """An Authorizer that keeps `/c/` from bob."""

    def permits(self, principal: Principal, privilege: Privilege, path: DavPath) -> bool:
        return principal.name != "bob" or path.segments[:1] != ("c",)


@pytest.mark.rfc("G-06")
def test_if_tells_nothing_of_what_one_may_not_read(make_dav: Callable[..., AppDav]) -> None:
    parts = {"authenticator": TestUsers(), "authorizer": NotForBob()}
    carrier = make_dav("memory", overrides=parts)
    alice, bob = User(carrier, "alice"), User(carrier, "bob")
    alice.mkcol("/c/")
    tag = alice.put("/c/f", b"old").headers["etag"]
    alice.put("/f", b"old")
    token = alice.lock("/c/f").token

    for condition in (f"</c/f> ([{tag}])", f"</c/f> (<{token}>)"):
        assert alice.put("/f", b"new", {"If": condition}).status == 204
        assert bob.put("/f", b"new", {"If": condition}).status == 412
    assert bob.put("/f", b"new", {"If": f"</c/f> (Not [{tag}])"}).status == 204


# -- an upload that takes longer than its lock ---------------------------------------------

Request = tuple[str, str, dict[str, str], bytes]


def long_put(
    dav: AppDav,
    target: str,
    headers: dict[str, str],
    *,
    requests: list[Request],
    seconds: float = 0,
) -> tuple[int, list[int]]:
    """PUTs in two pieces; between them time passes, and then come `requests`. Returns the
    statuses of the PUT and of those."""
    statuses: list[int] = []
    other = AsgiDav(dav.app)

    async def before(number: int) -> None:
        if number != 1:
            return
        dav.clock.pass_s(seconds)
        for method, where, fields, body in requests:
            exchange = await other.send(method, where, fields, body)
            statuses.append(exchange.reply.status)

    try:
        exchange = dav.run(dav.send("PUT", target, headers, [b"ne", b"w"], before=before))
    finally:
        other._runner.close()
    return exchange.reply.status, statuses


FORMS = {"If": "(<{0}>)", "tagged": "</f> (<{0}>)", "Lock-Token": "<{0}>"}


def submit(form: str, token: str) -> dict[str, str]:
    return {"Lock-Token" if form == "Lock-Token" else "If": FORMS[form].format(token)}


LOCK_BODY = LOCKINFO.format(scope="exclusive", owner="").encode()


@pytest.mark.rfc("LM-08")
@pytest.mark.security("L-02")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("others", [False, True], ids=["alone", "while others use locks"])
def test_lock_that_expired_during_its_holders_upload_counts(
    dav: AppDav, form: str, others: bool
) -> None:
    dav.put("/f", b"old")
    lock = dav.lock("/f", timeout="Second-60")
    # A new lock elsewhere makes the state forget the expired one.
    requests = [("LOCK", "/elsewhere", {}, LOCK_BODY)] if others else []

    status, statuses = long_put(dav, "/f", submit(form, lock.token), requests=requests, seconds=61)

    assert (status, statuses) == (204, [201] if others else [])
    assert dav.get("/f").body == b"new"


@pytest.mark.rfc("LM-08")
def test_collections_lock_that_expired_during_the_upload_of_a_member_counts(dav: AppDav) -> None:
    dav.mkcol("/c/")
    lock = dav.lock("/c/", timeout="Second-60")

    status, _ = long_put(dav, "/c/new", {"If": f"</c/> (<{lock.token}>)"}, requests=[], seconds=61)

    assert status == 201
    assert dav.get("/c/new").body == b"new"


@pytest.mark.rfc("LM-08", "CL-07")
@pytest.mark.parametrize("form", FORMS)
def test_lock_that_somebody_else_has_got_meanwhile_is_respected(dav: AppDav, form: str) -> None:
    dav.put("/f", b"old")
    lock = dav.lock("/f", timeout="Second-60")

    status, statuses = long_put(
        dav,
        "/f",
        submit(form, lock.token),
        requests=[("LOCK", "/f", {}, LOCK_BODY)],
        seconds=61,
    )

    assert statuses == [200]
    assert status in (412, 423)
    assert dav.get("/f").body == b"old"


@pytest.mark.rfc("LM-08", "HC-10")
@pytest.mark.security("L-02")
@pytest.mark.parametrize("form", FORMS)
def test_what_somebody_wrote_after_the_lock_expired_is_not_lost(dav: AppDav, form: str) -> None:
    dav.put("/f", b"old")
    lock = dav.lock("/f", timeout="Second-60")

    status, statuses = long_put(
        dav, "/f", submit(form, lock.token), requests=[("PUT", "/f", {}, b"theirs")], seconds=61
    )

    assert statuses == [204]
    assert status == (409 if form == "Lock-Token" else 412)
    assert dav.get("/f").body == b"theirs"


@pytest.mark.rfc("LM-08")
def test_lock_given_up_during_the_upload_does_not_count(dav: AppDav) -> None:
    dav.put("/f", b"old")
    lock = dav.lock("/f")

    status, statuses = long_put(
        dav,
        "/f",
        {"If": lock.untagged},
        requests=[("UNLOCK", "/f", {"Lock-Token": f"<{lock.token}>"}, b"")],
    )

    assert (status, statuses) == (412, [204])
    assert dav.get("/f").body == b"old"


@pytest.mark.rfc("CL-07", "HC-10")
@pytest.mark.parametrize(
    ("meanwhile", "refused"),
    [
        (("LOCK", "/f", {}, LOCK_BODY), 423),
        (("PUT", "/f", {}, b"theirs"), 412),
        (("DELETE", "/f", {}, b""), 412),
    ],
    ids=["locked", "changed", "deleted"],
)
def test_checks_are_made_again_when_the_upload_is_complete(
    dav: AppDav, meanwhile: Request, refused: int
) -> None:
    etag = dav.put("/f", b"old").headers["etag"]

    status, _ = long_put(dav, "/f", {"If-Match": etag}, requests=[meanwhile])

    assert status == refused
    left = dav.get("/f")
    assert (left.status, left.body) in ((200, b"old"), (200, b"theirs")) or left.status == 404


# -- two workers in one process --------------------------------------------------------------


@pytest.fixture
def pair(make_dav: Callable[..., AppDav]) -> tuple[AppDav, AppDav]:
    """Two applications over one root and one state folder."""
    one, two = make_dav("filesystem"), make_dav("filesystem")
    two.clock = one.clock
    return one, two


def test_lock_of_one_worker_holds_in_the_other(pair: tuple[AppDav, AppDav]) -> None:
    one, two = pair
    two.get("/")  # it has looked at the state before there was a lock
    one.mkcol("/c/")
    one.put("/c/f", b"old")
    lock = one.lock("/c/", owner="<D:owner>me</D:owner>")

    (shown,) = two.locks("/c/f")
    assert shown.findtext(f"{D}owner") == "me"
    assert two.put("/c/f", b"x").status == 423
    assert two.lock_request("/c/f").status == 423
    assert two.put("/c/f", b"two", {"If": lock.untagged}).status == 204
    assert one.get("/c/f").body == b"two"
    assert two.unlock("/c/f", lock.token).status == 204
    assert one.locks("/c/") == []
    assert one.put("/c/f", b"free").status == 204


def test_refresh_by_one_worker_holds_in_the_other(pair: tuple[AppDav, AppDav]) -> None:
    one, two = pair
    lock = one.lock("/f", timeout="Second-100")

    assert two.refresh("/f", lock.token, timeout="Second-500").status == 200

    (shown,) = one.locks("/f")
    assert shown.findtext(f"{D}timeout") == "Second-500"


def test_property_set_by_one_worker_is_read_by_the_other(pair: tuple[AppDav, AppDav]) -> None:
    one, two = pair
    one.put("/f", b"old")
    for number, (writer, reader) in enumerate([(one, two), (two, one)] * 3):
        assert writer.proppatch("/f", set={"{urn:x}a": str(number)}).status == 207
        assert reader.prop("/f", "{urn:x}a").text == str(number)
    assert two.move("/f", "/g").status == 201
    assert one.prop("/g", "{urn:x}a").text == "5"
    assert two.delete("/g").status == 204
    one.put("/g", b"new")
    assert two.prop("/g", "{urn:x}a") is None
