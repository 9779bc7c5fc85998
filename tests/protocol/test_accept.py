from __future__ import annotations

import time

import pytest

from davserver.protocol.accept import prefers_json
from davserver.protocol.headers import DavHeaders


def wants(*values: bytes) -> bool:
    return prefers_json(DavHeaders([(b"accept", value) for value in values]))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], False, id="none"),
        pytest.param([b""], False, id="empty"),
        pytest.param([b"*/*"], False, id="anything"),
        pytest.param([b"application/*"], False, id="a tie with application/xml"),
        pytest.param([b"application/json"], True, id="json"),
        pytest.param([b"Application/JSON"], True, id="case"),
        pytest.param([b"application/json;charset=utf-8"], True, id="a parameter"),
        pytest.param([b"application/json, */*"], False, id="axios: no word of preference"),
        pytest.param([b"application/json, text/plain, */*"], False, id="a tie by a wildcard"),
        pytest.param([b"application/json, */*;q=0.5"], True, id="anything else comes second"),
        pytest.param([b"application/json;q=0.9, text/xml;q=0.8"], True, id="above text/xml"),
        pytest.param([b"application/json, application/xml"], False, id="a tie"),
        pytest.param([b"application/json;q=0.5, text/xml"], False, id="below text/xml"),
        pytest.param([b"application/json;q=0.5, text/*;q=0.6"], False, id="below text/*"),
        pytest.param([b"application/json, application/*;q=0.1"], True, id="the specific counts"),
        pytest.param([b"*/*, text/xml;q=0, application/xml;q=0"], True, id="anything but XML"),
        pytest.param([b"application/json;q=0"], False, id="not json"),
        pytest.param([b"application/json;q=2, */*;q=0.1"], False, id="bad: weight"),
        pytest.param([b"application/json;q=, text/html"], False, id="bad: no weight"),
        pytest.param([b",,;q=1,application/json"], True, id="bad: empty elements"),
        pytest.param([b"text/html", b"application/json"], True, id="lines"),
        pytest.param([b"application/jsonp"], False, id="another type"),
    ],
)
def test_json_only_strictly_above_xml(values: list[bytes], expected: bool) -> None:
    assert expected is wants(*values)


@pytest.mark.security("S-08")
@pytest.mark.parametrize("unit", [b"a", b",", b";", b"a/b;q=1,", b" ", b"="])
def test_long_values_take_linear_time(unit: bytes) -> None:
    begun = time.process_time()
    wants(unit * (60_000 // len(unit)))

    assert time.process_time() - begun < 1
