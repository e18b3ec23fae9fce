"""CLIP's byte-pair tokenizer without torch, regex or ftfy: texts become the token ids that a text encoder takes.

The bundle brings all tables (`tokenizer.json`): merges, the letters and numbers of Unicode as the exporter's regular
expressions saw them, and what `text_repair.py` needs. So a device with an older Python splits texts alike. The scheme
is that of Radford et al. 2021 (arXiv:2103.00020), after Sennrich et al. 2016 (arXiv:1508.07909).
"""

from __future__ import annotations

import html
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import from_json, parse_json
from edgeclf_runtime.errors import BundleError, DataError, UsageError
from edgeclf_runtime.text.text_repair import RepairTables, TextRepair

TOKENIZER = "tokenizer.json"
START, END = "<start_of_text>", "<end_of_text>"
_CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
_WORD_END = "</w>"
_REMEMBERED_WORDS = 65536
_LONGEST_CONTEXT = 65536  # CLIP has 77; a bundle must not make each text take gigabytes

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class TokenizerTables:
    """All that a tokenizer is made of.

    Attributes
    ----------
    merges
        Pairs of symbols, "a b", the most frequent first.
    letters, numbers, others
        Code points, as inclusive ranges. One in none of them is passed over, as U+0345 is by open_clip's expression.
    clean
        "lower": whitespace collapsed, lower case; "whitespace": the former alone; "canonicalize": without punctuation.
    """

    merges: tuple[str, ...]
    letters: Ranges
    numbers: Ranges
    others: Ranges
    context_length: int
    clean: Literal["lower", "whitespace", "canonicalize"]
    repair: RepairTables

    def __post_init__(self) -> None:
        if not 3 <= self.context_length <= _LONGEST_CONTEXT:
            raise ValueError(f"a context of 3 to {_LONGEST_CONTEXT} tokens was wanted, found {self.context_length}")
        if wrong := [merge for merge in self.merges if len(merge.split(" ")) != 2]:
            raise ValueError(f"merges are pairs, found {wrong[0]!r}")


class Tokenizer:
    """`tokenizer(texts)` -> (N, context_length) int32. One tokenizer serves several threads."""

    def __init__(self, tables: TokenizerTables) -> None:
        self.context_length = tables.context_length
        self._bytes = _byte_symbols()
        pairs = [(first, second) for first, _, second in (merge.partition(" ") for merge in tables.merges)]
        self._ranks = {pair: rank for rank, pair in enumerate(pairs)}
        symbols = [*self._bytes, *(symbol + _WORD_END for symbol in self._bytes), *map("".join, pairs), START, END]
        self._numbers = {symbol: number for number, symbol in enumerate(symbols)}
        self._by_byte = dict(zip(_byte_order(), self._bytes, strict=True))
        letters, numbers, others = map(_character_class, (tables.letters, tables.numbers, tables.others))
        self._words = re.compile(f"(?i:{START}|{END}|{_CONTRACTIONS})|[{letters}]+|[{numbers}]|[{others}]+")
        self._repair = TextRepair(tables.repair)
        self._clean = _CLEANERS[tables.clean]
        self._symbols_of = lru_cache(_REMEMBERED_WORDS)(self._merge)

    @classmethod
    def of(cls, bundle: Bundle) -> Tokenizer:
        """The tokenizer that a text encoder's bundle brings. Raises BundleError where it is damaged or missing."""
        return cls.parse(bundle.read(TOKENIZER), f"{bundle.path}/{TOKENIZER}")

    @classmethod
    def parse(cls, data: bytes, where: str) -> Tokenizer:
        """The tokenizer of these bytes, JSON of its tables; `where` opens the messages. Raises BundleError."""
        try:
            return cls(from_json(TokenizerTables, parse_json(data), where))
        except (ValueError, DataError, re.error, OverflowError, RecursionError) as error:  # the last two: expressions
            raise BundleError(f"{where}: {error}") from error

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Each text between its start and end token, cut to the context (the end token stays) and filled with 0."""
        tokens = np.zeros((len(texts), self.context_length), dtype=np.int32)
        for row, text in zip(tokens, texts, strict=True):
            if not isinstance(text, str):
                raise UsageError(f"wanted texts, found {type(text).__name__}")
            found = [self._numbers[START], *self.encode(text), self._numbers[END]]
            if len(found) > self.context_length:
                found = [*found[: self.context_length - 1], self._numbers[END]]
            row[: len(found)] = found
        return tokens

    def encode(self, text: str) -> list[int]:
        """The tokens of a text of any length, without start and end."""
        text = self._clean(html.unescape(html.unescape(self._repair(text))).strip())
        found: list[int] = []
        for word in self._words.findall(text):
            if word in (START, END):
                found.append(self._numbers[word])
                continue
            spelled = "".join(self._by_byte[byte] for byte in word.encode())
            found += [self._numbers[symbol] for symbol in self._symbols_of(spelled)]
        return found

    def _merge(self, word: str) -> tuple[str, ...]:
        """The symbols of a word: its characters, the most frequent pair joined again and again."""
        symbols = [*word[:-1], word[-1] + _WORD_END]
        while len(symbols) > 1:
            pairs = set(pairwise(symbols))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            symbols = _joined(symbols, best)
        return tuple(symbols)


def _joined(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """`symbols` with each occurrence of the pair, from the left, as one."""
    joined, place = [], 0
    while place < len(symbols):
        if tuple(symbols[place : place + 2]) == pair:
            joined.append(pair[0] + pair[1])
            place += 2
        else:
            joined.append(symbols[place])
            place += 1
    return joined


def _byte_order() -> list[int]:
    """The 256 bytes in the vocabulary's order: those with a printable character of Latin-1 first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return printable + [byte for byte in range(256) if byte not in printable]


def _byte_symbols() -> list[str]:
    """A visible character for each byte, in that order: its own, or one from U+0100 on."""
    printable = 256 - 68
    return [
        chr(byte) if place < printable else chr(256 + place - printable) for place, byte in enumerate(_byte_order())
    ]


def _character_class(ranges: Ranges) -> str:
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


def _collapse(text: str) -> str:
    return " ".join(text.split())


def _canonicalize(text: str) -> str:
    """As SigLIP's texts were: no underscores, no punctuation, lower case."""
    return _collapse(text.replace("_", " ").translate(str.maketrans("", "", string.punctuation)).lower())


_CLEANERS: dict[str, Callable[[str], str]] = {
    "lower": lambda text: _collapse(text).lower(),
    "whitespace": _collapse,
    "canonicalize": _canonicalize,
}
