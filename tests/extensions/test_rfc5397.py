"""current-user-principal (RFC 5397), and the URL that it names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import AppDav
from tests.support.users import TestUsers, User

MakeDav = Callable[..., AppDav]
D = "{DAV:}"
PRINCIPAL = f"{D}current-user-principal"
NAMES = {
    "alice": "alice",
    "Ägypten & <co>": "%C3%84gypten%20%26%20%3Cco%3E",
    "bob@example.org": "bob%40example.org",
}


@pytest.fixture
def carrier(make_dav: MakeDav) -> AppDav:
    return make_dav("memory", prefix="/dav", overrides={"authenticator": TestUsers()})


class Named(User):
    """A user whose name is sent as UTF-8."""

    def __init__(self, carrier: AppDav, name: str) -> None:
        super().__init__(carrier, name.encode().decode("latin-1"))


@pytest.mark.rfc("CU-01")
def test_nobody_in_particular_is_unauthenticated(dav: AppDav) -> None:
    dav.put("/f", b"x")

    found = dav.propfind("/", props=[PRINCIPAL], depth="1")

    for href in ("/", "/f"):
        (child,) = found[href][200][PRINCIPAL]
        assert child.tag == f"{D}unauthenticated"


@pytest.mark.rfc("CU-01")
@pytest.mark.parametrize(("name", "quoted"), NAMES.items(), ids=str)
def test_who_is_signed_in_is_told_the_url_of_the_own_principal(
    carrier: AppDav, name: str, quoted: str
) -> None:
    user = Named(carrier, name)

    for target in ("/dav/", "/"):
        (href,) = user.prop(target, PRINCIPAL)
        assert (href.tag, href.text) == (f"{D}href", f"/dav/.davserver/principals/{quoted}/")


@pytest.mark.rfc("CU-01")
def test_it_is_protected_and_only_shown_when_named(carrier: AppDav) -> None:
    alice = User(carrier, "alice")
    alice.put("/dav/f", b"x")

    reply = alice.proppatch("/dav/f", set={PRINCIPAL: "bob"})
    everything = alice.propfind("/dav/f")["/dav/f"][200]
    names = alice.propfind("/dav/f", '<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>')[
        "/dav/f"
    ][200]

    assert list(reply.multistatus["/dav/f"]) == [403]
    assert PRINCIPAL not in everything
    assert PRINCIPAL in names


@pytest.mark.parametrize(("name", "quoted"), NAMES.items(), ids=str)
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_principal_is_a_resource(carrier: AppDav, name: str, quoted: str, slash: str) -> None:
    user = Named(carrier, name)
    href = f"/dav/.davserver/principals/{quoted}/"
    props = [f"{D}displayname", f"{D}resourcetype", f"{D}principal-URL", f"{D}getetag", PRINCIPAL]

    answer = user.propfind(href.rstrip("/") + slash, props=props)

    found = answer[href]
    assert found[200][f"{D}displayname"].text == name
    assert [child.tag for child in found[200][f"{D}resourcetype"]] == [f"{D}principal"]
    assert found[200][f"{D}principal-URL"][0].text == href
    assert found[200][PRINCIPAL][0].text == href
    assert list(found[404]) == [f"{D}getetag"]


PROPNAME = '<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>'
NOTHING = '<D:propfind xmlns:D="DAV:"><D:prop/></D:propfind>'
UNKNOWN = '<D:propfind xmlns:D="DAV:"><D:prop><x xmlns="u:"/></D:prop></D:propfind>'
INCLUDE = (
    '<D:propfind xmlns:D="DAV:"><D:allprop/><D:include><D:principal-URL/></D:include></D:propfind>'
)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        pytest.param("", {200: {"displayname", "resourcetype"}}, id="allprop"),
        pytest.param(
            INCLUDE, {200: {"displayname", "resourcetype", "principal-URL"}}, id="include"
        ),
        pytest.param(
            PROPNAME,
            {
                200: {
                    *("displayname", "resourcetype", "principal-URL", "alternate-URI-set"),
                    *("group-membership", "current-user-principal"),
                }
            },
            id="propname",
        ),
        pytest.param(NOTHING, {200: set()}, id="nothing"),
        pytest.param(UNKNOWN, {404: {"{u:}x"}}, id="unknown"),
    ],
)
def test_what_a_principal_shows(carrier: AppDav, body: str, outcome: dict[int, set[str]]) -> None:
    answer = User(carrier, "alice").propfind("/dav/.davserver/principals/alice/", body)

    (groups,) = answer.values()
    assert {
        status: {name.removeprefix(D) for name in names} for status, names in groups.items()
    } == outcome


@pytest.mark.parametrize("method", ["OPTIONS", "PROPFIND", "GET", "PUT", "DELETE", "LOCK"])
def test_nobody_learns_whether_there_is_another_user(carrier: AppDav, method: str) -> None:
    alice = User(carrier, "alice")

    replies = [
        alice.request(method, f"/dav/.davserver/principals/{name}/") for name in ("bob", "nobody")
    ]

    assert [reply.status for reply in replies] == [404, 404]
    assert replies[0].body == replies[1].body


@pytest.mark.parametrize("name", ["", "alice", "anonymous"])
def test_nobody_in_particular_has_no_principal(dav: AppDav, name: str) -> None:
    reply = dav.request("PROPFIND", f"/.davserver/principals/{name}/", {"Depth": "0"})

    assert reply.status == 404


def test_a_principal_asks_for_sign_in(carrier: AppDav) -> None:
    reply = carrier.request("PROPFIND", "/dav/.davserver/principals/alice/", {"Depth": "0"})

    assert reply.status == 401


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "MKCOL", "LOCK", "PROPPATCH"])
def test_a_principal_is_only_asked_for_properties(carrier: AppDav, method: str) -> None:
    reply = User(carrier, "alice").request(method, "/dav/.davserver/principals/alice/")

    assert reply.status == 405
    assert reply.headers["allow"] == "OPTIONS, PROPFIND"


def test_a_principal_answers_options(carrier: AppDav) -> None:
    reply = User(carrier, "alice").options("/dav/.davserver/principals/alice/")

    assert reply.status == 200
    assert reply.headers.tokens("dav")[0] == "1"


@pytest.mark.rfc("PR-02")
@pytest.mark.parametrize(
    ("asked", "found"), [(["displayname", "none"], ["displayname"]), (["none"], [])]
)
def test_a_minimal_answer_leaves_out_what_a_principal_has_not(
    carrier: AppDav, asked: list[str], found: list[str]
) -> None:
    href = "/dav/.davserver/principals/alice/"
    props = [f"{D}{name}" for name in asked]
    minimal = {"Prefer": "return=minimal"}
    answer = User(carrier, "alice").propfind(href, props=props, headers=minimal)

    assert {status: list(names) for status, names in answer[href].items()} == {
        200: [f"{D}{name}" for name in found]
    }
