"""Our half of the client is that of RFC 7616 section 3.9.1."""

from __future__ import annotations

import pytest

from tests.support.digest import sign

FIELD = (
    'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
    'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="{}", opaque="x"'
)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_response_is_the_example_of_the_rfc(algorithm: str, response: str) -> None:
    unsigned = FIELD.format(algorithm, "$response(Circle of Life)")

    assert sign(unsigned, "GET") == FIELD.format(algorithm, response)


def test_what_is_no_digest_stays_as_it_is() -> None:
    assert sign("Basic dTpw", "GET") == "Basic dTpw"
