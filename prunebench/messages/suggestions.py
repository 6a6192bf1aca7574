"""The nearest known word to an unknown one, for messages that ask "did you mean ...?"."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SEPARATORS = dict.fromkeys(map(ord, "-_ :"))
"""What may be between the parts of a name, and is not compared."""
LONGEST = 100
"""Characters of a word that are compared."""


def nearest(word: str, words: Iterable[str], n: int = 1, cutoff: float = 0.5) -> list[str]:
    """Up to `n` of the words that are most like `word`, the best first.

    Case, hyphens and other separators are not compared: SNIP and ResNet-20, as papers write them, find
    snip and resnet20.

    Args:
        cutoff: how alike two words must be, from 0 to 1.
    """
    forms: dict[str, list[str]] = {}
    for known in words:
        forms.setdefault(_folded(known), []).append(known)
    alike = get_close_matches(_folded(word[:LONGEST]), forms, n=n, cutoff=cutoff)
    return [known for form in alike for known in sorted(forms[form], key=lambda one: one != word)][:n]


def _folded(word: str) -> str:
    return word.casefold().translate(SEPARATORS)
