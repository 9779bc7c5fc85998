"""Digest fields and OC-Checksum as values."""

from __future__ import annotations

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davserver.errors import BadRequest
from davserver.protocol.digests import (
    Hasher,
    UploadDigests,
    checksums_text,
    digest_field,
    from_text,
    preferred,
    to_text,
)
from davserver.protocol.headers import DavHeaders

BODY = b"abc"
SHA256 = hashlib.sha256(BODY).digest()
SHA512 = hashlib.sha512(BODY).digest()
SHA1 = hashlib.sha1(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()
ADLER32 = f"{zlib.adler32(BODY):08x}"
ALL = frozenset({"sha1", "md5", "adler32"})


def upload(**fields: bytes) -> UploadDigests | None:
    headers = [(name.replace("_", "-").encode(), value) for name, value in fields.items()]
    return UploadDigests.from_headers(DavHeaders(headers))


def test_who_asks_for_nothing_gets_nothing() -> None:
    assert upload(content_type=b"text/plain") is None


RIGHT = [
    pytest.param({"oc_checksum": f"SHA1:{SHA1}".encode()}, ALL, id="SHA1"),
    pytest.param({"oc_checksum": f"md5:{MD5.upper()}".encode()}, ALL, id="MD5, other case"),
    pytest.param({"oc_checksum": f"ADLER32:{ADLER32}".encode()}, ALL, id="ADLER32"),
    pytest.param(
        {"oc_checksum": f"SHA256:{SHA256.hex()}".encode()}, ALL | {"sha-256"}, id="SHA256"
    ),
    pytest.param({"oc_checksum": f"SHA1:{SHA1} MD5:{MD5}".encode()}, ALL, id="two checksums"),
    pytest.param({"oc_checksum": f"SHA3-256:ff SHA1:{SHA1}".encode()}, ALL, id="unknown beside"),
    pytest.param({"repr_digest": digest_field("sha-256", SHA256)}, {"sha-256"}, id="Repr-Digest"),
    pytest.param(
        {"content_digest": digest_field("sha-512", SHA512)}, {"sha-512"}, id="Content-Digest"
    ),
    pytest.param(
        {"repr_digest": digest_field("sha-256", SHA256) + b", md5=:AAAA:, x=1"},
        {"sha-256"},
        id="unknown digest beside",
    ),
    pytest.param({"want_repr_digest": b"sha-512=1"}, {"sha-512"}, id="Want-Repr-Digest"),
]


@pytest.mark.rfc("DI-01", "DI-02", "DI-05")
@pytest.mark.parametrize(("fields", "algorithms"), RIGHT)
def test_what_is_right_passes(fields: dict[str, bytes], algorithms: set[str]) -> None:
    checks = upload(**fields)

    assert checks is not None
    assert checks.algorithms == algorithms
    hasher = Hasher(checks.algorithms)
    hasher.update(BODY[:1])
    hasher.update(BODY[1:])
    checks.check(hasher.digests())


@pytest.mark.rfc("DI-02")
@pytest.mark.parametrize(("fields", "algorithms"), RIGHT[:-1])
def test_what_is_wrong_is_refused_with_both_values(
    fields: dict[str, bytes], algorithms: set[str]
) -> None:
    checks = upload(**fields)
    assert checks is not None
    hasher = Hasher(checks.algorithms)
    hasher.update(b"another")

    with pytest.raises(BadRequest) as caught:
        checks.check(hasher.digests())
    announced = checks.announced[0]
    assert announced.digest.hex() in caught.value.detail
    assert hasher.digests()[announced.algorithm].hex() in caught.value.detail


@pytest.mark.rfc("DI-01")
@pytest.mark.parametrize(
    "fields",
    [
        {"oc_checksum": b"SHA3-256:00"},
        {"oc_checksum": b""},
        {"repr_digest": b"md5=:AAAA:, sha=:AAAA:, unixsum=1"},
        {"content_digest": b""},
        {"want_repr_digest": b"md5=10"},
        {"want_repr_digest": b"?"},
    ],
    ids=str,
)
def test_what_is_unknown_is_passed_over(fields: dict[str, bytes]) -> None:
    assert upload(**fields) is None


@pytest.mark.rfc("DI-01")
@pytest.mark.parametrize(
    "fields",
    [
        {"oc_checksum": b"SHA1"},
        {"oc_checksum": b"SHA1:xyz"},
        {"oc_checksum": b"SHA1:" + MD5.encode()},
        {"oc_checksum": b"SHA1=" + SHA1.encode()},
        {"repr_digest": b"sha-256=" + SHA256.hex().encode()},
        {"repr_digest": b"sha-256=:AAAA:"},
        {"repr_digest": b"sha-256=1"},
        {"content_digest": b"sha-256"},
        {"content_digest": b"sha-256=:YQ==:,"},
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused(fields: dict[str, bytes]) -> None:
    with pytest.raises(BadRequest):
        upload(**fields)


@pytest.mark.rfc("DI-03", "DI-05")
@pytest.mark.parametrize(
    ("value", "algorithm"),
    [
        (b"sha-256=1", "sha-256"),
        (b"sha-512=3, sha-256=10", "sha-256"),
        (b"sha-512=3, sha-256=2", "sha-512"),
        (b"sha-512=1, sha-256=1", "sha-256"),
        (b"sha-512=1, sha-256=0", "sha-512"),
        (b"sha-256=0", None),
        (b"sha-256=11", None),
        (b"sha-256=-1", None),
        (b"sha-256", None),
        (b"sha-256=0.5", None),
        (b"md5=10, unixsum=9", None),
        (b"sha-256;", None),
        (b"", None),
    ],
)
def test_want_fields_are_a_hint(value: bytes, algorithm: str | None) -> None:
    assert preferred(DavHeaders([(b"want-repr-digest", value)]), b"want-repr-digest") == algorithm


def test_checksums_are_shown_as_owncloud_does() -> None:
    hasher = Hasher(("md5", "adler32", "sha1"))
    hasher.update(BODY)

    text = checksums_text(hasher.digests())
    assert text.decode() == f"SHA1:{SHA1} MD5:{MD5} ADLER32:{ADLER32}"
    assert checksums_text({}) == b""


@given(st.binary(max_size=50))
def test_what_is_kept_is_read_again(body: bytes) -> None:
    hasher = Hasher(("sha-256", "sha-512", "md5", "adler32", "sha1"))
    hasher.update(body)

    assert from_text(to_text(hasher.digests())) == hasher.digests()
    assert from_text("nothing md5:00 x:y") == {}
