from __future__ import annotations

import time

import pytest

from davserver.protocol.headers import DavHeaders
from davserver.protocol.prefer import Preferences, Return

NOTHING = Preferences()
MINIMAL = Preferences(Return.MINIMAL)
REPRESENTATION = Preferences(Return.REPRESENTATION)


def read(*values: bytes) -> Preferences:
    return Preferences.from_headers(DavHeaders([(b"prefer", value) for value in values]))


@pytest.mark.rfc("PR-01", "PR-07")
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], NOTHING, id="none"),
        pytest.param([b""], NOTHING, id="empty"),
        pytest.param([b"return=minimal"], MINIMAL, id="minimal"),
        pytest.param([b"return=representation"], REPRESENTATION, id="representation"),
        pytest.param([b"RETURN=minimal"], MINIMAL, id="names have no case"),
        pytest.param([b"return=MINIMAL"], NOTHING, id="values have a case"),
        pytest.param([b'return="minimal"'], MINIMAL, id="quoted"),
        pytest.param([b'return="mini\\mal"'], MINIMAL, id="quoted pair"),
        pytest.param([b"return \t= minimal"], MINIMAL, id="blanks"),
        pytest.param([b"return=minimal; x=y;z"], MINIMAL, id="parameters"),
        pytest.param([b'return=minimal;x="a,b;c"'], MINIMAL, id="comma in a parameter"),
        pytest.param([b"return=minimal;"], MINIMAL, id="no parameter, 7240 erratum 4439"),
        pytest.param([b"return=minimal;;x"], MINIMAL, id="empty parameter"),
        pytest.param([b"return"], NOTHING, id="no value"),
        pytest.param([b'return=""'], NOTHING, id="empty value"),
        pytest.param([b"return=other, return=minimal"], NOTHING, id="first counts"),
        pytest.param([b"return=minimal, return=other"], MINIMAL, id="second does not"),
        pytest.param([b"return=minimal, return=representation"], NOTHING, id="7240 4.2"),
        pytest.param([b'unknown="return=minimal, x", wait=3'], Preferences(wait_s=3), id="unknown"),
        pytest.param([b"respond-async"], Preferences(is_async=True), id="respond-async"),
        pytest.param(
            [b"respond-async, wait=10"], Preferences(is_async=True, wait_s=10), id="7240 4.3"
        ),
        pytest.param(
            [b"respond-async", b"wait=10"], Preferences(is_async=True, wait_s=10), id="lines"
        ),
        pytest.param([b"wait=0"], Preferences(wait_s=0), id="wait 0"),
        pytest.param([b"wait=5, wait=9"], Preferences(wait_s=5), id="first wait counts"),
        pytest.param([b"wait=-5"], NOTHING, id="wait below 0"),
        pytest.param([b"wait=5s"], NOTHING, id="wait with a unit"),
        pytest.param([b"wait=9999999999"], NOTHING, id="wait too long a number"),
        pytest.param([b"depth-noroot"], Preferences(without_root=True), id="depth-noroot"),
        pytest.param(
            [b"depth-noroot,return=minimal"],
            Preferences(Return.MINIMAL, without_root=True),
            id="8144 section 4",
        ),
        pytest.param([b"(, wait=1"], Preferences(wait_s=1), id="bad: no token"),
        pytest.param([b"wait 2, wait=1"], Preferences(wait_s=1), id="bad: two words"),
        pytest.param([b'a="b, wait=1'], NOTHING, id="bad: quotation not closed"),
        pytest.param([b",, ,wait=1,,"], Preferences(wait_s=1), id="empty elements"),
        pytest.param([b"wait=1\n"], NOTHING, id="bad: line feed"),
    ],
)
def test_preferences(values: list[bytes], expected: Preferences) -> None:
    assert expected == read(*values)


@pytest.mark.security("S-08")
@pytest.mark.parametrize(
    "unit", [b"a", b"a,", b'"', b'"\\', b'a="\\', b"a=b;", b";", b" ", b"\t=", b'a="b",', b"="]
)
def test_long_values_take_linear_time(unit: bytes) -> None:
    begun = time.process_time()
    read(unit * (60_000 // len(unit)))

    assert time.process_time() - begun < 1
