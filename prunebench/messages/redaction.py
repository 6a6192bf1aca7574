"""Redaction of passwords, tokens, keys and signatures in text that is shown, logged or published.

Errors of other libraries quote addresses and settings in many ways, so it is better to hide too much than too little.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
_SECRET = r"""
    pass(?:word|wd|phrase)? | pwd | token | secret | signature | credentials? | api[_-]?key | (?:access|account)[_-]?key
    (?:[_-]?id)? | private[_-]?key | shared[_-]?key | encryption[_-]?key | authorization | sas(?:[_-]?token)?
"""
_PORT = r"(?!\d{1,5}(?:[/?\#\s:'\",;)\]]|$))"
_NO_URL = r"(?:(?!://)[^\n])"
_ADDRESS = re.compile(
    rf"""(?<=://)(?!/)(?:
        [^\s/?\#@:'"<>]* : {_PORT} (?=\S) {_NO_URL}{{1,300}}? @ (?=[\w.\[-]+(?:[:/?\#,;\s'")\]]|$)) (?![^\s/]*@)
      | [^\s/'"<>]* @
    )""",
    re.VERBOSE,
)
"""User and password of an address. A password may have any character; a port with a path is not a password."""
_DATABASE = re.compile(
    r"((?:postgres\w*|mysql|mariadb|mssql|oracle|mongodb|redis|amqps?)(?:\+\w+)?://)(?!/)[^\s'\"<>]+@", re.IGNORECASE
)
"""User and password of the address of a database, which has no other `@`; the password may start like a port."""
_WORD = rf"[\w.%-]*(?:{_SECRET})(?![a-z])[\w-]*"
_VALUE = r"""(?: \{[^}\n]*\}+ | "[^"\n]*" | '[^'\n]*' | (?:(?!%26)[^\s&;,'"<>)\]}])+ )"""
_NAMED = re.compile(rf"""({_WORD}\s*(?:=|%3D)\s*)(?!=){_VALUE}""", re.VERBOSE | re.IGNORECASE)
_QUOTED = re.compile(rf"""(["']{_WORD}["']\s*:\s*) {_VALUE}""", re.VERBOSE | re.IGNORECASE)
_QUERIED = re.compile(
    r"((?:[?&;]|%3F|%26)(?:sig|key|auth|code|hmac|jwt|pw|pass)(?:=|%3D))(?:(?!%26)[^\s&;'\"<>)])+", re.I
)
_HEADER = re.compile(
    r"\b((?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?(?:\w+\s+)?|bearer\s+|basic\s+)[\w.~+/=-]{6,}", re.I
)
_SHAPED = re.compile(
    r"\b(?:gh[pousr]_|github_pat_|glpat-|hf_|sk-|xox[abprs]-|dapi|AKIA|ASIA|AIza)(?=\w*\d)[A-Za-z0-9_-]{16,}"
)
"""Tokens that are recognized by their prefix."""
_OWN = re.compile(rf"(?:^|_)(?:{_SECRET}|key)(?:_|$)", re.VERBOSE | re.IGNORECASE)
_SHORTEST = 6
"""Minimum length of values that are searched for elsewhere in a text; shorter ones are parts of words."""


def redacted(text: str) -> str:
    """`text` without user names and passwords of addresses, and without tokens, keys and signatures."""
    for secret in _of_environment(tuple(sorted(_sensitive()))):
        text = text.replace(secret, HIDDEN)
    text = _DATABASE.sub(rf"\g<1>{HIDDEN}@", text)
    text = _ADDRESS.sub(f"{HIDDEN}@", text)
    for pattern in (_HEADER, _QUOTED, _NAMED, _QUERIED):
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return _SHAPED.sub(HIDDEN, text)


def redacted_all(value: Any) -> Any:
    """A plain value in which each text is redacted."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {key: redacted_all(item) for key, item in value.items()}
    return [redacted_all(item) for item in value] if isinstance(value, (list, tuple)) else value


def _sensitive() -> Iterator[str]:
    """Yield the values of environment variables that are secrets or contain passwords of addresses."""
    for name, value in os.environ.items():
        if _OWN.search(name):
            yield value
        elif found := re.match(r"[a-z][\w+.-]*://[^\s/:@]*:(.+)@", value):
            yield found[1]


@cache
def _of_environment(values: tuple[str, ...]) -> tuple[str, ...]:
    """These values and their encoded forms in addresses, the longest first."""
    forms = {form for one in values for form in (one, unquote(one), quote(one), quote(one, safe=""), quote_plus(one))}
    return tuple(sorted((form for form in forms if len(form) >= _SHORTEST), key=len, reverse=True))
