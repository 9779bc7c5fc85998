"""Who may do what where: the first rule that fits, homes, and what is left to everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from davserver.auth.base import ANONYMOUS, Principal, Privilege
from davserver.auth.rules import RuleAuthorizer
from davserver.configtables import Access, Rule, Share
from davserver.protocol.path import DavPath

ALICE = Principal("alice", frozenset({"family"}))
BOB = Principal("bob")
WHO = {"alice": ALICE, "bob": BOB, "": ANONYMOUS}
READ, WRITE = Privilege.READ, Privilege.WRITE


def path(text: str) -> DavPath:
    return DavPath(tuple(part for part in text.split("/") if part))


def share(name: str = "", **keys: Any) -> Share:
    if not name:
        return Share.model_construct(name="", path=Path("/srv"), **keys)
    return Share(name=name, path=Path("/srv") / name, **keys)


def rule(where: str, access: Access, *, users: str = "", groups: str = "") -> Rule:
    return Rule(path=where, access=access, users=tuple(users.split()), groups=tuple(groups.split()))


def authorizer(
    *rules: Rule, shares: tuple[Share, ...] = (share(),), anonymous: Access = "none", **keys: Any
) -> RuleAuthorizer:
    return RuleAuthorizer(shares, rules, anonymous=lambda: anonymous, **keys)


def level(made: RuleAuthorizer, who: str, where: str) -> str:
    """Returns what somebody may do at a path: "none", "read" or "write"."""
    may = [made.permits(WHO[who], privilege, path(where)) for privilege in (READ, WRITE)]
    return {(False, False): "none", (True, False): "read", (True, True): "write"}[may[0], may[1]]


@pytest.mark.security("C-20")
@pytest.mark.parametrize("anonymous", ["none", "read", "write"])
def test_without_rules_users_write_and_others_have_their_level(anonymous: Access) -> None:
    made = authorizer(anonymous=anonymous)

    assert [level(made, who, "/a/b") for who in WHO] == ["write", "write", anonymous]


def test_read_only_means_nobody_writes() -> None:
    everything = rule("/", "write")

    for made in (
        authorizer(everything, read_only=True),
        authorizer(everything, shares=(share(read_only=True),)),
    ):
        assert [level(made, who, "/a") for who in WHO] == ["read", "read", "read"]


RULES = (
    rule("/a/deep", "write", users="bob"),
    rule("/a", "read", groups="family"),
    rule("/a", "none"),
    rule("/b", "read"),
    rule("/b/deep", "write", users="alice"),
)


@pytest.mark.security("A-06", "C-19")
@pytest.mark.parametrize(
    ("where", "alice", "bob", "anonymous"),
    [
        ("/", "write", "write", "read"),
        ("/a", "read", "none", "none"),
        ("/a/deep", "read", "write", "none"),
        ("/a/deep/er", "read", "write", "none"),
        ("/a/other", "read", "none", "none"),
        ("/ab", "write", "write", "read"),
        ("/A", "write", "write", "read"),
        ("/x/a", "write", "write", "read"),
        ("/b", "read", "read", "read"),
        ("/b/deep", "read", "read", "read"),  # the first that fits stands before
    ],
)
def test_the_first_rule_that_fits_decides(where: str, alice: str, bob: str, anonymous: str) -> None:
    made = authorizer(*RULES, anonymous="read")

    assert [level(made, who, where) for who in WHO] == [alice, bob, anonymous]


@pytest.mark.security("C-19")
@pytest.mark.parametrize("name", [".*", "%", "al", "alice2", "*", "ALICE", ""])
def test_names_are_no_patterns(name: str) -> None:
    made = authorizer(rule("/a", "none", users="alice"), rule("/b", "none", groups="family"))
    who = Principal(name, frozenset({name + "x", "famil"}))

    if name:
        assert made.permits(who, WRITE, path("/a"))
        assert made.permits(who, WRITE, path("/b"))


@pytest.mark.security("P-05")
def test_nfc_and_nfd_are_one_path() -> None:
    made = authorizer(rule("/caf\u0065\u0301", "none"))

    assert level(made, "alice", "/caf\u00e9/x") == "none"
    assert level(made, "alice", "/caf\u0065\u0301") == "none"
    assert level(made, "alice", "/cafe") == "write"
    assert level(made, "alice", "/\udcff") == "write"


def test_each_share_says_what_is_for_everybody() -> None:
    shares = (share("a", anonymous="write"), share("b"), share("c", anonymous="none"))
    made = authorizer(shares=shares, anonymous="read")

    assert [level(made, "", where) for where in ("/a", "/b/x", "/c")] == ["write", "read", "none"]
    assert [level(made, "bob", where) for where in ("/a", "/b", "/c")] == ["write"] * 3


@pytest.mark.parametrize(("anonymous", "top"), [("none", "none"), ("read", "read")])
def test_the_top_of_shares_is_for_who_may_see_one_of_them(anonymous: Access, top: str) -> None:
    made = authorizer(shares=(share("a", anonymous=anonymous), share("b")))

    assert [level(made, who, "/") for who in WHO] == ["read", "read", top]
    assert [level(made, who, "/no/share") for who in WHO] == ["read", "read", top]


@pytest.mark.security("A-06")
@pytest.mark.parametrize("name", ["home", ""])
def test_a_home_is_its_users_alone(name: str) -> None:
    top = f"/{name}".rstrip("/")
    shares = (share(name, homes=True, anonymous="write"),)
    made = authorizer(rule(f"{top}/open", "read"), shares=shares)

    assert [level(made, who, f"{top}/alice/x") for who in WHO] == ["write", "none", "none"]
    assert [level(made, who, f"{top}/al") for who in WHO] == ["none"] * 3
    assert [level(made, who, top or "/") for who in WHO] == ["read", "read", "none"]
    assert [level(made, who, f"{top}/open") for who in WHO] == ["read", "read", "read"]


def test_a_rule_opens_a_home_to_others() -> None:
    made = authorizer(
        rule("/home/alice/shared", "read", users="bob"), shares=(share("home", homes=True),)
    )

    assert level(made, "bob", "/home/alice/shared/x") == "read"
    assert level(made, "bob", "/home/alice") == "none"
    assert level(made, "alice", "/home/alice/shared") == "write"


# -- canonical paths -------------------------------------------------------------------------


def folded(spelled: DavPath) -> DavPath:
    return DavPath(tuple(segment.casefold() for segment in spelled.segments))


@pytest.mark.security("A-06", "O-06")
def test_where_case_is_folded_a_rule_is_for_the_folded_path() -> None:
    made = authorizer(rule("/Private", "none"), spell=folded)

    assert made.permits(ALICE, READ, path("/PRIVATE"))
    assert not made.permits_real(ALICE, READ, path("/private/x"))
    assert not made.permits(ALICE, READ, path("/Private"))


def test_where_case_is_folded_a_home_is_still_ones_own() -> None:
    upper = Principal("Alice")
    made = authorizer(shares=(share("home", homes=True),), spell=folded)

    assert made.permits(upper, WRITE, path("/home/Alice/x"))
    assert made.permits_real(upper, WRITE, path("/home/alice/x"))
    assert not made.permits(upper, WRITE, path("/home/alice/x"))
    assert not made.permits_real(BOB, WRITE, path("/home/alice/x"))


# -- trees -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "varies"),
    [("/", True), ("/a", True), ("/a/deep", False), ("/b", True), ("/c", False), ("/a/x", False)],
)
def test_where_rules_lie_below(where: str, varies: bool) -> None:
    assert authorizer(*RULES).varies_below(path(where)) is varies


def test_without_rules_nothing_varies() -> None:
    assert not authorizer().varies_below(path("/"))
    assert not authorizer(shares=(share("a"), share("b"))).varies_below(path("/a"))


def test_shares_and_homes_vary() -> None:
    made = authorizer(shares=(share("a"), share("home", homes=True)))

    assert [made.varies_below(path(where)) for where in ("/", "/a", "/home", "/home/x")] == [
        *(True, False, True, False)
    ]
    assert authorizer(shares=(share(homes=True),)).varies_below(path("/"))


def test_what_is_denied_below() -> None:
    made = authorizer(*RULES)

    def denied(who: Principal, where: str) -> list[str]:
        found = made.denied_below(who, WRITE, path(where))
        return ["/" + "/".join(one.segments) for one in found]

    assert denied(ALICE, "/") == ["/a", "/a/deep", "/b", "/b/deep"]
    assert denied(BOB, "/a") == []
    assert denied(ALICE, "/a") == ["/a/deep"]
    assert denied(ALICE, "/c") == []
    assert authorizer().denied_below(ALICE, WRITE, path("/")) == []


# -- whether to sign in helps ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "where", "read", "write"),
    [
        (authorizer(), "/a", True, True),
        (authorizer(read_only=True), "/a", True, False),
        (authorizer(rule("/a", "none")), "/a/b", False, False),
        (authorizer(rule("/a", "read")), "/a", True, False),
        (authorizer(rule("/a", "read", users="x"), rule("/a", "none")), "/a", True, False),
        (authorizer(rule("/a", "none", users="x")), "/a", True, True),
        (authorizer(shares=(share("h", homes=True),)), "/h", True, False),
        (authorizer(shares=(share("h", homes=True),)), "/h/x", True, True),
        (authorizer(shares=(share("h", homes=True),)), "/", True, False),
        (authorizer(shares=(share("h", read_only=True),)), "/h/x", True, False),
    ],
)
def test_whether_somebody_may(made: RuleAuthorizer, where: str, read: bool, write: bool) -> None:
    assert (made.is_open(READ, path(where)), made.is_open(WRITE, path(where))) == (read, write)
