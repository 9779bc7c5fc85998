"""Debian's litmus against the real server: every suite complete, without failure or warning."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import Server

pytestmark = [pytest.mark.litmus, pytest.mark.timeout(180)]

# litmus 0.13 runs exactly these numbers of tests; none of them is ever skipped.
SUITES = {"basic": 16, "copymove": 13, "props": 30, "locks": 41, "http": 4}
SHARES = {"files": "", "other": "read_only = true"}
_SUMMARY = re.compile(r"<- summary for `(\w+)': of (\d+) tests run: (\d+) passed, (\d+) failed")


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize(
    "server",
    [
        {"workers": 1},
        {"workers": 4},
        {"workers": 1, "prefix": "/dav"},
        {"workers": 1, "shares": SHARES},
        {"workers": 4, "shares": SHARES},
    ],
    ids=["1 worker", "4 workers", "prefix", "share", "share, 4 workers"],
    indirect=True,
)
def test_litmus_suite_passes_without_warning(
    suite: str, server: Server, client: Callable[[str], str], tmp_path: Path
) -> None:
    url = server.url + ("files/" if (server.root / "files").exists() else "")
    run_litmus(suite, [client("litmus"), url], tmp_path)


def run_litmus(suite: str, command: list[str], folder: Path) -> None:
    """Runs one suite in a folder; it must be complete, without a failure or a warning."""
    result = subprocess.run(
        command,
        cwd=folder,
        env={"TESTS": suite, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=170,
        check=False,
    )
    output = result.stdout.decode(errors="replace").replace("\r", "\n")
    report = report_of(output, folder)
    summaries = [(m[1], *map(int, m.groups()[1:])) for m in _SUMMARY.finditer(output)]

    assert [(suite, SUITES[suite], SUITES[suite], 0)] == summaries, report
    assert not re.search("WARNING|warnings were issued|SKIPPED|skipped", output), report
    assert result.returncode == 0, report


@pytest.mark.parametrize(
    "server",
    [{"scheme": "https", "workers": 4, "arguments": ["--tls", "self-signed"]}],
    ids=["4 workers"],
    indirect=True,
)
def test_litmus_passes_over_tls(
    server: Server, client: Callable[[str], str], tmp_path: Path
) -> None:
    check_litmus([client("litmus"), "-k", server.url], tmp_path)


def check_litmus(command: list[str], folder: Path) -> None:
    """Runs litmus over TLS in a folder; it must be complete, without a failure or a warning."""
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=170,
        check=False,
    )
    output = done.stdout.decode(errors="replace").replace("\r", "\n")
    found = {m[1]: tuple(map(int, m.groups()[1:])) for m in _SUMMARY.finditer(output)}
    # Over TLS litmus leaves its test of 100 Continue out.
    expected = {name: (count, count, 0) for name, count in (SUITES | {"http": 3}).items()}
    skipped = re.findall(r"(\w+)\.+ SKIPPED", output)

    assert found == expected, report_of(output, folder)
    assert not re.search("WARNING|warnings were issued", output)
    assert skipped == ["expect100"]
    assert done.returncode == 0


def report_of(output: str, folder: Path) -> str:
    """Returns what did not simply pass, with the requests that litmus traced for it."""
    lines = [line for line in output.splitlines() if line.strip() and not line.endswith("pass")]
    parts = ["\n".join(lines)]
    log = folder / "debug.log"
    trace = log.read_text(errors="replace") if log.exists() else ""
    for section in re.split(r"(?=\*{7} Running test )", trace):
        title = re.match(r"\*{7} Running test \d+: (\w+)", section)
        if title and re.search(rf" {title[1]}\.*.*(FAIL|WARNING|SKIP)", output):
            parts.append(section[:4000])
    return "\n".join(parts)
