"""Fields of the IETF draft on resumable uploads (draft-ietf-httpbis-resumable-upload, interop
version 8), their values and problem types. No I/O here.

A field whose value is not what the draft says is ignored (its section 4), as if it were not there.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from davserver.errors import BadRequest, Conflict, DavError
from davserver.protocol.headers import DavHeaders, parse_content_length

COMPLETE, OFFSET, LENGTH, LIMIT = (
    b"upload-complete",
    b"upload-offset",
    b"upload-length",
    b"upload-limit",
)
PARTIAL_UPLOAD = b"application/partial-upload"
_PROBLEMS = "https://iana.org/assignments/http-problem-types#"
_PARAMETERS = rb"(?:[ ]*;[ ]*[a-z*][a-z0-9_\-.*]*(?:=[!-:<-~]+)?)*"
_BOOLEAN = re.compile(rb"\?([01])" + _PARAMETERS)
_INTEGER = re.compile(rb"([0-9]{1,15})" + _PARAMETERS)
Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """What a request says of the upload that its content is a piece of.

    Attributes:
        is_last: `Upload-Complete: ?1`: nothing comes after this piece. None where it is not said.
        offset: bytes that came before it; None where it is not said.
        length: bytes of the whole representation, None while the client does not tell.
    """

    is_last: bool | None
    offset: int | None
    length: int | None

    @classmethod
    def from_headers(cls, headers: DavHeaders) -> Piece:
        """Ignores what cannot be read."""
        found = _match(_BOOLEAN, headers, COMPLETE)
        return cls(
            None if found is None else found == b"1",
            _integer(headers, OFFSET),
            _integer(headers, LENGTH),
        )

    def whole(self, headers: DavHeaders, *, offset: int, known: int | None = None) -> int | None:
        """Returns the length of the whole representation, None where nobody has told it yet.

        Args:
            offset: bytes that are here before this request.
            known: what an earlier request said.

        Raises InconsistentLength (400): two of those who tell it differ, or there would be more.
        """
        content = parse_content_length(headers)
        ends_at = None if content is None else offset + content
        told = {length for length in (self.length, known) if length is not None}
        if self.is_last and ends_at is not None:
            told.add(ends_at)
        if len(told) > 1:
            raise inconsistent_length(f"the upload has {' or '.join(map(str, sorted(told)))} bytes")
        length = told.pop() if told else None
        if length is not None and max(offset, ends_at or 0) > length:
            raise inconsistent_length(f"more than the {length} bytes that the upload has")
        return length


def _match(pattern: re.Pattern[bytes], headers: DavHeaders, name: bytes) -> bytes | None:
    # RFC 9651 section 4.2: several lines are one value, and an item has no comma in it.
    match = pattern.fullmatch((headers.joined(name) or b"").strip(b" "))
    return None if match is None else match[1]


def _integer(headers: DavHeaders, name: bytes) -> int | None:
    found = _match(_INTEGER, headers, name)
    return None if found is None else int(found)


def complete_field(*, is_complete: bool) -> tuple[bytes, bytes]:
    """Returns the field Upload-Complete."""
    return COMPLETE, b"?1" if is_complete else b"?0"


def limit_field(*, size: int | None, age_s: int | None) -> tuple[bytes, bytes]:
    """Returns the field Upload-Limit: the largest representation in bytes, and how long an upload
    lives. The draft wants the field even where no limit holds."""
    limits = {b"max-size": size, b"max-age": age_s}
    told = [b"%b=%d" % (name, value) for name, value in limits.items() if value is not None]
    return LIMIT, b", ".join(told) or b"min-size=0"


class UploadProblem(DavError):
    """An error that says what is wrong with an upload as a problem document (RFC 9457).

    Attributes:
        problem: the document, as JSON.
    """

    def __init__(self, kind: str, detail: str, fields: Fields = (), **members: int) -> None:
        super().__init__(detail, headers=fields)
        document = {"type": _PROBLEMS + kind, "title": detail, **members}
        self.problem = json.dumps(document).encode("ascii")


class InconsistentLength(UploadProblem, BadRequest):
    """400: the lengths that an upload's requests tell differ, or more comes than they tell."""


class CompletedUpload(UploadProblem, BadRequest):
    """400: nothing can be appended any more."""


class MismatchingOffset(UploadProblem, Conflict):
    """409: the content does not begin where the upload ends so far, which the answer tells."""


def inconsistent_length(detail: str) -> InconsistentLength:
    return InconsistentLength("inconsistent-upload-length", detail)


def completed_upload(fields: Fields) -> CompletedUpload:
    return CompletedUpload("completed-upload", "the upload is complete", fields)


def mismatching_offset(*, expected: int, provided: int) -> MismatchingOffset:
    return MismatchingOffset(
        "mismatching-upload-offset",
        f"the upload has {expected} bytes, not {provided}",
        ((OFFSET, b"%d" % expected), complete_field(is_complete=False)),
        **{"expected-offset": expected, "provided-offset": provided},
    )
