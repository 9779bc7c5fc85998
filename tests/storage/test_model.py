"""Backends against a dictionary: whatever the order of calls, they agree."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from davserver.errors import StorageError
from davserver.protocol.path import DavPath
from davserver.storage.base import Kind, Storage
from davserver.storage.filesystem import FALLBACKS, FilesystemStorage
from davserver.storage.memory import MemoryStorage

paths = some.lists(some.sampled_from(["a", "b", "ä"]), min_size=1, max_size=3).map(tuple)
contents = some.binary(max_size=20)
Model = dict[tuple[str, ...], bytes | None]
"""Path to content, None for a collection."""


class Machine(RuleBasedStateMachine):
    """One storage and its model; a call succeeds in both or in neither."""

    fallbacks: frozenset[str] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.model: Model = {(): None}
        self.folder = tempfile.TemporaryDirectory()
        self.storage: Storage = MemoryStorage()
        if self.fallbacks is not None:
            self.storage = FilesystemStorage(
                Path(self.folder.name),
                owner="me",
                is_alive=lambda owner: True,
                durability="none",
                fallbacks=self.fallbacks,
            )

    def teardown(self) -> None:
        actual = self.read_all(DavPath(()))
        self.storage.close()
        self.folder.cleanup()

        assert self.model == actual

    def read_all(self, path: DavPath) -> Model:
        found: Model = {path.segments: None}
        with self.storage.scan_all(path) as entries:
            for entry in list(entries):
                child = path.child(entry.name)
                if entry.stat.kind is Kind.COLLECTION:
                    found |= self.read_all(child)
                else:
                    reader = self.storage.open(child)
                    found[child.segments] = reader.read_at(0, 100)
                    reader.close()
        return found

    def is_creatable(self, path: tuple[str, ...]) -> bool:
        return path not in self.model and self.model.get(path[:-1], b"") is None

    def has_members(self, path: tuple[str, ...]) -> bool:
        return any(other[: len(path)] == path != other for other in self.model)

    def move(self, source: tuple[str, ...], target: tuple[str, ...]) -> Model:
        moved = {key for key in self.model if key[: len(source)] == source}
        return {target + key[len(source) :]: self.model.pop(key) for key in moved}

    def fails(self, call: str, *args: object, **options: object) -> bool:
        try:
            getattr(self.storage, call)(*args, **options)
        except StorageError:
            return True
        return False

    @rule(path=paths, data=contents, replace=some.booleans())
    def put(self, path: tuple[str, ...], data: bytes, replace: bool) -> None:
        old = self.model.get(path)
        expected = self.is_creatable(path) or (replace and old is not None)
        try:
            writer = self.storage.create(DavPath(path))
            try:
                writer.write(data)
                writer.seal()
                writer.commit(replace=replace)
                writer.settle()
            finally:
                writer.discard()
        except StorageError:
            assert not expected
        else:
            assert expected
            self.model[path] = data

    @rule(path=paths)
    def make_collection(self, path: tuple[str, ...]) -> None:
        expected = self.is_creatable(path)
        assert self.fails("make_collection", DavPath(path)) is not expected
        if expected:
            self.model[path] = None

    @rule(path=paths)
    def delete(self, path: tuple[str, ...]) -> None:
        expected = path in self.model and not self.has_members(path)
        assert self.fails("delete", DavPath(path)) is not expected
        if expected:
            del self.model[path]

    @rule(source=paths, to=paths)
    def copy(self, source: tuple[str, ...], to: tuple[str, ...]) -> None:
        data = self.model.get(source)
        expected = data is not None and self.is_creatable(to)
        assert self.fails("copy", DavPath(source), DavPath(to)) is not expected
        if expected:
            self.model[to] = data

    @rule(source=paths, to=paths, replace=some.booleans())
    def rename(self, source: tuple[str, ...], to: tuple[str, ...], replace: bool) -> None:
        both_files = None not in (self.model.get(source), self.model.get(to))
        inside = to[: len(source)] == source
        expected = source in self.model and (
            (self.is_creatable(to) and not inside) or (replace and both_files)
        )
        failed = self.fails("rename", DavPath(source), DavPath(to), replace=replace)
        assert failed is not expected
        if expected:
            self.model |= self.move(source, to)

    @rule(a=paths, b=paths)
    def exchange(self, a: tuple[str, ...], b: tuple[str, ...]) -> None:
        nested = a != b and (a[: len(b)] == b or b[: len(a)] == a)
        expected = a in self.model and b in self.model and not nested
        assert self.fails("exchange", DavPath(a), DavPath(b)) is not expected
        if expected and a != b:
            one, other = self.move(a, b), self.move(b, a)
            self.model |= one | other

    @rule(path=paths)
    def look(self, path: tuple[str, ...]) -> None:
        stat = self.storage.locate(DavPath(path)).stat
        data = self.model.get(path, b"")

        assert (stat is not None) is (path in self.model)
        if stat is not None:
            assert (data is None) is (stat.kind is Kind.COLLECTION)
            assert stat.size == len(data or b"")


@pytest.mark.parametrize(
    "fallbacks",
    [
        pytest.param(None, id="memory"),
        pytest.param(frozenset(), id="file system"),
        pytest.param(FALLBACKS, id="file system with no feature"),
    ],
)
@pytest.mark.timeout(60)
def test_a_storage_agrees_with_a_dictionary(fallbacks: frozenset[str] | None) -> None:
    machine = type("Machine", (Machine,), {"fallbacks": fallbacks})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
