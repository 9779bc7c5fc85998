"""A reverse proxy with faults that can be switched on, as badly configured ones have them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import re
import ssl
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from email.utils import formatdate
from types import TracebackType
from typing import Any, Self

_HEAD_END = b"\r\n\r\n"
_LINGER_S = 2
_NO_SLASH = re.compile(r"/[^/.]+$")
NONCE = "b7e1c0ffee"


@dataclass
class Message:
    """A head, taken apart. Names in lower case."""

    first: str
    fields: list[tuple[str, str]]

    @classmethod
    def parse(cls, head: bytes) -> Message:
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        pairs = [line.split(":", 1) for line in lines]
        return cls(first, [(name.lower(), value.strip()) for name, value in pairs])

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key == name), None)

    def drop(self, *names: str) -> None:
        self.fields = [(key, value) for key, value in self.fields if key not in names]

    def put(self, name: str, value: str) -> None:
        self.drop(name)
        self.fields.append((name, value))

    def bytes(self) -> bytes:
        lines = [self.first, *(f"{name}: {value}" for name, value in self.fields), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    @property
    def method(self) -> str:
        return self.first.split(" ")[0]

    @property
    def target(self) -> str:
        return self.first.split(" ")[1]

    @target.setter
    def target(self, value: str) -> None:
        method, _, version = self.first.split(" ")
        self.first = f"{method} {value} {version}"

    @property
    def status(self) -> int:
        return int(self.first.split(" ")[1])


@dataclass(frozen=True)
class Faults:
    """What is wrong with the proxy.

    Attributes:
        drops: request fields that do not get through.
        adds: request fields that are put in.
        hides: fields of answers that do not get through.
        hides_from_put: likewise, of answers to PUT.
        replaces_head: a field of answers that gets another value.
        blocks: methods that are answered with 405.
        blocks_paths: paths that are answered with 405.
        cuts: methods whose connection is closed without an answer.
        fails: methods that are answered with 504.
        limit: bytes of a request body before 413.
        host: what becomes of Host.
        destination: what Destination's authority becomes.
        is_empty: bodies in chunks arrive as nothing.
        strips: a path that is taken away from the front.
        replaces: what becomes of bytes in answers.
        href: what hrefs get in front.
        tag: what becomes of ETags of what is compressed; `{}-gzip"` cuts the last quote off first.
        days: days that Date is behind.
        login: everything is redirected to a page.
        redirects_secure: the port of https that everything is redirected to.
        redirects_to: the URL that everything is redirected to.
        name: the Server field of answers.
    """

    drops: tuple[str, ...] = ()
    adds: tuple[tuple[str, str], ...] = ()
    hides: tuple[str, ...] = ()
    hides_from_put: tuple[str, ...] = ()
    replaces_head: tuple[str, str] | None = None
    blocks: tuple[str, ...] = ()
    blocks_paths: tuple[str, ...] = ()
    cuts: tuple[str, ...] = ()
    fails: tuple[str, ...] = ()
    limit: int | None = None
    host: str | None = None
    destination: str | None = None
    needs_length: bool = False
    is_empty: bool = False
    gathers: bool = False
    refuses_expect: bool = False
    decodes: bool = False
    merges_encoded: bool = False
    redirects_slash: bool = False
    redirects_secure: str | None = None
    redirects_to: str | None = None
    answers_options: bool = False
    compresses: bool = False
    tag: str = "W/{}"
    caches: bool = False
    strips: str = ""
    replaces: tuple[bytes, bytes] | None = None
    href: str = ""
    days: int = 0
    login: bool = False
    name: str | None = None

    @property
    def rewrites(self) -> bool:
        """Answers are read as a whole before they are passed on."""
        fields = self.hides or self.hides_from_put or self.replaces_head or self.days
        bodies = self.compresses or self.caches or self.replaces or self.href
        return bool(fields or bodies)


@dataclass
class Account:
    """Who may pass, where the proxy itself signs users in."""

    user: str
    password: str
    scheme: str = "basic"
    algorithm: str = "SHA-256"
    stale_after: int = 0
    """Requests after which a nonce is too old; 0: never."""
    uses: int = 0
    seen: list[str] = field(default_factory=list)

    def challenge(self, *, stale: bool = False) -> str:
        if self.scheme == "basic":
            return 'Basic realm="files", charset="UTF-8"'
        more = ", stale=true" if stale else ""
        nonce = f"{NONCE}{self.uses}"
        self.seen.append(nonce)
        return (
            f'Digest realm="files", nonce="{nonce}", qop="auth", algorithm={self.algorithm}'
            f', opaque="o"{more}'
        )

    def admits(self, method: str, authorization: str | None) -> bool:
        if authorization is None:
            return False
        if self.scheme == "basic":
            pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            return authorization == f"Basic {pair}"
        given = dict(re.findall(r'(\w+)=(?:"?)([^",]*)', authorization))
        name = "sha256" if self.algorithm == "SHA-256" else "md5"

        def digest(text: str) -> str:
            return hashlib.new(name, text.encode()).hexdigest()

        secret = digest(f"{self.user}:files:{self.password}")
        request = digest(f"{method}:{given.get('uri')}")
        wanted = digest(
            f"{secret}:{given.get('nonce')}:{given.get('nc')}:{given.get('cnonce')}:auth:{request}"
        )
        return given.get("response") == wanted and given.get("username") == self.user


class Proxy:
    """Stands in front of a server on a port of its own. Use it as a context manager.

    Args:
        port: of the server behind it, at 127.0.0.1.
        account: asks for sign-in before anything is passed on.
        tls: speaks https.
    """

    def __init__(
        self,
        port: int,
        faults: Faults | None = None,
        *,
        account: Account | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._upstream = port
        self._faults = faults or Faults()
        self._account = account
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._cache: dict[str, bytes] = {}
        self.port = 0
        self.heads: list[str] = []
        """Heads of requests as they came, in lower case."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._do(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls, limit=1 << 20)
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        async def end() -> None:
            self._server.close()
            tasks = tuple(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in tuple(self._writers):
                await self._close(writer)

        self._do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/"

    # --- one request ----------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                await self._pass_on(reader, writer)
                await _finish(reader, writer)
        except asyncio.CancelledError:
            pass  # the end: streams of Python 3.11 log a cancelled task as an error
        finally:
            self._tasks.discard(task)
            await self._close(writer)

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        # Nothing waits to be sent any more; what does is for a side that has gone.
        writer.transport.abort()
        # Its future is cancelled with a task that waited for it.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()
        self._writers.discard(writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = Message.parse(await reader.readuntil(_HEAD_END))
        self.heads.append(request.bytes().decode("latin-1").lower())
        answer = self._own_answer(request)
        if answer is not None:
            writer.write(answer)
            return
        body = self._change(request)
        if self._faults.gathers:
            if request.get("expect"):
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.drop("expect")
            body = await _gather(reader, request)
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._writers.add(behind_writer)
        behind_writer.write(request.bytes() + (body or b""))
        pump = None
        if body is None:
            pump = asyncio.ensure_future(_pump(reader, behind_writer))
        try:
            if self._faults.rewrites:
                writer.write(await self._rewrite(request, behind_reader, writer))
            else:
                await self._relay(behind_reader, writer)
        finally:
            if pump is not None:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)
            await self._close(behind_writer)

    def _own_answer(self, request: Message) -> bytes | None:
        """Returns what the proxy says itself, None where it passes the request on."""
        faults, method = self._faults, request.method
        if method in faults.cuts:
            return b""
        if faults.login:
            return self._page(302, "Found", location="/login?next=x")
        if faults.redirects_secure is not None:
            host = f"127.0.0.1:{faults.redirects_secure}"
            return self._page(301, "Moved", location=f"https://{host}{request.target}")
        if faults.redirects_to is not None:
            return self._page(307, "Temporary Redirect", location=faults.redirects_to)
        if faults.redirects_slash and _NO_SLASH.search(request.target):
            return self._page(301, "Moved Permanently", location=request.target + "/")
        if method in faults.blocks or request.target in faults.blocks_paths:
            return self._page(405, "Not Allowed")
        if method in faults.fails:
            return self._page(504, "Gateway Time-out")
        if faults.answers_options and method == "OPTIONS":
            return self._page(204, "No Content")
        length = request.get("content-length")
        if faults.limit is not None and int(length or 0) > faults.limit:
            return self._page(413, "Request Entity Too Large")
        if faults.needs_length and request.get("transfer-encoding"):
            return self._page(411, "Length Required")
        if faults.refuses_expect and request.get("expect"):
            return self._page(417, "Expectation Failed")
        return self._ask_for_sign_in(request)

    def _ask_for_sign_in(self, request: Message) -> bytes | None:
        account = self._account
        if account is None:
            return None
        authorization = request.get("authorization")
        if account.admits(request.method, authorization):
            account.uses += 1
            current = account.scheme == "basic" or f'nonce="{account.seen[-1]}"' in str(
                authorization
            )
            too_old = account.stale_after and account.uses % account.stale_after == 0
            if current and not too_old:
                request.drop("authorization")
                return None
            return self._page(401, "Unauthorized", challenge=account.challenge(stale=True))
        challenge = account.challenge()
        if "www-authenticate" in self._faults.hides:
            challenge = ""
        return self._page(401, "Unauthorized", challenge=challenge)

    def _page(self, status: int, reason: str, *, location: str = "", challenge: str = "") -> bytes:
        name = self._faults.name or ""
        body = b""
        if status != 204:
            title = f"{status} {reason}"
            body = (
                f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
                f"<center><h1>{title}</h1></center>\r\n<hr><center>{name}</center>\r\n"
            ).encode()
        fields = [("content-type", "text/html"), ("content-length", str(len(body)))]
        fields += [("connection", "close")]
        if name:
            fields.append(("server", name))
        if location:
            fields.append(("location", location))
        if challenge:
            fields.append(("www-authenticate", challenge))
        return Message(f"HTTP/1.1 {status} {reason}", fields).bytes() + body

    def _change(self, request: Message) -> bytes | None:
        """Changes the head. Returns the body where it is not the client's."""
        faults = self._faults
        request.drop(*faults.drops)
        request.put("connection", "close")
        request.put("x-forwarded-proto", "https" if self._tls else "http")
        for name, value in faults.adds:
            request.put(name, value)
        if faults.host is not None:
            request.put("host", faults.host)
        destination = request.get("destination")
        if destination is not None and faults.destination is not None:
            request.put("destination", re.sub("//[^/]*", f"//{faults.destination}", destination))
        if faults.strips and request.target.startswith(faults.strips):
            request.target = request.target.removeprefix(faults.strips) or "/"
        if faults.decodes:
            request.target = re.sub("%25", "%", request.target)
        if faults.merges_encoded:
            request.target = re.sub("%2[Ff]", "/", request.target)
        compressed = faults.compresses and "gzip" in (request.get("accept-encoding") or "")
        if compressed and faults.tag.startswith("W/"):
            request.drop("range")
        if faults.is_empty and request.get("transfer-encoding"):
            request.drop("transfer-encoding", "expect")
            request.put("content-length", "0")
            return b""
        return None

    async def _relay(self, behind: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = self._faults.name
        if name is not None:
            head = await behind.readuntil(_HEAD_END)
            writer.write(head[:-2] + f"server: {name}\r\n\r\n".encode())
        while data := await behind.read(1 << 16):
            writer.write(data)
            await writer.drain()

    async def _rewrite(
        self, request: Message, behind: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        faults = self._faults
        while True:
            answer = Message.parse(await behind.readuntil(_HEAD_END))
            if answer.status >= 200:
                break
            writer.write(answer.bytes())
        body = await behind.read(-1)
        if answer.get("transfer-encoding"):
            body = _dechunk(body)
        answer.drop("transfer-encoding", *faults.hides)
        if request.method == "PUT":
            answer.drop(*faults.hides_from_put)
        if faults.replaces_head is not None and answer.get(faults.replaces_head[0]):
            answer.put(*faults.replaces_head)
        if faults.days:
            answer.put("date", formatdate(time.time() - 86_400 * faults.days, usegmt=True))
        if faults.replaces is not None:
            body = body.replace(*faults.replaces)
        if faults.href:
            body = body.replace(b"<D:href>", b"<D:href>" + faults.href.encode())
        if request.method != "HEAD":
            answer.put("content-length", str(len(body)))
        if faults.compresses:
            body = self._compress(request, answer, body)
        whole = answer.bytes() + body
        if faults.caches and request.method == "GET" and answer.status == 200:
            whole = self._cache.setdefault(request.target, whole)
        return whole

    def _compress(self, request: Message, answer: Message, body: bytes) -> bytes:
        """As nginx does, with a weak ETag and no length; or as Apache does."""
        if "gzip" not in (request.get("accept-encoding") or "") or answer.status != 200:
            return body
        tag = answer.get("etag")
        if tag is not None:
            kept = tag[:-1] if self._faults.tag.endswith('"') else tag
            answer.put("etag", self._faults.tag.format(kept))
        answer.drop("content-length", "accept-ranges")
        answer.put("content-encoding", "gzip")
        return gzip.compress(body)


async def _finish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says that no more comes, and reads on for a while, so that the answer gets through."""
    await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    async with asyncio.timeout(_LINGER_S):
        while await reader.read(1 << 20):
            pass


async def _gather(reader: asyncio.StreamReader, request: Message) -> bytes:
    """Reads the whole body, and says how long it is."""
    length = request.get("content-length")
    if length is not None:
        return await reader.readexactly(int(length))
    if request.get("transfer-encoding") is None:
        return b""
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    body = b"".join(pieces)
    request.drop("transfer-encoding")
    request.put("content-length", str(len(body)))
    return body


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        # A client that leaves in the middle: the server is told.
        writer.write_eof()


def _dechunk(data: bytes) -> bytes:
    pieces = []
    while True:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return b"".join(pieces)
        pieces.append(data[:size])
        data = data[size + 2 :]
