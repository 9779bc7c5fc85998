"""Plays a conversation (scenario.py) and compares each answer with what is written.

An answer has its status line (before it `HTTP/1.1 100 Continue` and an empty line, where it was
waited for), then any of

    Name: value                 the field, as a whole
    Name has a, b               these are in its list
    No Name                     it is not there

and after an empty line its body: XML (`<...`), the lines of a multistatus (`/...`, matching.py),
`@bytes SIZE [SEED] [FROM-TO]`, `@under SIZE` for any that is shorter, `@any`, or text. Without one
a success has none, and an error may have one. What `$name` means in all of it is in matching.py;
$PORT is the server's, $length the length of the request's body, and `$response(PASSWORD)` in an
Authorization of Digest what RFC 7616 has there.

Before the first step, and after a step, a line does something (with `! ` after a step):

    mkcol /x/   put /x   prop /x <element/>   lock $name /x   unlock $name /x   etag $name /x
    file NAME: content   folder NAME   time NAME: Sun, 09 Sep 2001 01:46:40 GMT
    restart

After a step a line tells what is so:

    + /x   - /x                 it is mapped, it is not
    file NAME: content          this file has this content (text or `@bytes`)
    folder NAME   none NAME     a folder; nothing of that name
    tree NAME: a b/ b/c         all there is below, percent-encoded
    time NAME: date             the time of modification on the disk
    same $a $b   differ $a $b

NAME is a path below the served folder, percent-encoded.
"""

from __future__ import annotations

import email.utils
import os
import re
import time
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from tests.support.carriers import Carrier, Request
from tests.support.dav import Dav
from tests.support.digest import sign
from tests.support.matching import (
    Names,
    find_line_difference,
    find_xml_difference,
    insert,
    match_text,
)
from tests.support.readers import READERS
from tests.support.reply import Reply
from tests.support.scenario import Scenario, Step, some_bytes
from tests.support.server import Server

CONTINUE = "HTTP/1.1 100 Continue\n\n"
ANSWER_S = 30
"""Clients wait no longer after their last byte (Finder, davfs2)."""


class Player:
    """One conversation.

    Args:
        dav: for what is prepared, and for what is mapped.
        root: the served folder, where there is one.
        server: what is started again by `restart`.
    """

    def __init__(
        self,
        scenario: Scenario,
        dav: Dav,
        carrier: Carrier,
        *,
        root: Path | None = None,
        server: Server | None = None,
    ) -> None:
        self.names: Names = {}
        self._scenario = scenario
        self._dav = dav
        self._carrier = carrier
        self._root = root
        self._server = server
        if server is not None:
            self.names["PORT"] = str(server.port)

    def play(self) -> None:
        for line in self._scenario.given:
            self._prepare(line)
        for step in self._scenario.steps:
            where = f"{self._scenario.path.name}:{step.line}: {step.title}"
            try:
                self._step(step)
            except AssertionError as error:
                error.add_note(where)
                raise

    # -- one step ----------------------------------------------------------------------------

    def _step(self, step: Step) -> None:
        request = self._request(step)
        started = time.monotonic()
        reply = self._carrier.send(request)
        took_s = time.monotonic() - started
        assert (reply is None) == (step.answer is None), f"answered: {reply}"
        if reply is not None and step.answer is not None:
            assert took_s < ANSWER_S
            self._assert_answer(reply, step.answer)
            if self._scenario.reader and reply.status < 300 and reply.body.startswith(b"<?xml"):
                READERS[self._scenario.reader](reply)
        for line in step.after:
            if line.startswith("! "):
                self._prepare(line[2:])
            else:
                self._assert_after(line)

    def _request(self, step: Step) -> Request:
        if "rest" in step.options:
            return Request("", "", [], options=step.options)
        head, _, text = step.request.partition("\n\n")
        line, *lines = head.splitlines()
        method, target, version = line.split(" ")
        assert version == "HTTP/1.1", line
        body = self._scenario.body(text)
        content = insert(body, self.names).encode() if isinstance(body, str) else body
        names = self.names | {"length": str(len(content))}
        headers = [(name, insert(value, names)) for name, value in self._scenario.fields(lines)]
        headers = [(name, sign(value, method)) for name, value in headers]
        for name, value in headers:
            if name.lower() == "content-length" and "short" not in step.options:
                assert int(value) == len(content), "the body is not the one that was recorded"
        return Request(method, insert(target, names), headers, content, step.options)

    def _assert_answer(self, reply: Reply, text: str) -> None:
        interim = (100,) if text.startswith(CONTINUE) else ()
        assert interim == reply.interim, reply
        head, _, body = text.removeprefix(CONTINUE).partition("\n\n")
        status, *fields = head.splitlines()
        assert status == f"HTTP/1.1 {reply.status} {reply.reason}", reply
        for line in fields:
            self._assert_field(reply, line)
        if body:
            self._assert_body(reply, body)
        elif reply.status < 300:
            assert reply.body == b""

    def _assert_field(self, reply: Reply, line: str) -> None:
        if line.startswith("No "):
            assert line[3:] not in reply.headers, line
        elif " has " in line.partition(":")[0]:
            name, _, tokens = line.partition(" has ")
            assert set(tokens.split(", ")) <= set(reply.headers.tokens(name)), reply
        else:
            name, _, value = line.partition(": ")
            # A challenge for each algorithm is a field of its own; any other is there once.
            several = name.lower() == "www-authenticate"
            values = reply.headers.get_all(name) if several else [reply.headers[name]]
            found = any(match_text(value, each, self.names) for each in values)
            assert found, f"{name}: {values}, not {value}"

    def _assert_body(self, reply: Reply, body: str) -> None:
        difference = None
        if body.startswith("<"):
            difference = find_xml_difference(body, reply.body, self.names)
        elif body.startswith("/"):
            difference = find_line_difference(body, reply.multistatus, self.names)
        elif body.startswith("@under "):
            assert len(reply.body) < int(body.removeprefix("@under "))
        elif body.startswith("@bytes "):
            match = re.fullmatch(r"(.*?)(?: (\d+)-(\d+))?", body)
            assert match
            whole = some_bytes(match[1])
            first, last = int(match[2] or 0), int(match[3] or len(whole) - 1)
            assert reply.body == whole[first : last + 1], "other bytes"
        elif body != "@any":
            assert match_text(body, reply.body.decode(), self.names), reply
        assert difference is None, difference

    # -- before and after ----------------------------------------------------------------------

    def _prepare(self, line: str) -> None:
        verb, _, words = line.partition(" ")
        if verb in ("file", "folder", "time"):
            self._place(verb, words)
        elif verb == "restart":
            assert self._server is not None
            self._server.stop()
            self._server.start()
        else:
            self._ask(verb, *words.split(" ", 1))

    def _place(self, verb: str, words: str) -> None:
        """Does something behind the server."""
        name, _, value = words.partition(": ")
        path = self._path(name)
        if verb == "folder":
            path.mkdir()
        elif verb == "file":
            path.write_bytes(self._content(value))
        else:
            seconds = email.utils.parsedate_to_datetime(value).timestamp()
            os.utime(path, (seconds, seconds))

    def _ask(self, verb: str, first: str, second: str = "") -> None:
        """Has something done by the server."""
        dav, names = self._dav, self.names
        if verb == "mkcol":
            assert dav.mkcol(first).status == 201
        elif verb == "put":
            assert dav.put(first, b"old content, 21 bytes").status == 201
        elif verb == "prop":
            update = f'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop>{second}</D:prop></D:set>'
            assert dav.proppatch(first, f"{update}</D:propertyupdate>").status == 207
        elif verb == "lock":
            # Some lock inside of what they have locked before, with depth 0.
            locks = [each for each in self._scenario.given if each.startswith("lock ")]
            submitted = "".join(f"(<{token}>) " for token in names.values() if ":" in token)
            names[first[1:]] = dav.lock(
                second,
                depth="0" if len(locks) > 1 else None,
                headers={"If": f"{submitted}(Not <DAV:no-lock>)"},
            ).token
        elif verb == "unlock":
            assert dav.unlock(second, names[first[1:]]).status == 204
        elif verb == "etag":
            names[first[1:]] = dav.head(second).headers["etag"]
        else:
            raise AssertionError(f"unknown line {verb} {first} {second}")

    def _assert_after(self, line: str) -> None:
        verb, _, words = line.partition(" ")
        if verb in ("+", "-"):
            status = self._dav.request("PROPFIND", words, {"Depth": "0"}).status
            assert status == (207 if verb == "+" else 404), line
        elif verb in ("same", "differ"):
            first, second = (self.names[name.removeprefix("$")] for name in words.split())
            same = first == second
            assert same == (verb == "same"), f"{line}: {self.names}"
        else:
            self._assert_disk(verb, words)

    def _assert_disk(self, verb: str, words: str) -> None:
        name, _, value = words.partition(": ")
        path = self._path(name.removesuffix(":"))
        if verb == "file":
            assert path.is_file(), words
            assert path.read_bytes() == self._content(value), f"other content of {name}"
        elif verb == "folder":
            assert path.is_dir(), words
        elif verb == "none":
            assert not os.path.lexists(path), words
        elif verb == "time":
            found = email.utils.formatdate(int(path.stat().st_mtime), usegmt=True)
            assert match_text(value, found, self.names), f"{found}, not {value}"
        elif verb == "tree":
            found_names = sorted(tree(path))
            assert found_names == sorted(value.split()), words
        else:
            raise AssertionError(f"unknown line {verb} {words}")

    def _content(self, text: str) -> bytes:
        return some_bytes(text) if text.startswith("@bytes ") else text.encode()

    def _path(self, name: str) -> Path:
        assert self._root is not None
        return self._root / os.fsdecode(unquote_to_bytes(name))


def tree(folder: Path) -> list[str]:
    """Returns everything below a folder, percent-encoded, folders with a slash."""
    return [
        quote(os.fsencode(path.relative_to(folder))) + ("/" if path.is_dir() else "")
        for path in folder.rglob("*")
    ]
