"""Homes: in a share of homes each signed-in user has a collection of the own name, made at the
first use. Who may go in there, the rights say."""

from __future__ import annotations

import logging
import time

from davserver.changes import make_durable
from davserver.configtables import check_user_name
from davserver.context import RequestContext, Services
from davserver.counting import count_all, until
from davserver.errors import Forbidden, ResourceExists, StateError, StorageError
from davserver.protocol.path import DavPath, Key

logger = logging.getLogger(__name__)

_LOOK_S = 60.0
"""How long a home that was there is believed to be there still."""
_REMEMBERED = 10_000
_COUNT_S = 0.3


class Homes:
    """Remembers whose homes are there.

    Args:
        shares: names of the shares of homes.
    """

    def __init__(self, shares: frozenset[str]) -> None:
        self._shares = shares
        self._there: dict[tuple[str, str], float] = {}

    def missing(
        self, name: str, path: DavPath, destination: DavPath | None = None
    ) -> tuple[str, ...]:
        """Returns the shares in which the asker's home has to be looked after before a request
        is answered: those that it shows or is about. Looks at no disk.

        Args:
            name: of the asker; "" for the anonymous principal, who has none.
        """
        if not self._shares or not name:
            return ()
        paths = (path,) if destination is None else (path, destination)
        shown = self._shares
        if not path.is_root:
            shown = shown.intersection(one.segments[0] for one in paths if one.segments)
        now = time.monotonic()
        return tuple(one for one in shown if self._there.get((one, name), 0.0) < now)

    def make(self, rc: RequestContext, shares: tuple[str, ...]) -> None:
        """Makes the asker's homes where there are none. Blocks. Raises Forbidden (403) for a name
        that a home cannot have, StorageError, StateError."""
        name = rc.principal.name
        for share in shares:
            try:
                make_home(rc.services, share, name)
            except (Forbidden, StorageError, StateError) as error:
                if not rc.path.is_root:
                    raise
                # The list of shares is shown all the same.
                logger.warning("no home for %r in %r: %s", name, share, error)
                continue
            if len(self._there) >= _REMEMBERED:
                self._there.clear()
            self._there[share, name] = time.monotonic() + _LOOK_S


def make_home(services: Services, share: str, name: str) -> None:
    """Makes a user's home, unless it is there. Raises as Homes.make does."""
    storage, path = services.storage, DavPath((share, name))
    key = _home_key(services, share, name)
    if not storage.is_writable(path):
        return
    is_new = storage.locate(path).stat is None
    if is_new:
        with services.state.hold([key], wait_s=services.settings.gate_wait_s) as view:
            # What stood here once was somebody else's.
            view.clear(key)
            view.commit()
            try:
                storage.make_collection(path)
            except ResourceExists:
                return  # another worker was first
        make_durable(storage, path.parent)
    scopes = [scope.key for scope in services.quotas.scopes(key) if scope.key == key]
    now, look = services.clock(), until(time.monotonic() + _COUNT_S)
    # What is known of one that was here before is not of this one.
    count_all(storage, services.state, scopes, look, now=now, before=now + 1 if is_new else 0)


def _home_key(services: Services, share: str, name: str) -> Key:
    """Raises Forbidden for what is no name, or could be taken for another user's: where a storage
    folds case, only what is folded already is nobody else's."""
    try:
        is_name = check_user_name(name) == name
    except ValueError:
        is_name = False
    top = Key(share, b"")
    raw = name.encode("utf-8", "surrogateescape")
    if not is_name or services.storage.child_key(top, raw) != top.child(raw):
        raise Forbidden(f"{name!r} cannot be the name of a home")
    return top.child(raw)
