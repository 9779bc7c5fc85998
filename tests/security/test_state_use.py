"""How requests use the state: what waits, what never does, and what is no SQL."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from davserver.state import sqlfile
from tests.conftest import AppDav
from tests.support.dav import XML

MakeDav = Callable[..., AppDav]
X = "{urn:t}x"


@pytest.fixture
def dav(make_dav: MakeDav) -> AppDav:
    return make_dav(durability="none", gate_wait_s=0.2)


def other_connection(dav: AppDav) -> apsw.Connection:
    assert dav.root is not None
    return apsw.Connection(str(dav.root.parent / "state" / "state.sqlite3"))


@pytest.mark.security("Q-02", "M-12")
def test_a_writer_that_stays_is_503_with_retry_after_and_reads_go_on(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlfile, "_BUSY_MS", 50)
    dav = make_dav(durability="none", gate_wait_s=0.2)
    dav.put("/f", b"x")
    dav.proppatch("/f", set={X: "old"})
    other = other_connection(dav)
    other.execute("BEGIN EXCLUSIVE")
    refused = [dav.lock_request("/f"), dav.proppatch("/f", set={X: "new"}), dav.lock_request("/n")]

    assert [(reply.status, "retry-after" in reply.headers) for reply in refused] == [
        (503, True)
    ] * 3
    assert dav.get("/f").body == b"x"
    assert dav.prop("/f", X).text == "old"
    assert dav.members("/") == ["/f"]
    other.execute("ROLLBACK")
    other.close()
    assert dav.lock("/f").token


@pytest.mark.security("Q-02")
def test_a_gate_that_stays_closed_is_503_with_retry_after(dav: AppDav) -> None:
    dav.put("/f", b"x")
    services = dav.app.services  # type: ignore[attr-defined]
    other = type(services.state)(dav.root.parent / "state")  # type: ignore[union-attr]
    with other.hold((), wait_s=5):
        replies = [dav.put("/f", b"y"), dav.delete("/f"), dav.lock_request("/f")]
        assert dav.get("/f").body == b"x"
    other.close()

    assert [(reply.status, "retry-after" in reply.headers) for reply in replies] == [
        (503, True)
    ] * 3
    assert dav.put("/f", b"y").status == 204


@pytest.mark.security("M-12", "Q-02")
def test_every_write_begins_as_one(dav: AppDav) -> None:
    """BEGIN alone would fail at once when somebody else has written in between."""
    dav.mkcol("/c/")
    seen: list[str] = []
    session = dav.app.services.state.session()  # type: ignore[attr-defined]
    session.writer._connection.trace_v2(
        apsw.SQLITE_TRACE_STMT, lambda event: seen.append(event["sql"])
    )
    granted = dav.lock("/c/f")
    dav.proppatch("/c/f", set={X: "v"}, headers={"If": granted.untagged})
    dav.unlock("/c/f", granted.token)
    dav.copy("/c/", "/d/")
    dav.move("/d/", "/e/")
    dav.delete("/e/")

    begun = [sql for sql in seen if sql.startswith("BEGIN")]
    assert begun
    assert set(begun) == {"BEGIN IMMEDIATE"}
    inside = False
    for sql in seen:
        word = sql.split()[0]
        if word in ("BEGIN", "COMMIT", "ROLLBACK"):
            inside = word == "BEGIN"
        elif word in ("INSERT", "UPDATE", "DELETE"):
            assert inside, sql


@pytest.mark.security("Q-07")
def test_no_read_of_the_state_is_open_while_a_listing_waits_for_its_client(dav: AppDav) -> None:
    for number in range(600):
        dav.put(f"/{number}", b"x")
    for number in range(20):
        dav.proppatch(f"/{number}", set={X: "v" * 3000})
    dav.lock("/1")
    other = other_connection(dav)
    folded: list[Any] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            # (busy, frames in the log, frames folded in): a reader in the way would make it busy.
            folded.extend(other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = dav.scope("PROPFIND", "/", {"Depth": "1"})
    dav.run(dav.app(scope, receive, send))
    other.close()

    assert len(folded) > 2
    assert {busy for busy, _, _ in folded} == {0}


AWKWARD = st.text(
    st.sampled_from("'\"`;-%_\\?$:@#()[]{}*/ \u00e9\U0001f600ab"), min_size=1, max_size=30
)


@pytest.mark.security("Q-08", "C-10")
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=AWKWARD, value=AWKWARD, other=AWKWARD)
def test_nothing_that_a_client_sends_becomes_sql(
    dav: AppDav, name: str, value: str, other: str
) -> None:
    segment = name.replace("/", "|")
    if segment in (".", ".."):
        return
    target = "/" + quote(segment, safe="")
    assert dav.put(target, b"x").status in (201, 204)
    namespace = quoteattr("urn:" + re.sub(r"[^'$()*;:?@a-z]|[%#]", "", other))
    body = (
        '<propertyupdate xmlns="DAV:"><set><prop>'
        f"<x:p xmlns:x={namespace}>{escape(value)}</x:p></prop></set></propertyupdate>"
    ).encode()
    seen: list[str] = []
    session = dav.app.services.state.session()  # type: ignore[attr-defined]
    connection = session.writer._connection
    connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: seen.append(event["sql"]))
    reply = dav.request("PROPPATCH", target, {"Content-Type": XML}, body)
    assert dav.move(target, "/moved", headers={"Overwrite": "T"}).status in (201, 204)
    connection.trace_v2(0, None)

    assert next(iter(reply.multistatus.values())).keys() == {200}
    assert not [sql for sql in seen if "'" in sql.replace("x''", "") or '"' in sql]
    assert dav.delete("/moved").status == 204
