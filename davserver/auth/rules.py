"""Who may do what where: rules by path, homes, and what anonymous and signed-in users may else.

The first rule that fits decides, for its path and everything below. Where none fits: a home is its
user's alone; who is signed in may write; who is not may do what the share's `anonymous` says. In
what is read-only nobody writes, whatever a rule says.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from davserver.auth.base import Principal, Privilege
from davserver.configtables import Access, Rule, Share
from davserver.protocol.path import DavPath

_NONE, _READ, _WRITE = 0, 1, 2
_LEVELS: dict[str, int] = {"none": _NONE, "read": _READ, "write": _WRITE}
_NEEDED = {Privilege.READ: _READ, Privilege.WRITE: _WRITE}
_Segments = tuple[str, ...]
Spell = Callable[[DavPath], DavPath]


@dataclass(frozen=True, slots=True)
class _Line:
    """One rule."""

    segments: _Segments
    level: int
    users: frozenset[str]
    groups: frozenset[str]

    @property
    def is_for_everybody(self) -> bool:
        return not self.users and not self.groups

    def covers(self, segments: _Segments) -> bool:
        return segments[: len(self.segments)] == self.segments

    def is_for(self, principal: Principal) -> bool:
        if self.is_for_everybody or principal.name in self.users:
            return True
        return not self.groups.isdisjoint(principal.groups)


class RuleAuthorizer:
    """The PathAuthorizer of the settings.

    Args:
        shares: one without a name is the root itself.
        anonymous: what the anonymous principal may, where a share does not say.
        read_only: nobody writes anywhere.
        spell: how the storage spells a path, as far as that is known without looking: in lower
            case, where it folds it. It decides for canonical paths.
    """

    def __init__(
        self,
        shares: Sequence[Share],
        rules: Sequence[Rule],
        *,
        anonymous: Callable[[], Access],
        read_only: bool = False,
        spell: Spell | None = None,
    ) -> None:
        self._shares = {share.name: share for share in shares}
        self._single = self._shares.get("")
        self._anonymous = anonymous
        self._read_only = read_only
        self._lines = tuple(map(_line, rules))
        self._real_lines = self._lines if spell is None else tuple(_line(r, spell) for r in rules)
        self._spell = spell
        # The same everywhere: one folder, no rules.
        is_uniform = self._single is not None and not self._single.homes and not self._lines
        self._uniform = self._single if is_uniform else None
        self._uniform_cap = self._cap(self._uniform)
        self._varied = frozenset(self._roots_of_change())

    def _roots_of_change(self) -> list[_Segments]:
        found: list[_Segments] = [] if self._single else [()]
        for line in (*self._lines, *self._real_lines):
            found += [line.segments[:length] for length in range(len(line.segments))]
        for share in self._shares.values():
            if share.homes:
                found += [(), (share.name,)] if share.name else [()]
        return found

    @property
    def is_uniform(self) -> bool:
        return self._uniform is not None

    def permits(self, principal: Principal, privilege: Privilege, path: DavPath) -> bool:
        if self._uniform is not None:
            needed = _NEEDED[privilege]
            level = _WRITE if principal.name else self._anonymous_level(self._uniform)
            return level >= needed and self._uniform_cap >= needed
        segments = _normalized(path.segments)
        return self._level(principal, segments, real=False) >= _NEEDED[privilege]

    def permits_real(self, principal: Principal, privilege: Privilege, path: DavPath) -> bool:
        segments = _normalized(path.segments)
        return self._level(principal, segments, real=True) >= _NEEDED[privilege]

    def varies_below(self, path: DavPath) -> bool:
        return bool(self._varied) and _normalized(path.segments) in self._varied

    def denied_below(
        self, principal: Principal, privilege: Privilege, path: DavPath
    ) -> Sequence[DavPath]:
        segments = _normalized(path.segments)
        found: set[_Segments] = set()
        for lines, permits in (
            (self._lines, self.permits),
            (self._real_lines, self.permits_real),
        ):
            below = (line.segments for line in lines if _is_below(line.segments, segments))
            found.update(one for one in below if not permits(principal, privilege, DavPath(one)))
        return [DavPath(one) for one in sorted(found)]

    def is_open(self, privilege: Privilege, path: DavPath) -> bool:
        segments = _normalized(path.segments)
        share = self._share(segments)
        return min(self._most(share, segments), self._cap(share)) >= _NEEDED[privilege]

    def _most(self, share: Share | None, segments: _Segments) -> int:
        """Returns what the one who may most may."""
        most = _NONE
        for line in self._lines:
            if line.covers(segments):
                most = max(most, line.level)
                if line.is_for_everybody:
                    return most
        is_top = share is not None and share.homes and len(segments) == bool(share.name)
        return max(most, _READ if share is None or is_top else _WRITE)

    def _level(self, principal: Principal, segments: _Segments, *, real: bool) -> int:
        share = self._share(segments)
        return min(self._granted(principal, share, segments, real=real), self._cap(share))

    def _cap(self, share: Share | None) -> int:
        is_fixed = self._read_only or share is None or share.read_only
        return _READ if is_fixed else _WRITE

    def _granted(
        self, principal: Principal, share: Share | None, segments: _Segments, *, real: bool
    ) -> int:
        for line in self._real_lines if real else self._lines:
            if line.covers(segments) and line.is_for(principal):
                return line.level
        if share is None:
            # Above the shares: for whoever may see one of them.
            shows = principal.name or any(map(self._anonymous_level, self._shares.values()))
            return _READ if shows else _NONE
        if share.homes:
            return self._at_home(principal, segments, bool(share.name), real=real)
        return _WRITE if principal.name else self._anonymous_level(share)

    def _at_home(self, principal: Principal, segments: _Segments, depth: int, *, real: bool) -> int:
        """`depth` is how many segments the collection of all homes has."""
        if not principal.name:
            return _NONE
        if len(segments) == depth:
            return _READ
        home = DavPath((*segments[:depth], principal.name))
        if real and self._spell is not None:
            home = self._spell(home)
        return _WRITE if segments[depth] == home.name else _NONE

    def _anonymous_level(self, share: Share) -> int:
        if share.homes:
            return _NONE
        return _LEVELS[share.anonymous or self._anonymous()]

    def _share(self, segments: _Segments) -> Share | None:
        if self._single is not None:
            return self._single
        return self._shares.get(segments[0]) if segments else None


def _is_below(segments: _Segments, top: _Segments) -> bool:
    return len(segments) > len(top) and segments[: len(top)] == top


def _line(rule: Rule, spell: Spell | None = None) -> _Line:
    path = DavPath(tuple(segment for segment in rule.path.split("/") if segment))
    segments = path.segments if spell is None else spell(path).segments
    return _Line(
        _normalized(segments),
        _LEVELS[rule.access],
        frozenset(map(_nfc, rule.users)),
        frozenset(rule.groups),
    )


def _normalized(segments: _Segments) -> _Segments:
    """NFC and NFD spell one name: macOS sends the latter."""
    for segment in segments:
        if not segment.isascii():
            return tuple(map(_nfc, segments))
    return segments


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
