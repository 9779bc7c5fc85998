"""Which limits on size hold where: of a share, and of a user's home in it. No I/O here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from davserver.configtables import Share
from davserver.protocol.path import Key


@dataclass(frozen=True, slots=True)
class Scope:
    """A tree with a limit.

    Attributes:
        key: its root.
        limit: bytes that its files may come to.
    """

    key: Key
    limit: int


class Quotas:
    """The limits of all shares. False when there are none.

    Args:
        home_limit: bytes of a user's home, by the user's name; None: no limit of its own.
    """

    def __init__(
        self, shares: Sequence[Share] = (), home_limit: Callable[[str], int | None] | None = None
    ) -> None:
        self._shares = {
            share.name: Scope(Key(share.name, b""), share.quota)
            for share in shares
            if share.quota is not None
        }
        self._home_limit = home_limit
        self._homes = frozenset(share.name for share in shares if share.homes and home_limit)

    def __bool__(self) -> bool:
        return bool(self._shares or self._homes)

    @property
    def shares(self) -> Sequence[Scope]:
        """The limits of whole shares."""
        return tuple(self._shares.values())

    @property
    def homes(self) -> Sequence[Key]:
        """The roots of shares whose members may have a limit each."""
        return tuple(Key(name, b"") for name in self._homes)

    def scopes(self, key: Key) -> Sequence[Scope]:
        """Returns the limits that hold for what is at `key`, the share's first."""
        found = self._shares.get(key.root)
        scopes = () if found is None or key.path.startswith(b"..") else (found,)
        if key.root not in self._homes or not key.path:
            return scopes
        assert self._home_limit is not None
        name = key.path.partition(b"/")[0]
        limit = self._home_limit(name.decode("utf-8", "surrogateescape"))
        return scopes if limit is None else (*scopes, Scope(Key(key.root, name), limit))
