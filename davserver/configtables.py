"""The repeated tables of the settings: shares, users, rules."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from davserver.protocol.junk import JunkPolicy
from davserver.protocol.path import DavPath

Access = Literal["none", "read", "write"]
Symlinks = Literal["deny", "within", "follow"]
NAME_BYTES = 255


def check_name(value: str) -> str:
    """Returns a name that can be one segment of a path, in NFC. Raises ValueError."""
    name = unicodedata.normalize("NFC", value)
    if not name or name in (".", "..") or "/" in name or not name.isprintable():
        raise ValueError(f"{value!r} cannot be a name: it must be printable and without '/'")
    if DavPath((name,)).is_reserved:
        raise ValueError(f"{value!r} is a reserved name")
    if len(name.encode()) > NAME_BYTES:
        raise ValueError(f"{value!r} is longer than {NAME_BYTES} bytes")
    return name


def check_user_name(value: str) -> str:
    """As check_name, for a user: a colon would end it in Basic (RFC 7617 section 2)."""
    if ":" in value or "\\" in value:
        raise ValueError(f"{value!r} cannot be a user's name: ':' and '\\' are not allowed")
    return check_name(value)


def check_realm(value: str) -> str:
    """Returns a realm that can stand in a quoted string as it is. Raises ValueError."""
    if not value or not value.isascii() or not value.isprintable() or set(value) & set('"\\'):
        raise ValueError(f"{value!r} must be printable ASCII without quotes and backslashes")
    return value


class Table(BaseModel):
    """One entry of a repeated table. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Share(Table):
    """One `[[share]]`: a folder that appears at `/name`.

    Attributes:
        quota: bytes that its content may come to; None: what the disk has.
        homes: each signed-in user has a folder of the own name in it, made at the first use,
            that nobody else gets into.
        symlinks, junk, anonymous: None: as the setting of that name says.
    """

    name: str
    path: Path
    read_only: bool = False
    homes: bool = False
    quota: Annotated[int, Field(ge=0)] | None = None
    symlinks: Symlinks | None = None
    junk: JunkPolicy | None = None
    anonymous: Access | None = None

    _check_name = field_validator("name")(check_name)

    @field_validator("path")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser()


class Digests(Table):
    """What Digest needs of a user (RFC 7616 section 3.4.2): H(user:realm:password), in hex. As
    good as the password, for this realm."""

    realm: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None

    @field_validator("realm")
    @classmethod
    def _check_realm(cls, value: str) -> str:
        return check_realm(value)


class UserEntry(Table):
    """One `[[user]]`: an account, in the settings or in the users file.

    Attributes:
        password: its hash, as `davserver user hash` prints it: never the password.
        quota: bytes that the user's home may come to; None: no limit of its own.
        digest: where the user may sign in with Digest.
    """

    name: str
    password: str
    groups: tuple[str, ...] = ()
    quota: Annotated[int, Field(ge=0)] | None = None
    digest: Digests | None = None

    _check_name = field_validator("name")(check_user_name)

    @field_validator("password")
    @classmethod
    def _check_password(cls, value: str) -> str:
        if not value.startswith("$"):
            raise ValueError("must be a hash (davserver user hash prints one), not a password")
        return value


def parse_user(table: object) -> UserEntry:
    """Returns the account of a table. Raises ValueError that names the key."""
    try:
        return UserEntry.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {message}") from None


class Rule(Table):
    """One `[[rule]]`: who may do what at a path and below. The first that fits decides.

    Attributes:
        path: as in the URL, below the prefix, decoded: `/photos/private`.
        users, groups: whom it is for; both empty: everybody, who is not signed in too.
    """

    path: str
    access: Access
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @field_validator("path")
    @classmethod
    def _check_path(cls, value: str) -> str:
        segments = [segment for segment in value.split("/") if segment]
        if not value.startswith("/") or {".", ".."} & set(segments) or not value.isprintable():
            raise ValueError(f"{value!r} must look like /photos/private")
        return "/" + "/".join(unicodedata.normalize("NFC", segment) for segment in segments)
