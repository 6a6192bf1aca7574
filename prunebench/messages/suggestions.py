"""Suggestions for unknown words in messages, and quoting of values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

SEPARATORS = dict.fromkeys(map(ord, "-_ :"))
"""Separators between the parts of a name, which are ignored in comparisons."""
LONGEST = 100
"""Number of characters of a word that are compared; the rest is ignored."""


def nearest(word: str, words: Iterable[str], n: int = 1, cutoff: float = 0.5) -> list[str]:
    """Up to `n` of the words that are most similar to `word`, the most similar first.

    Case, hyphens and other separators are ignored, so that SNIP and ResNet-20, as in papers, find snip and resnet20.

    Args:
        cutoff: minimum similarity, from 0 to 1.
    """
    forms: dict[str, list[str]] = {}
    for known in words:
        forms.setdefault(_folded(known), []).append(known)
    alike = get_close_matches(_folded(word[:LONGEST]), forms, n=n, cutoff=cutoff)
    return [known for form in alike for known in sorted(forms[form], key=lambda one: one != word)][:n]


def _folded(word: str) -> str:
    return word.casefold().translate(SEPARATORS)


def near(word: str, words: Sequence[str]) -> str:
    """The end of a message about an unknown word: the most similar known word, or else all known words."""
    found = nearest(word, words)
    if found:
        return f"; did you mean {found[0]!r}?"
    return choices(words)


def choices(words: Sequence[str]) -> str:
    """The end of a message about an unknown word: the known words."""
    more = [f"... ({len(words)} in all)"] if len(words) > 20 else []
    return f"; choose from {', '.join([*words[:20], *more])}" if words else ""


def shown(value: Any) -> str:
    """A value for a message, on one line and shortened."""
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
