"""A wire between browser and server that can be cut: TCP alone, nothing is read."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Self

_PIECE = 65_536


class Wire:
    """Relays to a port of this machine. Use it as a context manager.

    Attributes:
        port: where the near end listens.
        carried: bytes that went towards the server.
        limit: where it breaks of itself: no byte beyond is carried, until it is mended.
    """

    def __init__(self, far: int) -> None:
        self._far = far
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.carried = 0
        self.limit: int | None = None
        self._is_whole = True
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)

    @property
    def is_cut(self) -> bool:
        return not self._is_whole

    def cut(self) -> None:
        """Breaks every connection; new ones break at once."""
        self._is_whole = False
        with self._lock:
            ends, self._ends = self._ends, set()
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self, *, limit: int | None = None) -> None:
        """Carries again, so many bytes more."""
        self.limit = None if limit is None else self.carried + limit
        self._is_whole = True

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._is_whole:
                threading.Thread(target=self._relay, args=(near,), daemon=True).start()
            else:
                near.close()

    def _relay(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._far)) as far:
            with self._lock:
                self._ends |= {near, far}
            with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
                selector.register(near, selectors.EVENT_READ, far)
                selector.register(far, selectors.EVENT_READ, near)
                while self._carry(selector, far):
                    pass
            with self._lock:
                self._ends -= {near, far}

    def _carry(self, selector: selectors.BaseSelector, far: socket.socket) -> bool:
        for key, _ in selector.select():
            source: socket.socket = key.fileobj  # type: ignore[assignment]
            data = source.recv(_PIECE)
            if not data:
                return False
            key.data.sendall(data)
            if key.data is far:
                self.carried += len(data)
                if self.limit is not None and self.carried > self.limit:
                    self.cut()
                    return False
        return True
