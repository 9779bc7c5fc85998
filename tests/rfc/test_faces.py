"""Every multistatus of the tests says the same in JSON as in XML.

Three times over. Whatever 207 any test gets in XML is turned into JSON and compared, both parsed
(tests/support/reply.py). What is safe to ask again is asked again, over the wire (test_json.py).
And here the tests of the methods run once more with every request asking for JSON, so that all that
they find in the XML they have to find in the JSON of the very same request.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import AppDav
from tests.support.dav import XML
from tests.support.faces import COMPARED, compare, facts, xml_of
from tests.support.otherface import REPORT

ROOT = Path(__file__).resolve().parents[2]
SOME = ["multistatus", "copy_failures", "delete", "lock", "proppatch", "extended_mkcol"]
FEWER = [*(f"tests/rfc/test_{name}.py" for name in SOME), "-k", "not memory"]
ACROSS = ["tests/rfc/test_move_across.py", "-k", "not dies and not anywhere"]
MANY = ["tests/rfc", "tests/extensions", "--ignore", "tests/rfc/test_faces.py"]


def run_in_json(tmp_path: Path, asked: list[str]) -> dict[str, int]:
    """Runs tests in the other face; returns how many answers of each method and status were told
    in JSON."""
    report = tmp_path / "told.json"
    marks = "not spelling and not long and not bench"
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "60"]
    run = subprocess.run(
        [*pytest_, "-m", marks, *asked],
        cwd=ROOT,
        env=os.environ | {REPORT: str(report)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    told: dict[str, int] = json.loads(report.read_text("utf-8"))
    return told


@pytest.mark.rfc("MS-01", "MS-04", "MS-08")
@pytest.mark.timeout(180)
def test_what_the_tests_find_in_xml_they_find_in_json(tmp_path: Path) -> None:
    told = run_in_json(tmp_path, FEWER)

    least = {"PROPFIND": 200, "PROPPATCH": 100, "DELETE": 10, "COPY": 10, "LOCK": 10}
    assert {method: told.get(f"{method} 207", 0) >= count for method, count in least.items()} == (
        dict.fromkeys(least, True)
    ), told
    assert told["LOCK 200"] >= 20
    assert told["LOCK 201"] >= 2
    assert told["MKCOL 403"] >= 5


@pytest.mark.timeout(120)
def test_a_move_across_file_systems_says_the_same_in_json(tmp_path: Path) -> None:
    assert run_in_json(tmp_path, ACROSS)["MOVE 207"] >= 8


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_all_of_them_find_the_same_in_json(tmp_path: Path) -> None:
    told = run_in_json(tmp_path, MANY)

    assert told["PROPFIND 207"] >= 4000, told
    assert told["PROPPATCH 207"] >= 1000, told


def test_an_answer_in_xml_is_compared_wherever_a_test_gets_it(dav: AppDav) -> None:
    """The comparison of both faces is in the driver, not in what a test asks for."""
    before = COMPARED["multistatus"]
    dav.put("/f", b"x")
    dav.propfind("/f")
    dav.proppatch("/f", set={"{u}x": "1"})

    assert COMPARED["multistatus"] == before + 2
    assert dav.lock("/f")
    assert COMPARED["prop"] >= 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b'"a":"1"', b'"a":"2"', id="another value"),
        pytest.param(b'"a":"1"', b'"b":"1"', id="another name"),
        pytest.param(b'"u":{"a"', b'"v":{"a"', id="another namespace"),
        pytest.param(b'"status":404,"message":"Not Found"', b'"status":403,"message":"Forbidden"',
                     id="another status"),
        pytest.param(b'"href":"/f"', b'"href":"/g"', id="another href"),
        pytest.param(b'"lang":"en"', b'"lang":"de"', id="another language"),
    ],
)  # fmt: skip
def test_the_comparison_sees_a_difference(dav: AppDav, old: bytes, new: bytes) -> None:
    dav.put("/f", b"x")
    dav.proppatch(
        "/f",
        '<propertyupdate xmlns="DAV:"><set><prop><a xmlns="u">1</a>'
        '<c xmlns="u" xml:lang="en">2</c></prop></set></propertyupdate>',
    )
    body = b'<propfind xmlns="DAV:"><prop xmlns:u="u"><u:a/><u:c/><u:none/></prop></propfind>'
    fields = {"Depth": "0", "Content-Type": XML}
    xml = dav.request("PROPFIND", "/f", fields, body).body
    told = dav.request("PROPFIND", "/f", fields | {"Accept": "application/json"}, body).body

    assert told.count(old) == 1
    compare(xml, told)
    with pytest.raises(AssertionError):
        compare(xml, told.replace(old, new))


def test_facts_are_read_from_the_json_alone() -> None:
    from lxml import etree

    document = {"results": [{"href": "/a", "status": 423, "message": "Locked"}]}
    root = etree.fromstring(xml_of(document))

    assert facts(root) == (
        "{DAV:}multistatus",
        [
            (
                "{DAV:}response",
                [("{DAV:}href", "/a"), ("{DAV:}status", "HTTP/1.1 423 Locked")],
            )
        ],
    )
