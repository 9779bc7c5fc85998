"""PROPFIND: names that are found in two spellings, and hrefs that every client can read (RFC 4918
sections 5.2 and 8.3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import AppDav

MakeDav = Callable[..., AppDav]
TOPIC = "{http://example.org/ns}topic"
NFC, NFD = "/caf%C3%A9.txt", "/cafe%CC%81.txt"


@pytest.mark.security("P-05")
@pytest.mark.parametrize(("stored", "asked"), [(NFC, NFD), (NFD, NFC)], ids=["NFC", "NFD"])
def test_a_name_is_found_by_its_other_spelling(make_dav: MakeDav, stored: str, asked: str) -> None:
    """macOS asks in NFD for what Linux stores in NFC: one resource, one lock, one property."""
    dav = make_dav("filesystem")
    assert dav.put(stored, b"one").status == 201

    assert dav.put(asked, b"two").status == 204
    dav.proppatch(asked, set={TOPIC: "x"})
    dav.lock(stored)

    assert dav.get(stored).body == dav.get(asked).body == b"two"
    assert dav.prop(stored, TOPIC).text == "x"
    assert len(dav.locks(asked)) == 1
    assert dav.put(asked, b"three").status == 423
    assert dav.members("/") == [stored]
    assert dav.root is not None
    assert len(list(dav.root.iterdir())) == 1


def test_both_spellings_on_disk_are_two_resources(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    assert dav.root is not None
    (dav.root / "caf\u00e9.txt").write_bytes(b"nfc")
    (dav.root / "cafe\u0301.txt").write_bytes(b"nfd")

    assert dav.members("/") == sorted([NFC, NFD])
    assert (dav.get(NFC).body, dav.get(NFD).body) == (b"nfc", b"nfd")


# RFC 3986 section 2.3: all that stays as it is.
UNRESERVED = "-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"


def test_everything_but_the_unreserved_is_escaped_in_an_href(make_dav: MakeDav) -> None:
    """Clients that compare hrefs as text, and those that decode too eagerly, get along."""
    dav = make_dav("filesystem")
    assert dav.root is not None
    for code in range(0x21, 0x7F):
        if chr(code) not in "/.":
            (dav.root / f"{chr(code)}x").write_bytes(b"")

    hrefs = dav.members("/")

    names = [chr(code) for code in range(0x21, 0x7F) if chr(code) not in "/."]
    expected = [n if n in UNRESERVED else f"%{ord(n):02X}" for n in names]
    assert hrefs == sorted(f"/{name}x" for name in expected)
    for href in hrefs:
        assert dav.propfind(href).hrefs == [href]


@pytest.mark.parametrize("prefix", ["/dav", "/a b/\u00e4"])
def test_hrefs_have_the_prefix_of_the_request(make_dav: MakeDav, prefix: str) -> None:
    dav = make_dav("memory", prefix=prefix)
    base = prefix.replace(" ", "%20").replace("\u00e4", "%C3%A4")
    dav.mkcol(f"{base}/c/")
    dav.put(f"{base}/c/f")
    dav.lock(f"{base}/c/", depth="infinity")

    assert dav.propfind(f"{base}/", depth="infinity").hrefs == [
        *(f"{base}/", f"{base}/c/", f"{base}/c/f")
    ]
    (active,) = dav.locks(f"{base}/c/f")
    assert active.findtext("{DAV:}lockroot/{DAV:}href") == f"{base}/c/"
    assert dav.put(f"{base}/c/f", b"x").condition_hrefs == [f"{base}/c/"]


@pytest.mark.parametrize("depth", ["0", "1"])
def test_without_its_slash_a_collection_is_the_same(dav: AppDav, depth: str) -> None:
    """Never a redirect; Content-Location tells of the slash."""
    dav.mkcol("/c/")
    dav.put("/c/f")

    with_slash = dav.request("PROPFIND", "/c/", {"Depth": depth})
    without = dav.request("PROPFIND", "/c", {"Depth": depth})

    assert without.body == with_slash.body
    assert without.headers["content-location"] == "/c/"
    assert "content-location" not in with_slash.headers
