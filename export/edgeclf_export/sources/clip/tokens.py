"""open_clip's tokenizer as tables for the runtime's own, which needs neither torch nor regex nor ftfy."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.text.text_repair import RepairTables
from edgeclf_runtime.text.tokenizer import Ranges, TokenizerTables

_MERGES = 49152 - 256 - 2  # of the vocabulary that CLIP was trained with


def pack_tokenizer(tokenizer: Any, name: str) -> TokenizerTables:
    """The tables of CLIP's own tokenizer. Raises UsageError where the model has another one."""
    from open_clip.tokenizer import SimpleTokenizer, default_bpe, get_clean_fn

    if not isinstance(tokenizer, SimpleTokenizer) or tokenizer.reduction_fn is not None:
        raise UsageError(
            f"{name} reads texts by a tokenizer of its own ({type(tokenizer).__name__}), which devices can't run "
            "without the package transformers; put its words into a classifier with `edgeclf zeroshot`, or "
            "export --encoder image"
        )
    cleaners = {get_clean_fn(each): each for each in ("lower", "whitespace", "canonicalize")}
    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode("utf-8").split("\n")
    return TokenizerTables(
        merges=tuple(lines[1 : _MERGES + 1]),
        letters=_ranges(r"[\p{L}]+"),
        numbers=_ranges(r"[\p{N}]+"),
        others=_ranges(r"[^\s\p{L}\p{N}]+"),
        context_length=int(tokenizer.context_length or 77),
        clean=cleaners[tokenizer.clean_fn],  # type: ignore[arg-type]
        repair=_repair_tables(),
    )


def _ranges(expression: str) -> Ranges:
    """The code points that `regex` finds, surrogates aside, as inclusive ranges."""
    import regex

    codes = [code for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
    found = regex.finditer(expression, "".join(map(chr, codes)), regex.IGNORECASE)
    return tuple((codes[match.start()], codes[match.end() - 1]) for match in found)


def _repair_tables() -> RepairTables:
    from ftfy import badness, chardata, fixes

    def settled(character: str) -> str:
        for fix in (fixes.fix_latin_ligatures, fixes.fix_character_width, fixes.uncurl_quotes):
            character = fix(character)
        return character

    characters = {chr(code): settled(chr(code)) for code in range(0x10000) if not 0xD800 <= code <= 0xDFFF}
    return RepairTables(
        bad=badness.BADNESS_RE.pattern,
        charmaps=tuple((name, bytes(range(256)).decode(name)) for name in chardata.CHARMAP_ENCODINGS),
        altered_bytes=chardata.ALTERED_UTF8_RE.pattern.decode("latin-1"),
        lossy_bytes=chardata.LOSSY_UTF8_RE.pattern.decode("latin-1"),
        utf8_in_text=chardata.UTF8_DETECTOR_RE.pattern,
        entities=dict(chardata.HTML_ENTITIES),
        characters={character: becomes for character, becomes in characters.items() if becomes != character},
    )
