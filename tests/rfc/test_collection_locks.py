"""Write locks on collections (RFC 4918 section 7.4) and submission of tokens (section 7.5)."""

from __future__ import annotations

import pytest

from tests.conftest import AppDav
from tests.support.dav import XML
from tests.support.reply import Reply
from tests.support.trees import fill, locked_roots, tree

D = "{DAV:}"
LOCKINFO = (
    '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
    "<D:locktype><D:write/></D:locktype></D:lockinfo>"
)
MEMBERS = ("/c/", "/c/f", "/c/d/", "/c/d/g", "/f", "/d/", "/d/g")

# Requests that change what /c/ has for members: method, target, further fields, status when
# the token of /c/ is submitted.
MEMBERSHIP: dict[str, tuple[str, str, dict[str, str], int]] = {
    "DELETE of a member": ("DELETE", "/c/f", {}, 204),
    "DELETE of a collection in it": ("DELETE", "/c/d/", {}, 204),
    "MOVE out": ("MOVE", "/c/f", {"Destination": "/new"}, 201),
    "MOVE of a collection out": ("MOVE", "/c/d/", {"Destination": "/new/"}, 201),
    "MOVE in": ("MOVE", "/f", {"Destination": "/c/new"}, 201),
    "MOVE in, over a file": ("MOVE", "/f", {"Destination": "/c/f"}, 204),
    "MOVE in, over a collection": ("MOVE", "/d/", {"Destination": "/c/d/"}, 204),
    "rename inside": ("MOVE", "/c/f", {"Destination": "/c/new"}, 201),
    "COPY in": ("COPY", "/f", {"Destination": "/c/new"}, 201),
    "COPY inside": ("COPY", "/c/f", {"Destination": "/c/new"}, 201),
    "COPY of a collection in": ("COPY", "/d/", {"Destination": "/c/new/"}, 201),
    "COPY of a file over a collection": ("COPY", "/f", {"Destination": "/c/d/"}, 204),
    "COPY of a collection over one": ("COPY", "/d/", {"Destination": "/c/d/"}, 204),
    "COPY of a collection over a file": ("COPY", "/d/", {"Destination": "/c/f"}, 204),
    "PUT of a new member": ("PUT", "/c/new", {}, 201),
    "MKCOL": ("MKCOL", "/c/new/", {}, 201),
    "LOCK of an unmapped URL": ("LOCK", "/c/new", {"Content-Type": XML}, 201),
}
# Requests that leave the membership of /c/ alone.
CONTENT: dict[str, tuple[str, str, dict[str, str], int]] = {
    "PUT to a member": ("PUT", "/c/f", {}, 204),
    "COPY of a file over one": ("COPY", "/f", {"Destination": "/c/f"}, 204),
    "PROPPATCH of a member": ("PROPPATCH", "/c/f", {"Content-Type": XML}, 207),
    "PROPPATCH of a collection in it": ("PROPPATCH", "/c/d/", {"Content-Type": XML}, 207),
}
# ... and what lies deeper.
DEEPER: dict[str, tuple[str, str, dict[str, str], int]] = {
    "PUT deeper": ("PUT", "/c/d/new", {}, 201),
    "DELETE deeper": ("DELETE", "/c/d/g", {}, 204),
    "MOVE in, deeper": ("MOVE", "/f", {"Destination": "/c/d/new"}, 201),
}
# What no lock holds back.
READING: dict[str, tuple[str, str, dict[str, str], int]] = {
    "COPY out": ("COPY", "/c/f", {"Destination": "/new"}, 201),
    "COPY of it": ("COPY", "/c/", {"Destination": "/new/"}, 201),
    "GET": ("GET", "/c/f", {}, 200),
    "PROPFIND": ("PROPFIND", "/c/", {"Depth": "1"}, 207),
}
PROPPATCH = (
    '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x xmlns="x:">1</x></D:prop></D:set>'
    "</D:propertyupdate>"
)
BODIES = {"PUT": b"new", "LOCK": LOCKINFO.encode(), "PROPPATCH": PROPPATCH.encode()}
Request = tuple[str, str, dict[str, str], int]


def send(dav: AppDav, request: Request, if_header: str | None = None) -> Reply:
    method, target, fields, _ = request
    headers = fields | ({"If": if_header} if if_header else {})
    return dav.request(method, target, headers, BODIES.get(method, b""))


def cases(*tables: dict[str, Request]) -> list[object]:
    return [pytest.param(case, id=name) for table in tables for name, case in table.items()]


@pytest.mark.rfc("CL-01", "CL-07", "CL-08", "LM-10")
@pytest.mark.parametrize("request_", cases(MEMBERSHIP))
def test_a_depth_0_lock_holds_the_membership(dav: AppDav, request_: Request) -> None:
    """Section 7.4: with a lock on a collection its internal member URLs are neither created nor
    removed without the token."""
    fill(dav, *MEMBERS)
    lock = dav.lock("/c/", depth="0")
    before = tree(dav)

    reply = send(dav, request_)

    assert reply.status == 423
    assert reply.conditions == [f"{D}lock-token-submitted"]
    assert reply.condition_hrefs == ["/c/"]
    assert lock.token.encode() not in reply.body
    assert tree(dav) == before
    assert send(dav, request_, f"</c/> (<{lock.token}>)").status == request_[3]
    assert tree(dav) != before


@pytest.mark.rfc("CL-02", "CL-09")
@pytest.mark.parametrize("request_", cases(CONTENT, DEEPER, READING))
def test_a_depth_0_lock_leaves_the_rest_free(dav: AppDav, request_: Request) -> None:
    """Decided: a file copied over a file is an update of its content."""
    fill(dav, *MEMBERS)
    dav.lock("/c/", depth="0")

    assert send(dav, request_).status == request_[3]
    assert locked_roots(dav) == {"/c"}


@pytest.mark.rfc("CL-03", "CL-07", "CL-08", "LM-10")
@pytest.mark.parametrize("request_", cases(MEMBERSHIP, CONTENT, DEEPER))
def test_a_depth_infinity_lock_holds_all_below(dav: AppDav, request_: Request) -> None:
    fill(dav, *MEMBERS)
    lock = dav.lock("/c/", depth="infinity")
    before = tree(dav)

    reply = send(dav, request_)

    assert reply.status == 423
    assert reply.condition_hrefs == ["/c/"]
    assert tree(dav) == before
    assert dav.prop("/c/f", "{x:}x") is None
    # Two exclusive locks on one resource there are none, whoever holds the first.
    status = 423 if request_[0] == "LOCK" else request_[3]
    assert send(dav, request_, f"</c/> (<{lock.token}>)").status == status


@pytest.mark.rfc("CL-03", "LM-10")
@pytest.mark.parametrize("request_", cases(READING))
def test_no_lock_holds_reading_back(dav: AppDav, request_: Request) -> None:
    fill(dav, *MEMBERS)
    dav.lock("/c/", depth="infinity")

    assert send(dav, request_).status == request_[3]


@pytest.mark.rfc("CL-04")
@pytest.mark.parametrize("method", ["DELETE", "MOVE"])
@pytest.mark.parametrize("member", ["/c/f", "/c/d/"])
def test_a_locked_member_needs_both_tokens(dav: AppDav, method: str, member: str) -> None:
    fill(dav, *MEMBERS)
    collection, own = dav.lock("/c/", depth="0"), dav.lock(member)
    before = tree(dav)
    headers = {"Destination": "/new"} if method == "MOVE" else {}

    refused = {
        "/c/": f"<{member}> (<{own.token}>)",
        member: f"</c/> (<{collection.token}>)",
    }
    for root, submitted in refused.items():
        reply = dav.request(method, member, headers | {"If": submitted})
        assert (reply.status, reply.condition_hrefs) == (423, [root])
        assert tree(dav) == before

    both = f"</c/> (<{collection.token}>) <{member}> (<{own.token}>)"
    reply = dav.request(method, member, headers | {"If": both})
    assert reply.status == (201 if method == "MOVE" else 204)
    assert dav.get(member).status == 404
    assert locked_roots(dav) == {"/c"}


@pytest.mark.rfc("CL-05", "LM-02")
def test_moved_out_it_is_free_and_moved_in_it_is_held(dav: AppDav) -> None:
    fill(dav, *MEMBERS)
    one, other = dav.lock("/c/", depth="infinity"), dav.lock("/d/", depth="infinity")

    assert dav.move("/c/f", "/free", headers={"If": f"</c/> (<{one.token}>)"}).status == 201
    assert dav.put("/free", b"free").status == 204
    assert dav.locks("/free") == []

    both = f"</c/> (<{one.token}>) </d/> (<{other.token}>)"
    assert dav.move("/c/d/", "/d/e/", headers={"If": both}).status == 201
    reply = dav.put("/d/e/g", b"new", {"If": f"</c/> (<{one.token}>)"})
    assert (reply.status, reply.condition_hrefs) == (423, ["/d/"])
    assert dav.put("/d/e/g", b"new", {"If": f"(<{other.token}>)"}).status == 204
    assert dav.locks("/d/e/g")[0].findtext(f"{D}locktoken/{D}href") == other.token


# Where the token of /c/ may stand in If, on a PUT to /c/f: each header is true.
PLACES = {
    "untagged": "(<{token}>)",
    "tag of the resource": "</c/f> (<{token}>)",
    "tag of the collection": "</c/> (<{token}>)",
    "tag without its slash": "</c> (<{token}>)",
    "URL": "<http://127.0.0.1:8080/c/> (<{token}>)",
    "tag of another resource in scope": "</c/d/g> (<{token}>)",
    "other list is the true one": "</c/> (<{token}>) (Not <DAV:no-lock>)",
    "in a list that is false": "</f> (<{token}>) </c/> (Not <DAV:no-lock>)",
    "beside an entity-tag": '</c/f> (<{token}> ["wrong"]) (Not <DAV:no-lock>)',
    "not": "(Not <{token}>) (Not <DAV:no-lock>)",
}


@pytest.mark.rfc("CL-06", "IF-07", "IF-10")
@pytest.mark.parametrize("if_header", PLACES.values(), ids=PLACES.keys())
def test_a_token_anywhere_in_a_true_header_is_submitted(dav: AppDav, if_header: str) -> None:
    fill(dav, *MEMBERS)
    lock = dav.lock("/c/", depth="infinity")

    reply = dav.put("/c/f", b"new", {"If": if_header.format(token=lock.token)})

    assert reply.status == 204
    assert dav.get("/c/f").body == b"new"


@pytest.mark.rfc("CL-06", "CL-07", "IF-01")
def test_a_token_in_a_false_header_submits_nothing(dav: AppDav) -> None:
    fill(dav, *MEMBERS)
    lock = dav.lock("/c/", depth="infinity")

    assert dav.put("/c/f", b"new", {"If": f"</f> (<{lock.token}>)"}).status == 412
    assert dav.put("/c/f", b"new", {"If": f"(Not <{lock.token}>)"}).status == 412
    assert dav.get("/c/f").body == b"/c/f"


@pytest.mark.rfc("CL-07")
@pytest.mark.parametrize("request_", cases(MEMBERSHIP, CONTENT))
def test_a_true_header_without_the_token_is_not_enough(dav: AppDav, request_: Request) -> None:
    """Section 10.4.1: If is a condition and a submission, and they are two things."""
    fill(dav, *MEMBERS)
    dav.lock("/c/", depth="infinity")
    before = tree(dav)

    reply = send(dav, request_, "</none> (Not <DAV:no-lock>)")

    assert reply.status == 423
    assert tree(dav) == before


@pytest.mark.rfc("CL-08")
def test_every_lock_in_the_way_is_named_once(dav: AppDav) -> None:
    fill(dav, *MEMBERS)
    tokens = [dav.lock("/c/d/g", scope="shared").token for _ in range(2)]
    tokens.append(dav.lock("/c/", depth="0").token)
    tokens.append(dav.lock("/d/", depth="0").token)

    reply = dav.move("/c/d/", "/d/e/")

    assert reply.status == 423
    assert sorted(reply.condition_hrefs) == ["/c/", "/c/d/g", "/d/"]
    assert not any(token.encode() in reply.body for token in tokens)


@pytest.mark.rfc("CL-09")
def test_live_properties_of_a_locked_collection_change(dav: AppDav) -> None:
    """Section 7.1: only what the client may write is locked."""
    fill(dav, "/c/", "/c/f")
    dav.proppatch("/c/", set={f"{D}getlastmodified": "Mon, 12 Jan 1998 09:25:56 GMT"})
    lock = dav.lock("/c/", depth="0")
    before = dav.prop("/c/", f"{D}getlastmodified").text

    assert dav.delete("/c/f", {"If": f"</c/> (<{lock.token}>)"}).status == 204
    assert dav.prop("/c/", f"{D}getlastmodified").text != before
