"""When settings and certificates are read again, and what of them can change while running.

One process decides for all, the supervisor or the only worker, so that a bad file is told of once
and all workers do the same.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from davserver.config import Settings, SettingsError, dotted
from davserver.jsonlog import JsonFormatter
from davserver.serving.tls import CertificateError, Mark, files_of
from davserver.signing import account_files

logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often certificate files are looked at. They count once they look the same twice."""
FIXED = ("root", "state", "host", "port", "workers", "metrics_listen")
"""What only a restart changes: the listening sockets, the processes, whose state it is."""
_TLS = ("tls", "tls_cert", "tls_key")

Read = Callable[[Settings], Settings]
"""Reads the settings again, given those in force, and checks them as at the start. Raises
SettingsError."""


@dataclass(frozen=True, slots=True)
class Change:
    """What workers are to put in force: these settings, or only what the files of the
    certificate hold now."""

    settings: Settings
    only_certificate: bool = False


class Watch:
    """Decides what is put in force, and when.

    Attributes:
        with_accounts: files with accounts that were there at some time. A worker that takes
            another's place has seen none of them, and must not take their loss for a beginning.
    """

    def __init__(self, settings: Settings, read: Read) -> None:
        self._settings = settings
        self._read = read
        self._asked = False
        self._next = 0.0
        self.with_accounts: frozenset[Path] = frozenset()
        self._look_at_accounts()
        self._used = self._seen = self._mark()

    def ask(self) -> None:
        """Lets the next `look` read the settings. For a signal handler: it only notes that."""
        self._asked = True

    def look(self, now: float) -> Change | None:
        """Returns what is new. To be called about once a second.

        Args:
            now: monotonic seconds.
        """
        if self._asked:
            self._asked = False
            return self._read_settings()
        if now < self._next:
            return None
        self._next = now + LOOK_S
        self._look_at_accounts()
        return self._look_at_certificate()

    def _read_settings(self) -> Change | None:
        try:
            settings = self._read(self._settings)
        except SettingsError as error:
            logger.error("the settings stay as they were: %s", error)
            return None
        self._settings = settings
        self._look_at_accounts()
        self._used = self._seen = self._mark()
        logger.info("the settings were read again")
        return Change(settings)

    def _look_at_accounts(self) -> None:
        self.with_accounts |= set(filter(os.path.exists, account_files(self._settings)))

    def _look_at_certificate(self) -> Change | None:
        mark = self._mark()
        if mark == self._used:
            return None
        if mark != self._seen:
            # Perhaps half of it is written: the key comes after the certificate.
            self._seen = mark
            return None
        self._used = mark
        files = files_of(self._settings)
        assert files is not None
        try:
            files.load()
        except CertificateError as error:
            logger.error("the certificate in use stays: %s", error)
            return None
        logger.info("%s is in use from here on", files)
        return Change(self._settings, only_certificate=True)

    def _mark(self) -> Mark:
        files = files_of(self._settings)
        return () if files is None else files.mark()


def keep_fixed(current: Settings, new: Settings) -> Settings:
    """Returns the new settings, with the current values of what only a restart can change; a
    line in the log names those."""
    names = [name for name in FIXED if getattr(new, name) != getattr(current, name)]
    if new.has_tls != current.has_tls:
        names += [name for name in _TLS if getattr(new, name) != getattr(current, name)]
    if (new.root is None) != (current.root is None):
        names.append("share")
    if not names:
        return new
    logger.warning("only a restart changes %s", ", ".join(map(dotted, names)))
    return new.model_copy(update={name: getattr(current, name) for name in names})


def set_up_logging(settings: Settings) -> None:
    """Puts the settings' level and form of log records in force in this process."""
    level = settings.log_level.upper()
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # What uvicorn tells at this level ("Started server process") is nobody's business.
    logging.getLogger("uvicorn.error").setLevel("WARNING" if level == "INFO" else level)
