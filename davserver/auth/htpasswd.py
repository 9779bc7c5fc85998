"""Apache's htpasswd file: `name:hash` a line, with bcrypt (`htpasswd -B`) or argon2."""

from __future__ import annotations

import logging
from pathlib import Path

from davserver.auth.accounts import read_private
from davserver.auth.passwords import why_refused
from davserver.configtables import UserEntry, check_user_name

logger = logging.getLogger(__name__)

_LIMIT = 64 << 20


def read_htpasswd(path: Path) -> dict[str, UserEntry]:
    """Returns the accounts by name. A line that cannot be used is left out, and the log says so.

    Raises AccountsError, FileNotFoundError.
    """
    found: dict[str, UserEntry] = {}
    for number, line in enumerate(read_private(path, limit=_LIMIT).splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, _, stored = line.partition(":")
        try:
            name = check_user_name(name)
        except ValueError as error:
            logger.error("%s, line %d: %s", path, number, error)
            continue
        problem = why_refused(stored)
        if problem is not None:
            logger.error("%s, line %d: %r cannot sign in, %s", path, number, name, problem)
            continue
        found.setdefault(name, UserEntry(name=name, password=stored))
    return found
