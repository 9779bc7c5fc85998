"""Drives a LibreOffice that listens on a pipe: reads commands as lines of JSON, answers each with
one. Run by the Python that has `uno` (Debian's package python3-uno).

    python3 drive.py NAME-OF-THE-PIPE
    ["store", URL, TEXT]    -> null; a new document
    ["open", URL]           -> {"read_only": ..., "text": ...}; stays open
    ["save", TEXT]          -> null; the open document, with this text
    ["close"]               -> null
    ["files", METHOD, ...]  -> a method of SimpleFileAccess
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import uno
from com.sun.star.beans import PropertyValue
from com.sun.star.uno import Exception as UnoException

ATTEMPTS = 300


def connect(pipe: str) -> Any:
    """Returns the context of the office once it listens."""
    local = uno.getComponentContext()
    services = local.ServiceManager
    resolver = services.createInstanceWithContext("com.sun.star.bridge.UnoUrlResolver", local)
    for _ in range(ATTEMPTS):
        try:
            return resolver.resolve(f"uno:pipe,name={pipe};urp;StarOffice.ComponentContext")
        except UnoException:
            time.sleep(0.1)
    raise TimeoutError(f"no office listens on {pipe}")


class Office:
    def __init__(self, context: Any) -> None:
        services = context.ServiceManager
        self._desktop = services.createInstanceWithContext("com.sun.star.frame.Desktop", context)
        self._files = services.createInstance("com.sun.star.ucb.SimpleFileAccess")
        self._document: Any = None

    def load(self, url: str) -> Any:
        hidden = PropertyValue()
        hidden.Name, hidden.Value = "Hidden", True
        return self._desktop.loadComponentFromURL(url, "_blank", 0, (hidden,))

    def store(self, url: str, text: str) -> None:
        document = self.load("private:factory/swriter")
        document.Text.String = text
        document.storeToURL(url, ())
        document.close(True)

    def open(self, url: str) -> dict[str, Any]:
        self._document = self.load(url)
        return {"read_only": self._document.isReadonly(), "text": self._document.Text.String}

    def save(self, text: str) -> None:
        self._document.Text.String = text
        self._document.store()

    def close(self) -> None:
        self._document.close(True)

    def files(self, method: str, *arguments: Any) -> Any:
        result = getattr(self._files, method)(*arguments)
        if method == "getDateTimeModified":
            fields = ("Year", "Month", "Day", "Hours", "Minutes", "Seconds")
            return [getattr(result, field) for field in fields]
        return result


def main() -> None:
    office = Office(connect(sys.argv[1]))
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"result": getattr(office, name)(*arguments)}
        except UnoException as error:
            answer = {"error": f"{type(error).__name__}: {error.Message}"}
        print(json.dumps(answer), flush=True)


main()
