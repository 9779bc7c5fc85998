"""How some clients read XML: not as XML is meant. What they take must be what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from xml.parsers import expat

from tests.support.reply import Reply

HREF = "{DAV:}href"


class _Finder:
    """webdavfs: names without namespace or case, and of a text what comes in the first piece."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self._has_text = True

    def start(self, name: str, _: Mapping[str, str]) -> None:
        self._open.append(name.rpartition(":")[2].lower())
        self._has_text = False

    def end(self, _: str) -> None:
        self._open.pop()
        self._has_text = True

    def data(self, text: str) -> None:
        if not self._has_text and self._open:
            self.texts.setdefault(self._open[-1], []).append(text)
        self._has_text = True


def read_as_finder(reply: Reply) -> None:
    """Asserts that webdavfs finds each resource, once, and the token of a new lock."""
    finder = _Finder()
    parser = expat.ParserCreate()
    parser.buffer_text = False
    parser.StartElementHandler = finder.start
    parser.EndElementHandler = finder.end
    parser.CharacterDataHandler = finder.data
    parser.Parse(reply.body, True)
    hrefs = finder.texts.get("href", [])
    if reply.status == 207:
        tokens = [
            href.text
            for element in reply.xml.iter("{DAV:}locktoken", "{DAV:}lockroot", "{DAV:}owner")
            for href in element.iter(HREF)
        ]
        assert sorted(hrefs) == sorted([*reply.multistatus.hrefs, *map(str, tokens)]), hrefs
    else:
        # The last of these counts, so that there must be no other lock in it.
        (token,) = reply.xml.iterfind(".//{DAV:}locktoken/{DAV:}href")
        assert token.text in hrefs
    for name, texts in finder.texts.items():
        meant = [element.text for element in reply.xml.iter() if _local(element.tag) == name]
        assert texts == [text for text in meant if text], f"{name} is read as {texts}"


def _local(tag: object) -> str:
    return str(tag).rpartition("}")[2].lower()


READERS: Mapping[str, Callable[[Reply], None]] = {"finder": read_as_finder}
"""By the name that a conversation gives after `reads:`; each gets what has a body of XML."""
