"""The users file: accounts made by `davserver user`, as `[[user]]` tables of TOML.

It is written as a whole beside the old one and renamed, with mode 0600; who changes it holds a
lock on its folder meanwhile, so that two commands lose nothing of each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from davserver.auth.accounts import AccountsError, read_private
from davserver.configtables import UserEntry, parse_user

_TITLE = "# Users of davserver. To change them: davserver user add, passwd, remove\n"
_LIMIT = 64 << 20
"""Bytes of the largest file that is read."""

Entries = dict[str, UserEntry]


def read_users(path: Path) -> Entries:
    """Returns the accounts by name. Raises AccountsError; FileNotFoundError when there is none."""
    text = read_private(path, limit=_LIMIT)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AccountsError(f"{path}: {error}") from None
    except RecursionError:
        raise AccountsError(f"{path}: nested too deeply") from None
    users = tables.pop("user", [])
    if tables or not isinstance(users, list):
        raise AccountsError(f"{path}: holds something else than [[user]] tables")
    found: Entries = {}
    for number, table in enumerate(users):
        try:
            entry = parse_user(table)
        except ValueError as error:
            raise AccountsError(f"{path}, user[{number}].{error}") from None
        if entry.name in found:
            raise AccountsError(f"{path}: two users are named {entry.name!r}")
        found[entry.name] = entry
    return found


@contextlib.contextmanager
def changing_users(path: Path) -> Iterator[Entries]:
    """Yields the accounts, to be changed; writes them when the block ends in peace.

    Raises AccountsError.
    """
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(folder):
            try:
                entries = read_users(path)
            except FileNotFoundError:
                entries = {}
            yield entries
            _write(path, _document(list(entries.values())))
    except OSError as error:
        raise AccountsError(f"{path} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            if os.geteuid() == 0:
                # Made by root for a server of another user, who must be able to read it.
                owner = path.parent.stat()
                os.fchown(fd, owner.st_uid, owner.st_gid)
            with open(fd, "wb", closefd=False) as file:
                file.write(text.encode("utf-8"))
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def _document(entries: Sequence[UserEntry]) -> str:
    return _TITLE + "".join(f"\n[[user]]\n{_table(entry)}" for entry in entries)


def _table(entry: UserEntry) -> str:
    values = entry.model_dump(exclude_defaults=True)
    return "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{key} = {_value(each)}" for key, each in value.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    # A JSON string of printable characters is a TOML string.
    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False)
