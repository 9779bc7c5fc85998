"""An HTTP/1.1 client on one connection that sends exactly what it is told to (RFC 9112).

http.client would do for most, but hides what a doctor looks at: whether 100 (Continue) came,
whether an answer came before the body was sent, how a body was framed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator

from davserver.doctor.address import Address
from davserver.doctor.messages import Answer, BrokenAnswer, Request, ends, parse_head, write_head

TIMEOUT_S = 60.0
"""How long an answer may take; proxies give up at about that time."""
CONNECT_S = 15.0
CONTINUE_S = 3.0
"""How long 100 (Continue) is waited for; curl waits for one second."""
_HEAD_LIMIT = 262_144
_BODY_LIMIT = 64 << 20
_PIECE = 65_536
_PAUSE_S = 0.2


class Unreachable(Exception):
    """No connection can be made. The message is one line."""


class Wire:
    """One connection at a time, made when it is needed.

    Args:
        trust: for https.
    """

    def __init__(self, address: Address, trust: ssl.SSLContext | None) -> None:
        self._address = address
        self._trust = trust
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._is_used = False

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
        self._socket = None
        self._buffer = b""

    def exchange(
        self,
        request: Request,
        *,
        sink: Callable[[bytes], object] | None = None,
        answer_in_s: float = TIMEOUT_S,
    ) -> Answer:
        """Sends a request and returns its final answer.

        Args:
            sink: takes the body of the answer piece by piece, in place of `Answer.body`.
            answer_in_s: how long to wait for the answer.

        Raises Unreachable, BrokenAnswer.
        """
        while True:
            is_fresh = self._connect()
            try:
                return self._exchange(request, sink, answer_in_s)
            except BrokenAnswer:
                self.close()
                # A server may end an idle connection just when it is used again.
                if is_fresh:
                    raise
            except BaseException:
                self.close()
                raise

    def probe(self, request: Request, *, wait_s: float) -> Answer | None:
        """Begins a request that is never completed; returns the final answer that comes all the
        same, None when there is none in time, or the word to go on. Raises Unreachable.

        The connection is a new one, and ends. `request.pieces` are sent slowly: proxies in Go
        pass an answer on only while something of the body still comes.
        """
        self.close()
        try:
            self._connect()
            self._send(write_head(request, self._address.authority) + (request.body or b""))
            for piece in request.pieces() if request.pieces is not None else ():
                if self._is_answered(_PAUSE_S):
                    break
                self._send(piece)
            while self._is_answered(wait_s):
                if not self._buffer.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")):
                    return self._read_answer(request.method, None, wait_s)
                if request.expects:
                    return None
                self._skip_interim()
        except BrokenAnswer:
            return None
        finally:
            self.close()
        return None

    def _connect(self) -> bool:
        """Returns whether the connection is a new one."""
        if self._socket is not None:
            return False
        address = self._address
        try:
            plain = socket.create_connection((address.host, address.port), CONNECT_S)
        except OSError as error:
            reason = error.strerror or str(error)
            raise Unreachable(f"{address.authority} cannot be reached: {reason}") from error
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._trust is None:
                self._socket = plain
            else:
                self._socket = self._trust.wrap_socket(plain, server_hostname=address.host)
        except OSError as error:
            plain.close()
            raise Unreachable(_tls_reason(address, error)) from error
        return True

    def _exchange(
        self, request: Request, sink: Callable[[bytes], object] | None, answer_in_s: float
    ) -> Answer:
        begun = time.monotonic()
        self._send(write_head(request, self._address.authority))
        waited = request.expects and not self._is_answered(CONTINUE_S)
        continued = not waited and request.expects and self._skip_interim()
        sends = not request.expects or waited or continued
        is_whole = self._send_body(request) if sends else False
        answer = self._read_answer(request.method, sink, answer_in_s)
        answer.continued = continued or answer.continued
        answer.is_early = not is_whole
        answer.seconds = time.monotonic() - begun
        if not is_whole or answer.framing == "close" or ends(answer):
            self.close()
        return answer

    # --- sending --------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.settimeout(TIMEOUT_S)
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise BrokenAnswer(f"nothing was taken for {TIMEOUT_S:g} s") from None
        except OSError as error:
            raise BrokenAnswer(f"the connection was closed ({_name(error)})") from error

    def _send_body(self, request: Request) -> bool:
        """Returns whether all of it was sent: an answer that comes meanwhile ends it."""
        if request.pieces is None:
            body = request.body or b""
            pieces: Iterator[bytes] = (
                body[start : start + _PIECE] for start in range(0, len(body), _PIECE)
            )
        else:
            pieces = request.pieces()
        is_chunked = request.pieces is not None and request.length is None
        try:
            for piece in pieces:
                if self._is_answered(0.0) and not self._skip_interim():
                    return False
                self._send(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            if is_chunked:
                self._send(b"0\r\n\r\n")
        except BrokenAnswer:
            # Who refuses an upload may have answered before it closed.
            if self._is_answered(1.0):
                return False
            raise
        return True

    # --- receiving ------------------------------------------------------------------------------

    def _is_answered(self, wait_s: float) -> bool:
        """Whether a head is here, or comes within some seconds."""
        deadline = time.monotonic() + wait_s
        while b"\r\n\r\n" not in self._buffer:
            try:
                self._fill(max(deadline - time.monotonic(), 0.0))
            except TimeoutError:
                return False
            except BrokenAnswer:
                return False
        return True

    def _skip_interim(self) -> bool:
        """Takes 1xx heads away; returns whether there was one and no final one after it."""
        found = False
        while (
            self._buffer.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")) and b"\r\n\r\n" in self._buffer
        ):
            self._buffer = self._buffer.partition(b"\r\n\r\n")[2]
            found = True
        return found and not self._buffer

    def _fill(self, wait_s: float) -> None:
        """Reads what there is. Raises TimeoutError, BrokenAnswer."""
        assert self._socket is not None
        self._socket.settimeout(wait_s)
        try:
            data = self._socket.recv(262_144)
        except (BlockingIOError, ssl.SSLWantReadError):
            raise TimeoutError from None
        except TimeoutError:
            raise
        except OSError as error:
            raise BrokenAnswer(f"the connection was closed ({_name(error)})") from error
        if not data:
            raise BrokenAnswer("the connection was closed without an answer")
        self._buffer += data

    def _need(self, wait_s: float = TIMEOUT_S) -> None:
        try:
            self._fill(wait_s)
        except TimeoutError:
            raise BrokenAnswer(f"no answer within {wait_s:g} s") from None

    def _read_answer(
        self, method: str, sink: Callable[[bytes], object] | None, answer_in_s: float
    ) -> Answer:
        continued = False
        while True:
            while b"\r\n\r\n" not in self._buffer:
                if len(self._buffer) > _HEAD_LIMIT:
                    raise BrokenAnswer("the head of the answer does not end")
                self._need(answer_in_s)
            head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
            answer = parse_head(head)
            if answer.status >= 200:
                break
            continued |= answer.status == 100
        answer.continued = continued
        if method != "HEAD" and answer.status not in (204, 304):
            self._read_body(answer, sink)
        return answer

    def _read_body(self, answer: Answer, sink: Callable[[bytes], object] | None) -> None:
        kept: list[bytes] = []

        def take(data: bytes) -> None:
            answer.size += len(data)
            if sink is not None and answer.status < 300:
                sink(data)
            elif answer.size > _BODY_LIMIT:
                raise BrokenAnswer("the body of the answer does not end")
            else:
                kept.append(data)

        length = answer.get("content-length")
        if "chunked" in (answer.get("transfer-encoding") or "").lower():
            answer.framing = "chunked"
            self._read_chunks(take)
        elif length is not None:
            answer.framing = "length"
            if not length.isdigit():
                raise BrokenAnswer(f"Content-Length is {length!r}")
            self._read_exactly(int(length), take)
        else:
            answer.framing = "close"
            self._read_to_end(take)
        answer.body = b"".join(kept)

    def _read_exactly(self, size: int, take: Callable[[bytes], None]) -> None:
        while size:
            if not self._buffer:
                self._need()
            data, self._buffer = self._buffer[:size], self._buffer[size:]
            size -= len(data)
            take(data)

    def _read_line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > _HEAD_LIMIT:
                raise BrokenAnswer("a line of the answer does not end")
            self._need()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _read_chunks(self, take: Callable[[bytes], None]) -> None:
        while True:
            line = self._read_line().partition(b";")[0].strip()
            try:
                size = int(line, 16)
            except ValueError:
                raise BrokenAnswer(f"a chunk begins with {line[:40]!r}") from None
            if not size:
                break
            self._read_exactly(size, take)
            self._read_line()
        while self._read_line():
            pass

    def _read_to_end(self, take: Callable[[bytes], None]) -> None:
        while True:
            if self._buffer:
                data, self._buffer = self._buffer, b""
                take(data)
            try:
                self._need()
            except BrokenAnswer as error:
                if "without an answer" in str(error):
                    return
                raise


def _tls_reason(address: Address, error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {address.host} is not trusted ({error.verify_message}): name"
            " its authority with --ca, or say --insecure"
        )
    return f"no TLS with {address.authority}: {_name(error)}"


def _name(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
