"""The application and a model of RFC 4918 side by side: after every request the same status, and
the same resources, contents, dead properties and locks."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path as Folder
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from davserver.protocol.headers import Depth
from davserver.protocol.locks import LockScope
from davserver.protocol.path import DavPath
from tests.conftest import make_app_dav
from tests.support.dav import XML
from tests.support.model import Condition, List, Model, Path, Request
from tests.support.reply import Reply
from tests.support.users import TestUsers

NS = "{http://example.org/ns}"
LOCKINFO = (
    b'<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:%s/></D:lockscope>'
    b"<D:locktype><D:write/></D:locktype></D:lockinfo>"
)
UNKNOWN = "urn:uuid:00000000-0000-4000-8000-000000000000"

PATHS: list[Path] = [("a",), ("a", "b"), ("a", "b", "c"), ("a", "e"), ("d",), ("d", "b")]
ROOTED: list[Path] = [(), *PATHS]
# A path, or (two times of three) whichever there is just now: else most would be 404.
paths = some.tuples(some.sampled_from([True, True, False]), some.integers(0, 11))
with_root = some.tuples(some.just(None), some.integers(0, 11)) | paths
Place = tuple[bool | None, int]
who = some.sampled_from(["alice", "alice", "bob"])
depths = some.sampled_from([None, "0", "infinity"])
numbers = some.integers(0, 7)
matches = some.sampled_from([None, None, None, "current", '"stale"', "*"])

# An If field, to be filled with what exists when it is sent: "all" submits every token of the
# asker, always true; else lists of (negated, "token" | "etag" | "no-lock", which).
conditions = some.tuples(
    some.booleans(), some.sampled_from(["token", "token", "etag", "no-lock"]), numbers
)
lists = some.tuples(
    some.booleans(),
    some.lists(
        some.tuples(some.sampled_from(ROOTED), some.lists(conditions, min_size=1, max_size=2)),
        min_size=1,
        max_size=2,
    ),
)
headers_if = some.sampled_from(["all", "all", None]) | lists


class Machine(RuleBasedStateMachine):
    """One application over a folder and SQLite, with two users."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.dav = make_app_dav(
            Folder(self.folder.name),
            "filesystem",
            overrides={"authenticator": TestUsers()},
            durability="none",
        )
        assert self.dav.root is not None
        self.root = self.dav.root
        self.model = Model()
        self.model.now = self.dav.clock.now
        self.written = 0
        self.tags: dict[str, bytes] = {}
        self.given_up: list[str] = [UNKNOWN]

    def teardown(self) -> None:
        self.dav.close()
        self.folder.cleanup()

    @initialize(
        inner=some.booleans(),
        locks=some.lists(some.tuples(paths, who, depths, some.booleans()), max_size=3),
    )
    def begin(self, inner: bool, locks: list[tuple[Place, str, str | None, bool]]) -> None:
        self.ask(Request("MKCOL", ("a",), "alice"))
        if inner:
            self.ask(Request("MKCOL", ("a", "b"), "alice"))
            self.ask(Request("PUT", ("a", "b", "c"), "bob", body=b"first"))
            self.ask(Request("PUT", ("a", "e"), "bob", body=b"first"))
            self.ask(Request("PUT", ("d",), "bob", body=b"first"))
        else:
            self.ask(Request("PUT", ("a", "b"), "alice", body=b"first"))
            self.ask(Request("MKCOL", ("d",), "alice"))
            self.ask(Request("PUT", ("d", "b"), "alice", body=b"first"))
        for place, user, depth, exclusive in locks:
            path = self.path(place)
            self.ask(Request("LOCK", path, user, depth=depth, exclusive=exclusive))

    # -- rules -------------------------------------------------------------------------------

    @rule(place=paths, who=who, if_=headers_if, match=matches)
    def get(self, place: Place, who: str, if_: Any, match: str | None) -> None:
        path = self.path(place)
        self.ask(self.request("GET", path, who, if_, if_match=self.tag(path, match)))

    @rule(place=paths, who=who, if_=headers_if, match=matches, none=some.sampled_from([None, "*"]))
    def put(self, place: Place, who: str, if_: Any, match: str | None, none: str | None) -> None:
        path = self.path(place)
        self.written += 1
        body = b"%d " % self.written * 10
        tag = self.tag(path, match)
        request = self.request("PUT", path, who, if_, if_match=tag, if_none_match=none, body=body)
        self.ask(request)

    @rule(place=paths, who=who, if_=headers_if)
    def mkcol(self, place: Place, who: str, if_: Any) -> None:
        path = self.path(place)
        self.ask(self.request("MKCOL", path, who, if_))

    @rule(place=paths, who=who, if_=headers_if, match=matches)
    def delete(self, place: Place, who: str, if_: Any, match: str | None) -> None:
        path = self.path(place)
        self.ask(self.request("DELETE", path, who, if_, if_match=self.tag(path, match)))

    @rule(
        place=paths, to=paths, who=who, if_=headers_if, depth=depths,
        overwrite=some.sampled_from([None, "T", "T", "F"]),
    )  # fmt: skip
    def copy(
        self, place: Place, to: Place, who: str, if_: Any, depth: str | None, overwrite: str | None
    ) -> None:
        path = self.path(place)
        rest = {"destination": self.other(path, to), "depth": depth, "overwrite": overwrite}
        self.ask(self.request("COPY", path, who, if_, **rest))

    @rule(
        place=paths, to=paths, who=who, if_=headers_if,
        overwrite=some.sampled_from([None, "T", "T", "F"]),
    )  # fmt: skip
    def move(self, place: Place, to: Place, who: str, if_: Any, overwrite: str | None) -> None:
        path = self.path(place)
        self.ask(
            self.request(
                "MOVE", path, who, if_, destination=self.other(path, to), overwrite=overwrite
            )
        )

    @rule(
        place=with_root, who=who, if_=headers_if, depth=depths, exclusive=some.booleans(),
        timeout_s=some.sampled_from([100, 3600]),
    )  # fmt: skip
    def lock(
        self, place: Place, who: str, if_: Any, depth: str | None, exclusive: bool, timeout_s: int
    ) -> None:
        path = self.path(place)
        rest = {"depth": depth, "exclusive": exclusive, "timeout_s": timeout_s}
        self.ask(self.request("LOCK", path, who, if_, **rest))

    @rule(place=with_root, who=who, which=numbers)
    def refresh(self, place: Place, who: str, which: int) -> None:
        path = self.path(place)
        token = self.token(which)
        lists = (List((Condition(token=token),)),)
        request = self.request("REFRESH", path, who, None, token=token)
        self.ask(dataclasses.replace(request, lists=lists))

    @rule(place=with_root, who=who, which=numbers, at_root=some.booleans(), own=some.booleans())
    def unlock(self, place: Place, who: str, which: int, at_root: bool, own: bool) -> None:
        path = self.path(place)
        token = self.token(which)
        for lock in self.model.locks:
            if lock.token == token:
                path = lock.root if at_root else path
                who = lock.principal if own else who
        self.ask(self.request("UNLOCK", path, who, None, token=token))

    @rule(
        place=with_root, who=who, if_=headers_if,
        changes=some.lists(
            some.tuples(some.sampled_from(["p", "q"]), some.sampled_from([None, "1", "2"])),
            min_size=1, max_size=3,
        ),
    )  # fmt: skip
    def proppatch(
        self, place: Place, who: str, if_: Any, changes: list[tuple[str, str | None]]
    ) -> None:
        path = self.path(place)
        self.ask(self.request("PROPPATCH", path, who, if_, changes=tuple(changes)))

    @rule(seconds=some.sampled_from([60, 4000]))
    def wait(self, seconds: float) -> None:
        before = {lock.token for lock in self.model.locks}
        self.dav.clock.pass_s(seconds)
        self.model.pass_s(seconds)
        self.given_up += sorted(before - {lock.token for lock in self.model.locks})
        self.compare()

    # -- what is sent ------------------------------------------------------------------------

    def path(self, place: Place) -> Path:
        is_there, which = place
        there = sorted(path for path in self.model.resources if path) if is_there else []
        known = there or (ROOTED if is_there is None else PATHS)
        return known[which % len(known)]

    def other(self, path: Path, place: Place) -> Path:
        """Mostly another path: onto itself is one case among many."""
        is_there, which = place
        found = self.path(place)
        return self.path((is_there, which + 1)) if found == path and which else found

    def token(self, which: int) -> str:
        known = [lock.token for lock in self.model.locks] + self.given_up[-2:]
        return known[which % len(known)]

    def tag(self, path: Path, match: str | None) -> str | None:
        if match != "current":
            return match
        found = self.model.resources.get(path)
        return found.etag if found and found.etag else '"none"'

    def request(self, method: str, path: Path, who: str, if_: Any, **rest: Any) -> Request:
        return Request(method, path, who, lists=self.lists(who, if_), **rest)

    def lists(self, who: str, if_: Any) -> tuple[List, ...]:
        if if_ is None:
            return ()
        if if_ == "all":
            mine = [lock.token for lock in self.model.locks if lock.principal == who]
            always = List((Condition(True, "DAV:no-lock"),))
            return (*(List((Condition(token=token),)) for token in mine), always)
        is_tagged, content = if_
        return tuple(
            List(tuple(map(self.condition, each)), path if is_tagged else None)
            for path, each in content
        )

    def condition(self, drawn: tuple[bool, str, int]) -> Condition:
        negated, kind, which = drawn
        if kind == "token":
            return Condition(negated, self.token(which))
        if kind == "no-lock":
            return Condition(negated, "DAV:no-lock")
        tags = [one.etag for one in self.model.resources.values() if one.etag] or ['"none"']
        return Condition(negated, etag=tags[which % len(tags)])

    def ask(self, request: Request) -> None:
        """Sends the request and holds the answer, and everything after it, against the model."""
        resources = dict(self.model.resources)
        reply = self.send(request)
        if request.method == "LOCK" and reply.status in (200, 201):
            token = reply.headers["lock-token"][1:-1]
            assert token not in self.given_up
            request = dataclasses.replace(request, token=token)
        before = {lock.token for lock in self.model.locks}

        expected = self.model.answer(request)

        assert expected == reply.status, (request, reply, resources, self.model.locks)
        self.given_up += sorted(before - {lock.token for lock in self.model.locks})
        if request.method == "GET" and reply.status == 200:
            found = self.model.resources[request.path]
            assert found.is_collection or found.content == reply.body
        self.compare(
            reply.headers.get("etag") if request.method in ("PUT", "GET") else None, request
        )

    def send(self, request: Request) -> Reply:
        fields = [("Authorization", f"Test {request.principal}")]
        body = request.body
        if request.lists:
            fields.append(("If", " ".join(map(_list, request.lists))))
        if request.depth is not None:
            fields.append(("Depth", request.depth))
        if request.overwrite is not None:
            fields.append(("Overwrite", request.overwrite))
        if request.if_match is not None:
            fields.append(("If-Match", request.if_match))
        if request.if_none_match is not None:
            fields.append(("If-None-Match", request.if_none_match))
        if request.method in ("COPY", "MOVE"):
            fields.append(("Destination", href(request.destination)))
        if request.method == "UNLOCK":
            fields.append(("Lock-Token", f"<{request.token}>"))
        if request.method == "LOCK":
            fields.append(("Timeout", f"Second-{request.timeout_s}"))
            body = LOCKINFO % (b"exclusive" if request.exclusive else b"shared")
        if request.method == "PROPPATCH":
            body = _update(request.changes)
        if body and request.method != "PUT":
            fields.append(("Content-Type", XML))
        method = "LOCK" if request.method == "REFRESH" else request.method
        return self.dav.request(method, href(request.path), fields, body)

    # -- what there is now -------------------------------------------------------------------

    def compare(self, told: str | None = None, request: Request | None = None) -> None:
        names = ["{DAV:}resourcetype", "{DAV:}getetag", "{DAV:}lockdiscovery", NS + "p", NS + "q"]
        fields = {"Authorization": "Test alice"}
        found = self.dav.propfind("/", props=names, depth="infinity", headers=fields)
        expected = {
            href(path, self.model.is_collection(path)): path for path in self.model.tree(())
        }

        assert expected.keys() == set(found.hrefs)
        for name, path in expected.items():
            self.compare_one(path, found.ok(name))
        if told is not None and request is not None:
            assert told == self.model.resources[request.path].etag
        assert self.held() == {
            (lock.token, lock.root, lock.exclusive, lock.infinite, lock.principal, lock.expires_at)
            for lock in self.model.locks
        }
        assert list(self.root.rglob(".davserver*")) == []

    def compare_one(self, path: Path, found: dict[str, Any]) -> None:
        resource = self.model.resources[path]
        dead = {name: found[NS + name].text for name in "pq" if NS + name in found}
        assert resource.properties == dead
        shown = [
            lock.findtext("{DAV:}lockroot/{DAV:}href") for lock in found["{DAV:}lockdiscovery"]
        ]
        covering = [lock.root for lock in self.model.covering(path)]
        assert sorted(shown) == sorted(
            href(root, self.model.is_collection(root)) for root in covering
        )
        on_disk = self.root.joinpath(*path)
        if resource.content is None:
            assert on_disk.is_dir()
            return
        assert on_disk.read_bytes() == resource.content
        tag = found["{DAV:}getetag"].text
        # RFC 9110 section 8.8.1: never one entity-tag for two contents, nor two for one version.
        assert resource.etag in (None, tag)
        assert self.tags.setdefault(tag, resource.content) == resource.content
        resource.etag = tag

    def held(self) -> set[tuple[str, Path, bool, bool, str, float]]:
        services = self.dav.app.services
        root = services.storage.canonical(DavPath(()))
        now = self.dav.clock.now
        state = services.state
        locks = [*state.covering(root, now=now), *state.beneath(root, now=now)]
        return {
            (
                lock.token,
                tuple(lock.key.path.decode().split("/")) if lock.key.path else (),
                lock.scope is LockScope.EXCLUSIVE,
                lock.depth is Depth.INFINITY,
                lock.principal,
                lock.expires_at,
            )
            for lock in locks
        }


def href(path: Path, is_collection: bool = False) -> str:
    return "/" + "/".join(path) + ("/" if is_collection and path else "")


def _list(one: List) -> str:
    tag = "" if one.tag is None else f"<{href(one.tag)}> "
    return f"{tag}({' '.join(map(str, one.conditions))})"


def _update(changes: tuple[tuple[str, str | None], ...]) -> bytes:
    parts = []
    for name, value in changes:
        kind = "remove" if value is None else "set"
        element = f'<{name} xmlns="{NS[1:-1]}">{value or ""}</{name}>'
        parts.append(f"<D:{kind}><D:prop>{element}</D:prop></D:{kind}>")
    return f'<D:propertyupdate xmlns:D="DAV:">{"".join(parts)}</D:propertyupdate>'.encode()


def run(*, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.rfc("IF-01", "IF-02", "LM-01", "LM-02", "LM-04", "CL-01", "MV-06", "MV-07", "CP-08")
@pytest.mark.security("O-02")
@pytest.mark.timeout(400)  # it takes 20 s, unless there is an example to make smaller
def test_application_answers_as_the_model() -> None:
    run(examples=35, steps=40)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_application_answers_as_the_model_for_long() -> None:
    run(examples=700, steps=60)
