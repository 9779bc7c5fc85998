"""Answers to requests that have a key: as rows of the table `answers`, or in memory."""

from __future__ import annotations

from collections.abc import Callable

from davserver.state.base import Answer
from davserver.state.rows import Executor

_COLUMNS = "principal, key, digest, owner, expires_at, status, body FROM answers"
_IT = "principal = ? AND key = ?"


class SqlAnswers:
    """Answers in a database.

    Args:
        begin: begins the transaction, if it has not yet.
    """

    def __init__(self, db: Executor, begin: Callable[[], None]) -> None:
        self._db = db
        self._begin = begin

    def find(self, principal: str, key: str, *, now: float) -> Answer | None:
        query = f"SELECT {_COLUMNS} WHERE {_IT} AND expires_at > ?"
        found = self._db.query(query, (principal, key, now))
        return Answer(*found[0]) if found else None

    def keep(self, answer: Answer) -> None:
        self._begin()
        self._db.query(
            "INSERT OR REPLACE INTO answers VALUES(?,?,?,?,?,?,?)",
            (
                answer.principal,
                answer.key,
                answer.digest,
                answer.owner,
                answer.expires_at,
                answer.status,
                answer.body,
            ),
        )

    def remove(self, principal: str, key: str) -> None:
        self._begin()
        self._db.query(f"DELETE FROM answers WHERE {_IT}", (principal, key))

    def tidy(self, principal: str, *, now: float, most: int) -> None:
        self._begin()
        self._db.query("DELETE FROM answers WHERE expires_at <= ?", (now,))
        self._db.query(
            "DELETE FROM answers WHERE principal = ? AND key IN (SELECT key FROM answers"
            " WHERE principal = ? ORDER BY expires_at DESC LIMIT -1 OFFSET ?)",
            (principal, principal, most),
        )


class MemoryAnswers:
    """Answers in a dictionary. For who is in the gate, where nobody else is.

    Args:
        undo: what takes back each change goes to its end.
    """

    def __init__(self, undo: list[Callable[[], object]]) -> None:
        self._undo = undo
        self._answers: dict[tuple[str, str], Answer] = {}

    def find(self, principal: str, key: str, *, now: float) -> Answer | None:
        found = self._answers.get((principal, key))
        return None if found is None or found.expires_at <= now else found

    def keep(self, answer: Answer) -> None:
        self._put((answer.principal, answer.key), answer)

    def remove(self, principal: str, key: str) -> None:
        self._put((principal, key), None)

    def tidy(self, principal: str, *, now: float, most: int) -> None:
        own = [(a.expires_at, name) for name, a in self._answers.items() if name[0] == principal]
        surplus = {name for _, name in sorted(own)[: max(0, len(own) - most)]}
        for name, answer in list(self._answers.items()):
            if answer.expires_at <= now or name in surplus:
                self._put(name, None)

    def _put(self, name: tuple[str, str], answer: Answer | None) -> None:
        old = self._answers.get(name)
        self._undo.append(lambda: self._store(name, old))
        self._store(name, answer)

    def _store(self, name: tuple[str, str], answer: Answer | None) -> None:
        if answer is None:
            self._answers.pop(name, None)
        else:
            self._answers[name] = answer
