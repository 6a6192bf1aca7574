"""Suggestions for unknown words in messages, and quoting of values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

SEPARATORS = dict.fromkeys(map(ord, "-_ :"))
"""Separators between the parts of a name; they are not compared."""
LONGEST = 100
"""Number of characters of a word that are compared."""


def nearest(word: str, words: Iterable[str], n: int = 1, cutoff: float = 0.5) -> list[str]:
    """Up to `n` of the words that are most similar to `word`, the best first.

    Case, hyphens and other separators are not compared: SNIP and ResNet-20, as papers write them, find
    snip and resnet20.

    Args:
        cutoff: least similarity, from 0 to 1.
    """
    forms: dict[str, list[str]] = {}
    for known in words:
        forms.setdefault(_folded(known), []).append(known)
    alike = get_close_matches(_folded(word[:LONGEST]), forms, n=n, cutoff=cutoff)
    return [known for form in alike for known in sorted(forms[form], key=lambda one: one != word)][:n]


def _folded(word: str) -> str:
    return word.casefold().translate(SEPARATORS)


def near(word: str, words: Sequence[str]) -> str:
    """The end of a message about an unknown word: the most similar known one, or all of them."""
    found = nearest(word, words)
    if found:
        return f"; did you mean {found[0]!r}?"
    return choices(words)


def choices(words: Sequence[str]) -> str:
    """The end of a message about an unknown word: the known ones."""
    more = [f"... ({len(words)} in all)"] if len(words) > 20 else []
    return f"; choose from {', '.join([*words[:20], *more])}" if words else ""


def shown(value: Any) -> str:
    """A value as a message quotes it: on one line, and short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if value == []:
        return "an empty list"
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 60 else f"{text[:50]}...{text[-1]}"
