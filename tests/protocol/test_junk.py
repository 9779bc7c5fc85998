"""What counts as junk, and what a policy says of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from davserver.protocol.junk import JunkPolicy, is_junk, is_listed, is_refused

JUNK = [
    *(".DS_Store", ".ds_store", "._.DS_Store", "._a", "._", ".Spotlight-V100", ".Trashes"),
    *(".fseventsd", ".TemporaryItems", ".apdisk", "Thumbs.db", "THUMBS.DB", "desktop.ini"),
    *("Desktop.ini", "$RECYCLE.BIN", "System Volume Information", "ehthumbs.db"),
]
KEPT = [
    *("", ".", "_a", ".a", ".DS_Store2", "a._b", "Thumbs.dbx", "thumbs", "desktop", "~$a.docx"),
    *(".~lock.a.odt#", ".Trash-1000", ".git", ".nfs0001", "DS_Store", "ﬁle", "\udcff"),
    *(".metadata_never_index", ".hidden", ".htaccess"),
]


@pytest.mark.parametrize("name", JUNK)
def test_what_systems_leave_behind_is_junk(name: str) -> None:
    assert is_junk(name)


@pytest.mark.parametrize("name", KEPT)
def test_what_a_user_or_a_program_means_is_none(name: str) -> None:
    assert not is_junk(name)


@pytest.mark.parametrize(
    ("policy", "listed", "refused"),
    [("store", True, False), ("hide", False, False), ("refuse", False, True)],
)
def test_policies(policy: JunkPolicy, listed: bool, refused: bool) -> None:
    assert is_listed(policy, ".DS_Store") is listed
    assert is_listed(policy, "a")
    assert is_refused(policy, (".DS_Store",)) is refused
    assert is_refused(policy, (".Trashes", "501", "a")) is refused
    assert not is_refused(policy, ("a", "b"))


@pytest.mark.parametrize("segments", [(), ("a",)], ids=str)
def test_nothing_else_is_refused(segments: Sequence[str]) -> None:
    assert not is_refused("refuse", segments)
