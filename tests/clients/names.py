"""Names that clients handle badly, if at all: one list for all of them."""

from __future__ import annotations

NAMES = (
    "with space.txt",
    "per%cent 100%25.txt",
    "hash#tag;semi=colon&amp.txt",
    "what?.txt",
    'it\'s "quoted" +plus+ (round) [square] {curly}.txt',
    "back\\slash: star* pipe| less< more>.txt",
    "@at,comma!~$.txt",
    "Größe ñandú.txt",
    "日本語 テスト.txt",
    "party 🥳.txt",
)
