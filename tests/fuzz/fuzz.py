"""Coverage-guided fuzzing of the parsers, with atheris (libFuzzer).

    pip install atheris
    python tests/fuzz/fuzz.py TARGET [--runs N] [--seconds S] [--corpus DIR]
    python tests/fuzz/fuzz.py all --seconds 60        each target in turn

TARGET is a name of tests/fuzz/targets.py. What it finds is printed and kept as
tests/fuzz/cases/TARGET/<digest>, and from then on the default run replays it. The corpus, what
reached new code, is kept in DIR/TARGET (default: a temporary folder). Ends with 1 on a finding.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import atheris

with atheris.instrument_imports(include=["davserver"]):
    from tests.fuzz.targets import SEEDS, TARGETS

CASES = Path(__file__).resolve().parent / "cases"
LONGEST = 4096
RUN_S = 10
"""Seconds that one input may take: more is a finding as well."""


def fuzz(name: str, corpus: Path, *, runs: int, seconds: int) -> None:
    """Fuzzes one target; does not return."""
    target = TARGETS[name]

    def run(data: bytes) -> None:
        try:
            target(data)
        except BaseException:
            keep(name, data)
            traceback.print_exc()
            raise

    corpus.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS[name]:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    options = [f"-max_len={LONGEST}", f"-timeout={RUN_S}", f"-artifact_prefix={corpus}-"]
    options += [f"-runs={runs}"] if runs else []
    options += [f"-max_total_time={seconds}"] if seconds else []
    atheris.Setup([sys.argv[0], *options, str(corpus)], run)
    atheris.Fuzz()


def keep(name: str, data: bytes) -> None:
    """Stores an input that broke a promise, for the default run to replay."""
    folder = CASES / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def fuzz_all(corpus: Path, *, runs: int, seconds: int) -> int:
    """Runs each target in a process of its own; prints their numbers."""
    total = failed = 0
    for name in TARGETS:
        command = [sys.executable, __file__, name, "--corpus", str(corpus)]
        command += ["--runs", str(runs), "--seconds", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        counts = [int(count) for count in re.findall(r"^#(\d+)", done.stderr, re.MULTILINE)]
        total += max(counts, default=0)
        failed += done.returncode != 0
        verdict = "ok" if done.returncode == 0 else f"failed\n{done.stderr[-3000:]}"
        print(f"{name}: {max(counts, default=0)} executions, {verdict}", flush=True)
    print(f"{total} executions, {failed} targets failed", flush=True)
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--corpus", type=Path)
    given = parser.parse_args()
    corpus = given.corpus or Path(tempfile.mkdtemp(prefix="fuzz-"))
    if given.target == "all":
        return fuzz_all(corpus, runs=given.runs, seconds=given.seconds or 60)
    fuzz(given.target, corpus / given.target, runs=given.runs, seconds=given.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
