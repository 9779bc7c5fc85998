"""What is shown: a line for each finding, then what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from davserver.doctor.findings import Finding, Verdict
from davserver.doctor.proxies import CLOUDFLARE, DAVSERVER, PROXIES
from davserver.doctor.remedies import ADVICE, REMEDIES
from davserver.doctor.visit import Visit


class _Facts(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "..."


@dataclass(slots=True)
class _Remedy:
    lines: list[str]
    checks: list[str]


class Report:
    """Says each finding when it comes, and the rest at the end.

    Args:
        say: takes one line.
    """

    def __init__(self, visit: Visit, say: Callable[[str], None]) -> None:
        self._visit = visit
        self._say = say
        self.findings: list[Finding] = []

    def add(self, finding: Finding) -> None:
        self.findings.append(finding)
        self._say(f"{finding.verdict.value:<8} {finding.check:<18} {finding.text}")

    @property
    def is_broken(self) -> bool:
        return self._count(Verdict.BROKEN) > 0

    def conclude(self) -> None:
        """Says how many, and what mends them."""
        count, warnings = self._count(Verdict.BROKEN), self._count(Verdict.WARNING)
        self._say("")
        if not count and not warnings:
            self._say("All is well.")
            return
        self._say(f"{count} broken, {_counted(warnings, 'warning')}. What to do:")
        for number, (title, remedy) in enumerate(self._remedies().items(), start=1):
            self._say("")
            self._say(f"{number}. {title[0].upper()}{title[1:]} ({', '.join(remedy.checks)})")
            for line in remedy.lines:
                self._say(f"     {line}")

    def _count(self, verdict: Verdict) -> int:
        return sum(finding.verdict is verdict for finding in self.findings)

    def _remedies(self) -> dict[str, _Remedy]:
        """Findings of one cause are told once."""
        found: dict[str, _Remedy] = {}
        for finding in self.findings:
            if finding.cause is None:
                continue
            title = finding.cause.value
            if "header" in finding.facts:
                name = f"the header field {finding.facts['header']}"
                title = title.replace("a header field", name)
            remedy = found.setdefault(title, _Remedy([], []))
            if finding.check not in remedy.checks:
                remedy.checks.append(finding.check)
            remedy.lines.extend(each for each in self._lines(finding) if each not in remedy.lines)
        return found

    def _lines(self, finding: Finding) -> list[str]:
        assert finding.cause is not None
        if finding.cause in ADVICE:
            return [ADVICE[finding.cause]]
        remedies = REMEDIES[finding.cause]
        known = [name for name in (*PROXIES, CLOUDFLARE) if name in self._visit.proxies]
        address = self._visit.address
        facts = _Facts(
            {
                "path": address.path,
                "url": address.url,
                "bare": address.path.rstrip("/"),
                "prefix": address.path.rstrip("/"),
            }
            | finding.facts
        )
        return [
            f"{name:<10} {remedies[name].format_map(facts)}"
            for name in (*(known or PROXIES), DAVSERVER)
            if name in remedies
        ]


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"
