"""Tests side by side: what stays together, and what begins."""

from __future__ import annotations

import pytest

from tests.support.sidebyside import FIRST, WHOLE, place_of, unit_of


@pytest.mark.parametrize(
    ("nodeid", "unit"),
    [
        ("tests/test_tls.py::test_names[fe80::1]", "tests/test_tls.py"),
        ("tests/rfc/test_put.py::test_a", "tests/rfc/test_put.py"),
        ("tests/clients/test_curl.py::test_a[b/c]", "clients"),
        ("tests/clients/test_rclone.py::test_a", "clients"),
    ],
)
def test_a_file_is_one_unit_and_all_clients_are_one(nodeid: str, unit: str) -> None:
    assert unit_of(nodeid) == unit


def test_what_is_long_begins_and_what_is_short_ends() -> None:
    nodeids = ["tests/protocol/test_a.py::b", "tests/test_a.py::b", f"tests/{FIRST[0]}/a.py::b"]

    assert sorted(nodeids, key=place_of) == nodeids[::-1]


def test_every_named_folder_is_there(pytestconfig: pytest.Config) -> None:
    folders = {*FIRST, *WHOLE}

    assert {
        name for name in folders if not (pytestconfig.rootpath / "tests" / name).is_dir()
    } == set()
