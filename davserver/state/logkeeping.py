"""The write-ahead log of the database, put where it belongs by a thread: no request waits for it.

SQLite does it within the commit that fills the log, and that waits for the disk, whatever the
durability: for long enough that everything else on the event loop would wait, too. Here a thread
does most of it, which hinders nobody; the commit after that does what has come meanwhile, so that
the log can begin anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

FULL = 1_000
"""Pages in the log from which on it is put away, as SQLite has it."""
_OVERFULL = 16_000
"""Pages from which on every commit does it itself: the thread does not keep up."""


class LogKeeper:
    """Keeps one log short.

    Args:
        put_away: does what can be done without hindering anybody; blocks, raises nothing.

    Attributes:
        is_at_work: a thread has the database open, in this process or in the one that was forked.
    """

    def __init__(self, put_away: Callable[[], None]) -> None:
        self._put_away = put_away
        self._thread: threading.Thread | None = None
        self.is_at_work = False

    def is_due(self, pages: int) -> bool:
        """After a commit, in the gate: is the rest to be put away now? Raises nothing: what has
        been committed would seem to have failed.

        Args:
            pages: in the log by now.
        """
        if pages < FULL:
            return False
        if self._thread is None:
            return not self._begin() or pages >= _OVERFULL
        if not self._thread.is_alive():
            self._thread = None
            return True
        return pages >= _OVERFULL

    def _begin(self) -> bool:
        """False where there is no thread to be had."""
        thread = threading.Thread(target=self._work, name="davserver-log", daemon=True)
        self.is_at_work = True
        try:
            thread.start()
        except RuntimeError:
            self.is_at_work = False
            return False
        self._thread = thread
        return True

    def _work(self) -> None:
        try:
            self._put_away()
        finally:
            self.is_at_work = False

    def close(self) -> None:
        """Waits for the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
