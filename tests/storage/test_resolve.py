"""Nothing leads out of the root: links, races, encodings; links that stay inside are followed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from davserver import errors
from davserver.errors import EscapesRoot, UnsupportedKind
from davserver.protocol.path import DavPath, Key
from davserver.storage import _linux
from davserver.storage.base import Kind, Located
from davserver.storage.filesystem import FilesystemStorage

P = Callable[[str], DavPath]
Make = Callable[..., FilesystemStorage]
WAYS = {"openat2": frozenset(), "stepwise": frozenset({"openat2"}), "old": frozenset({"statx"})}
SECRET = b"secret"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root, and beside it what nobody may reach."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(SECRET)
    root = tmp_path / "root"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "sub" / "f").write_bytes(b"inside")
    return root


@pytest.fixture(params=list(WAYS))
def make(root: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[FilesystemStorage] = []

    def make(**options: object) -> FilesystemStorage:
        options = {"owner": "me", "fallbacks": WAYS[request.param], **options}
        made.append(FilesystemStorage(root, is_alive=lambda owner: True, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for storage in made:
        storage.close()


def get(storage: FilesystemStorage, path: DavPath) -> bytes:
    reader = storage.open(path)
    try:
        return reader.read_at(0, 100)
    finally:
        reader.close()


def put(storage: FilesystemStorage, path: DavPath, data: bytes) -> None:
    writer = storage.create(path)
    try:
        writer.write(data)
        writer.seal()
        writer.commit(replace=True)
        writer.settle()
    finally:
        writer.discard()


OUTWARD = {
    "absolute directory": ("{outside}", "/secret"),
    "absolute file": ("{outside}/secret", ""),
    "relative directory": ("../outside", "/secret"),
    "relative file": ("../outside/secret", ""),
    "up and down again": ("../root/sub/f", ""),
    "through a directory inside": ("sub/../../outside", "/secret"),
    "absolute, but inside": ("{root}/sub", "/f"),
    "the root of all": ("/", "/etc/passwd"),
    "proc root": ("/proc/self/root", "/etc/passwd"),
    "loop": ("link", ""),
    "loop of two": ("other", ""),
    "through what is missing": ("missing/../../outside/secret", ""),
}


@pytest.mark.security("P-08")
@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize("name", OUTWARD)
def test_a_link_out_of_the_root_is_refused_by_every_call(
    make: Make, root: Path, p: P, name: str
) -> None:
    storage = make()
    text, below = OUTWARD[name]
    os.symlink(text.format(outside=root.parent / "outside", root=root), root / "link")
    os.symlink("link", root / "other")
    path = p("link" + below)
    refused: list[Callable[[], object]] = [
        lambda: storage.open(path),
        lambda: storage.create(path),
        lambda: storage.copy(path, p("copy")),
        lambda: storage.copy(p("sub/f"), path),
        lambda: storage.make_collection(p("link/new") if below else path),
        lambda: storage.scan(path).__enter__(),
        lambda: storage.sync(path),
    ]
    if below:
        refused += [
            lambda: storage.canonical(path),
            lambda: storage.locate(path),
            lambda: storage.stat(path),
            lambda: storage.set_attributes(path, mtime_ns=0),
            lambda: storage.delete(path),
            lambda: storage.rename(path, p("moved")),
            lambda: storage.rename(p("sub/f"), path, replace=True),
            lambda: storage.exchange(p("sub/f"), path),
        ]
    for call in refused:
        with pytest.raises(EscapesRoot):
            call()
    if not below:
        # The link itself is there, as something that is no resource: it can be deleted.
        located = storage.locate(path)
        assert located.key == Key("", b"link")
        assert located.stat is not None
        assert located.stat.kind is Kind.OTHER
        with pytest.raises(UnsupportedKind):
            storage.set_attributes(path, mtime_ns=0)
    with storage.scan(p("")) as entries:
        seen = [entry.name for entry in entries]
    with storage.scan_all(p("")) as entries:
        kinds = {entry.name: entry.stat.kind for entry in entries}
    storage.delete(p("link"))
    storage.close()

    assert seen == ["sub"]
    assert kinds == {"sub": Kind.COLLECTION, "link": Kind.OTHER, "other": Kind.OTHER}
    assert sorted(os.listdir(root)) == ["other", "sub"]
    assert (root.parent / "outside" / "secret").read_bytes() == SECRET
    assert os.listdir(root.parent / "outside") == ["secret"]


@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize(
    ("text", "below", "key"),
    [
        pytest.param("sub", "/f", b"sub/f", id="directory"),
        pytest.param("sub/f", "", b"sub/f", id="file"),
        pytest.param("./sub//.//f", "", b"sub/f", id="dots and slashes"),
        pytest.param("sub/deep/..", "/f", b"sub/f", id="down and up"),
        pytest.param("sub/deep/../../sub/f", "", b"sub/f", id="up to the root"),
        pytest.param("chain", "/f", b"sub/f", id="chain"),
        pytest.param(".", "/sub/f", b"sub/f", id="the root"),
    ],
)
def test_a_link_inside_the_root_is_the_resource_it_names(
    make: Make, root: Path, p: P, text: str, below: str, key: bytes
) -> None:
    storage = make()
    os.symlink(text, root / "link")
    os.symlink("sub", root / "chain")
    path = p("link" + below)
    located = storage.locate(path)
    put(storage, path, b"new")

    assert located.key == Key("", key)
    assert located.stat is not None
    assert get(storage, path) == b"new"
    assert (root / "sub" / "f").read_bytes() == b"new"
    assert (root / "link").is_symlink()
    storage.close()


def test_a_link_to_the_directory_itself_or_above_has_its_key(make: Make, root: Path, p: P) -> None:
    storage = make()
    os.symlink(".", root / "here")
    os.symlink("..", root / "sub" / "up")
    os.symlink("deep/..", root / "sub" / "same")

    assert storage.locate(p("here")).key == Key("", b"")
    assert storage.locate(p("sub/up")).key == Key("", b"")
    assert storage.locate(p("sub/same")).key == Key("", b"sub")
    assert storage.locate(p("here/sub/up/no")) == Located(Key("", b"no"), None)
    with storage.scan(p("here")) as entries:
        assert {entry.name for entry in entries} == {"here", "sub"}


def test_listed_links_have_the_kind_of_what_they_name(make: Make, root: Path, p: P) -> None:
    storage = make()
    os.symlink("f", root / "sub" / "file")
    os.symlink("deep", root / "sub" / "collection")
    os.symlink("no", root / "sub" / "dangling")
    with storage.scan(p("sub")) as entries:
        found = {entry.name: entry.stat for entry in entries}

    assert {name: stat.kind for name, stat in found.items()} == {
        "f": Kind.FILE,
        "deep": Kind.COLLECTION,
        "file": Kind.FILE,
        "collection": Kind.COLLECTION,
    }
    assert found["file"] == found["f"]


def test_a_put_through_a_dangling_link_makes_its_target(make: Make, root: Path, p: P) -> None:
    storage = make()
    os.symlink("sub/new", root / "link")
    located = storage.locate(p("link"))
    put(storage, p("link"), b"new")

    assert located.key == Key("", b"link")
    assert located.stat is not None
    assert located.stat.kind is Kind.OTHER
    assert (root / "sub" / "new").read_bytes() == b"new"
    assert (root / "link").is_symlink()


def test_a_file_in_the_way_of_a_link_is_a_missing_parent(make: Make, root: Path, p: P) -> None:
    storage = make()
    os.symlink("sub/f/", root / "link")

    assert storage.locate(p("link/x")) == Located(Key("", b"sub/f/x"), None)
    assert storage.stat(p("link")).kind is Kind.OTHER
    with pytest.raises(errors.ParentMissing):
        storage.create(p("link"))


def test_removing_and_renaming_a_link_leave_what_it_names(make: Make, root: Path, p: P) -> None:
    storage = make()
    os.symlink("sub", root / "tree")
    os.symlink("sub/f", root / "file")
    storage.delete(p("tree"))
    storage.rename(p("file"), p("renamed"))
    storage.exchange(p("renamed"), p("sub/f"))

    assert sorted(os.listdir(root)) == ["renamed", "sub"]
    assert (root / "renamed").read_bytes() == b"inside"
    assert os.readlink(root / "sub" / "f") == "sub/f"


def test_deny_follows_no_link_at_all(make: Make, root: Path, p: P) -> None:
    storage = make(symlinks="deny")
    os.symlink("sub", root / "link")
    with pytest.raises(EscapesRoot):
        storage.stat(p("link/f"))
    assert storage.stat(p("link")).kind is Kind.OTHER
    with storage.scan(p("")) as entries:
        assert [entry.name for entry in entries] == ["sub"]


@pytest.mark.usefixtures("no_leak")
def test_follow_waives_containment_and_still_gives_one_key(make: Make, root: Path, p: P) -> None:
    storage = make(symlinks="follow")
    outside = root.parent / "outside"
    os.symlink(outside, root / "absolute")
    os.symlink("../outside", root / "relative")
    os.symlink(root / "sub", root / "inward")
    os.symlink("../outside/../root", root / "self")
    put(storage, p("absolute/secret"), b"changed")
    key = storage.locate(p("absolute/secret")).key
    other = storage.locate(p("relative/secret")).key
    inward = storage.locate(p("inward/f")).key
    with storage.scan(p("relative")) as entries:
        seen = [entry.name for entry in entries]
    storage.make_collection(p("relative/new"))
    itself = storage.locate(p("self"))
    below = storage.locate(p("self/sub/f"))
    storage.close()

    assert key == other
    assert key.path.startswith(b"../")
    assert inward == below.key == Key("", b"sub/f")
    assert itself.key == Key("", b"")
    assert itself.stat is not None
    assert seen == ["secret"]
    assert (outside / "secret").read_bytes() == b"changed"
    assert (outside / "new").is_dir()


def test_a_chain_of_forty_links_is_the_limit(make: Make, root: Path, p: P) -> None:
    storage = make()
    os.symlink("sub/f", root / "l0")
    for number in range(1, 42):
        os.symlink(f"l{number - 1}", root / f"l{number}")

    assert storage.locate(p("l39")).key == Key("", b"sub/f")
    assert storage.stat(p("l40")).kind is Kind.OTHER
    with pytest.raises(EscapesRoot):
        storage.open(p("l40"))


@pytest.mark.usefixtures("no_leak")
def test_a_tree_deeper_than_the_kernels_paths_is_reachable(make: Make, root: Path, p: P) -> None:
    storage = make()
    path = p("")
    for _ in range(25):
        path = path.child("d" * 200)
        storage.make_collection(path)
    put(storage, path.child("f"), b"deep")
    content = get(storage, path.child("f"))
    with storage.scan(path) as entries:
        seen = [entry.name for entry in entries]
    located = storage.locate(path)
    storage.close()

    assert content == b"deep"
    assert seen == ["f"]
    assert located.key.path.count(b"/") == 24


@pytest.mark.security("P-09")
@pytest.mark.usefixtures("no_leak")
@pytest.mark.skipif(not _linux.HAS_RENAMEAT2, reason="swaps by renameat2")
def test_swapping_a_directory_for_a_link_never_leads_out(make: Make, root: Path, p: P) -> None:
    storage = make(durability="none")
    outside = root.parent / "outside"
    os.symlink(outside, root / "evil")
    fd = os.open(root, os.O_RDONLY)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            _linux.renameat2(fd, b"sub", fd, b"evil", _linux.RENAME_EXCHANGE)

    thread = threading.Thread(target=swap)
    thread.start()
    contents = set()
    try:
        for number in range(300):
            for call in (
                lambda: contents.add(get(storage, p("sub/secret"))),
                lambda n=number: put(storage, p(f"sub/n{n}"), b"x"),
                lambda n=number: storage.make_collection(p(f"sub/c{n}")),
                lambda: storage.delete(p("sub/secret")),
                lambda: storage.rename(p("sub/secret"), p("stolen")),
                lambda: contents.update(names(storage, p("sub"))),
            ):
                try:
                    call()
                except errors.StorageError:
                    continue
    finally:
        stop.set()
        thread.join()
        os.close(fd)
        storage.close()

    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == SECRET
    assert contents.isdisjoint({SECRET, "secret"})


def names(storage: FilesystemStorage, path: DavPath) -> list[str]:
    with storage.scan(path) as entries:
        return [entry.name for entry in entries]
