"""What has no second binding costs no statement more, whatever else is bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from davserver.state.sqlfile import Database
from tests.conftest import AppDav
from tests.support.binding import bind

MakeDav = Callable[..., AppDav]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    query = Database.query

    def counted(self: Any, sql: str, bindings: Any = ()) -> Any:
        asked.append(sql)
        return query(self, sql, bindings)

    monkeypatch.setattr(Database, "query", counted)
    return asked


def test_resources_without_bindings_ask_no_more_when_there_are_some(
    make_dav: MakeDav, statements: list[str]
) -> None:
    dav = make_dav("filesystem", durability="none")
    dav.mkcol("/c/")
    dav.mkcol("/b/")
    dav.put("/c/f", b"")
    dav.put("/b/f", b"")
    lock = dav.lock("/c/f")
    token = {"If": lock.untagged}

    def cost() -> dict[str, list[str]]:
        found = {}
        for name, act in {
            "GET": lambda: dav.get("/c/f"),
            "PROPFIND": lambda: dav.propfind("/c/", b"", depth="1"),
            "PUT": lambda: dav.put("/c/f", b"new", token),
            "PUT new": lambda: (dav.put("/c/n", b""), dav.delete("/c/n")),
            "LOCK": lambda: dav.refresh("/c/f", lock.token),
        }.items():
            act()
            statements.clear()
            act()
            found[name] = list(statements)
        return found

    cost()  # what a first PUT stores is there from now on
    before = cost()
    bind(dav, "/b/", "g", "/b/f")
    bind(dav, "/b/", "loop", "/b/")
    after = cost()

    assert after == before
    assert before["GET"] == []
