"""Tokenizers from files of the library `tokenizers`, which the data sets of text use."""

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from prunebench import Input
from prunebench.api.files import File

PADDING = ("[PAD]", "<pad>", "<|padding|>", "<|endoftext|>", "</s>")
"""Names of the token for padding, where the file does not say which it is."""
PIECE = 1_000_000
"""Characters of a running text that are tokenized at once; a text is cut at the ends of lines."""


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer of a file. Raises ValueError for a file that is none."""

    file: File

    def __post_init__(self) -> None:
        _read(self.file)

    @property
    def vocabulary(self) -> int:
        """The highest number of a token, and one."""
        return 1 + int(max(_read(self.file).get_vocab(with_added_tokens=True).values()))

    @property
    def padding(self) -> int:
        """The number of the token that fills up texts that are too short."""
        tokenizer = _read(self.file)
        known = (tokenizer.token_to_id(name) for name in PADDING)
        return next((number for number in (_padding(self.file), *known) if number is not None), 0)

    def running(self, text: str) -> np.ndarray:
        """The tokens of a running text, without special ones."""
        tokenizer = _copied(self.file)
        encoded = (tokenizer.encode(piece, add_special_tokens=False).ids for piece in pieces(text))
        return np.concatenate([np.array([], self.type), *(np.array(ids, self.type) for ids in encoded)])

    def padded(self, texts: Sequence[str], length: int) -> dict[str, np.ndarray]:
        """Texts with their special tokens, cut at a length and filled up to it, by the names of inputs."""
        tokenizer = _copied(self.file)
        tokenizer.enable_truncation(length)
        ids = np.full((len(texts), length), self.padding, self.type)
        mask = np.zeros((len(texts), length), np.uint8)
        for row, one in enumerate(tokenizer.encode_batch(list(texts))):
            ids[row, : len(one.ids)], mask[row, : len(one.ids)] = one.ids, 1
        return {"input_ids": ids, "attention_mask": mask}

    def pairs(self, pairs: Sequence[tuple[str, str]], length: int, stride: int) -> list[list[Any]]:
        """The encodings of pairs of texts, several for a pair whose second text is too long for a length.

        Raises ValueError for a first text that leaves no room for the second.
        """
        tokenizer = _copied(self.file)
        tokenizer.enable_truncation(length, stride=stride, strategy="only_second")
        try:
            return [[one, *one.overflowing] for one in tokenizer.encode_batch(list(pairs))]
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # which pair it is, the library does not say, and a panic of it is no Exception
            raise ValueError(f"a question leaves no room for its passage: give a larger length than {length}, or a "
                             f"smaller stride than {stride}") from None  # fmt: skip

    @property
    def type(self) -> Any:
        """The smallest type of numbers that holds all tokens."""
        return np.int16 if self.vocabulary <= np.iinfo(np.int16).max else np.int32


def token_inputs(length: int, vocabulary: int) -> tuple[Input, Input]:
    """The inputs of texts of tokens: the tokens, and which of them are not padding."""
    return Input((length,), "tokens", vocabulary, "input_ids"), Input((length,), "tokens", 2, "attention_mask")


def pieces(text: str) -> list[str]:
    """A text in parts of about PIECE characters, which end where lines do."""
    found, begin = [], 0
    while begin < len(text):
        end = text.find("\n", begin + PIECE) + 1 or len(text)
        found.append(text[begin:end])
        begin = end
    return found


@functools.lru_cache(maxsize=8)
def _read(file: File) -> Any:
    """The tokenizer, without the truncation and padding that are in its file. Raises ValueError."""
    if find_spec("tokenizers") is None:
        raise ValueError("a tokenizer's file needs the library tokenizers: pip install 'prunebench[hf]'")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not survive a fork
    from tokenizers import Tokenizer as Library

    content = file.read()
    try:
        found = Library.from_buffer(content)
        empty = not found.get_vocab_size(with_added_tokens=True)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise ValueError(f"{file.path!r} is not a tokenizer.json of the library tokenizers: {reason}") from None
    if empty:
        raise ValueError(f"{file.path!r} has no tokens")
    return found


def _copied(file: File) -> Any:
    """The tokenizer, to be changed."""
    from tokenizers import Tokenizer as Library

    found = Library.from_str(_read(file).to_str())
    found.no_truncation()
    found.no_padding()
    return found


def _padding(file: File) -> int | None:
    padding = _read(file).padding
    return padding["pad_id"] if padding else None
