"""What an atomic change needs of every Storage: versions that are staged, attributes that come
back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from davserver.errors import ResourceNotFound, StorageFailure
from davserver.protocol.path import DavPath
from davserver.storage.base import Capability, Storage
from tests.storage.test_contract import get, members, put

P = Callable[[str], DavPath]


def stage(storage: Storage, path: DavPath, data: bytes, hidden: DavPath) -> object:
    writer = storage.create(path)
    try:
        writer.write(data)
        writer.seal()
        return writer.stage(hidden)
    finally:
        writer.discard()


def test_a_staged_version_is_seen_by_nobody_until_it_is_renamed(storage: Storage, p: P) -> None:
    hidden = storage.hidden(p("f"))
    stat = stage(storage, p("f"), b"new", hidden)
    before = members(storage, p(""))
    storage.rename(hidden, p("f"))

    assert before == {}
    assert get(storage, p("f")) == b"new"
    assert storage.stat(p("f")) == stat


def test_a_version_is_staged_once(storage: Storage, p: P) -> None:
    writer = storage.create(p("f"))
    writer.write(b"new")
    writer.seal()
    hidden = storage.hidden(p("f"))
    writer.stage(hidden)

    with pytest.raises(StorageFailure):
        writer.commit(replace=True)
    writer.discard()
    storage.delete(hidden)
    assert members(storage, p("")) == {}


def test_a_staged_version_has_the_mode_of_what_it_is_to_replace(storage: Storage, p: P) -> None:
    put(storage, p("f"), b"old")
    storage.set_attributes(p("f"), executable=True)
    hidden = storage.hidden(p("f"))
    stage(storage, p("f"), b"new", hidden)
    storage.rename(hidden, p("f"), replace=True)

    assert get(storage, p("f")) == b"new"
    assert storage.stat(p("f")).executable is (Capability.EXECUTABLE in storage.capabilities)


@pytest.mark.parametrize("name", ["f", "c"])
def test_attributes_come_back_to_the_nanosecond(storage: Storage, p: P, name: str) -> None:
    """Also a whole second, which is never given twice."""
    put(storage, p("f"), b"x")
    storage.make_collection(p("c"))
    first = storage.attributes(p(name))
    whole = {**first, "mtime_ns": 1_000_000_000}
    storage.restore(p(name), whole)
    before = storage.stat(p(name))
    kept = storage.attributes(p(name))
    storage.set_attributes(p(name), mtime_ns=5_000_000_000)
    if name == "f":
        storage.set_attributes(p(name), executable=True)
    storage.restore(p(name), kept)

    assert kept == whole
    assert storage.stat(p(name)) == before


def test_what_is_missing_has_no_attributes(storage: Storage, p: P) -> None:
    with pytest.raises(ResourceNotFound):
        storage.attributes(p("none"))
    with pytest.raises(ResourceNotFound):
        storage.restore(p("none"), {})
