"""The packed tokenizer gives open_clip's own tokens, whatever the text."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeclf_export.proof.texts import tables_to_bytes
from edgeclf_export.sources.clip.library import import_open_clip
from edgeclf_export.sources.clip.tokens import pack_tokenizer
from edgeclf_runtime.bundle.dataclass_json import from_json
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.text.tokenizer import Tokenizer, TokenizerTables

_ALPHABETS = (
    "abcdefghij KLMNOP '\".,!?-_{}()<>&;#0123456789",
    "äöüßéèçñøåæœ ÄÖÜ İıŁłŠšŽž ʼn Ǆ ﬁﬂ",
    "абвгдежз АБВ αβγδ ΑΒΓ אבג العربية हिन्दी ไทย",
    "日本語 漢字 かな カナ ｶﾅ ＡＢＣ　１２３ 한국어",
    "“”‘’‚„…–—•™®©€£¥½²³¹ªº«»¿¡",
    "😀🏳️‍🌈👩‍👩‍👧🇩🇪👍🏽 ͅⅠⅡⅷ①Ⓐⓐ ſK",
    "Ã¤Ã¶Ã¼ â€œâ€\x9d â€™ Â£ Ã\xa0 ðŸ˜€ Ð¿Ñ€Ð¸ Ã‚Â° вЂњ √± ‚Ä",
    "\x00\x07\x1b[31m\x7f\x85\x9d\xa0\xad\u200b\u200d\u2028\ufeff\ufffd\ufffc\t\r\n",
)
_WHOLE = (
    "",
    " ",
    "a photo of a cat.",
    "A PHOTO of   a\tCAT\n",
    "it's we're they'll I'd 'S 'ſ",
    "<start_of_text> hello <END_OF_TEXT> <end_of_text>",
    "<ſtart_of_text>",
    "&amp;lt;b&amp;gt; &eacute; &EACUTE; &#233; &#x1F600; &#xD800; &notanentity; &amp",
    "<b>&eacute;</b>\n&eacute; and &AMP;AMP;",
    "\ud83d\ude00 \ud800 lone",
    "\x1b[1;31mred\x1b[0m",
    "word " * 300,
    "x" * 3000,
    "é" * 500,
    "l'été, c'est là: voilÃ  le travail; Ã la mode",
    "\xed\xa0\xbd\xed\xb8\x80 \xc0\x80",
)


def texts(count: int) -> list[str]:
    """The same every time: pieces of all alphabets, mixed and pure, and mojibake made as it is made."""
    draw = random.Random(7)
    made = list(_WHOLE)
    while len(made) < count:
        alphabet = draw.choice(_ALPHABETS) if draw.random() < 0.7 else "".join(_ALPHABETS)
        text = "".join(draw.choice(alphabet) for _ in range(draw.choice((1, 3, 8, 20, 60, 200))))
        if draw.random() < 0.3:
            encoding = draw.choice(("latin-1", "cp1252", "cp1251", "cp1250", "cp1253", "mac-roman", "cp437"))
            text = text.encode("utf-8", "surrogatepass").decode(encoding, "replace")
        if draw.random() < 0.1:
            text = "".join(chr(draw.choice((draw.randrange(0xD800), draw.randrange(0xE000, 0x110000)))) for _ in text)
        made.append(text)
    return made


@pytest.fixture(scope="module")
def theirs() -> Any:
    return import_open_clip().tokenizer.SimpleTokenizer()


@pytest.fixture(scope="module")
def packed(theirs: Any) -> bytes:
    return tables_to_bytes(pack_tokenizer(theirs, "ViT-B-32"))


@pytest.fixture(scope="module")
def ours(packed: bytes) -> Tokenizer:
    return Tokenizer(from_json(TokenizerTables, json.loads(packed), "packed"))


@pytest.mark.parametrize("count", [500, pytest.param(3000, marks=pytest.mark.slow)])
def test_it_equals_open_clips_on_hundreds_of_strings(count: int, ours: Tokenizer, theirs: Any) -> None:
    given = texts(count)
    wanted, found = theirs(given).numpy(), ours(given)
    wrong = np.flatnonzero((wanted != found).any(axis=1))
    assert not len(wrong), (len(wrong), [given[i] for i in wrong[:5]])
    assert found.dtype == np.int32 and found.shape == (count, 77)


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in range(0x6000, 0x30000, 0x6000))]
)
def test_it_equals_open_clips_on_every_character(first: int, ours: Tokenizer, theirs: Any) -> None:
    codes = [code for code in range(first, first + 0x6000) if not 0xD800 <= code <= 0xDFFF]
    for start in range(0, len(codes), 16):
        text = " ".join(f"a{chr(code)}{chr(code)}1" for code in codes[start : start + 16])
        assert ours.encode(text) == theirs.encode(text), ascii(text)


@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
def test_each_way_of_cleaning_is_open_clips(clean: Any, packed: bytes) -> None:
    theirs = import_open_clip().tokenizer.SimpleTokenizer(clean=clean, context_length=16)
    tables = from_json(TokenizerTables, json.loads(packed), "packed")
    ours = Tokenizer(replace(tables, clean=clean, context_length=16))
    given = [text for text in texts(300) if text.isascii()]
    assert len(given) > 20
    assert np.array_equal(ours(given), theirs(given).numpy())


def test_a_tokenizer_that_is_not_clips_is_refused_with_what_to_do_instead() -> None:
    with pytest.raises(UsageError, match=r"ViT-B-16-SigLIP reads texts by a tokenizer of its own .*zeroshot"):
        pack_tokenizer(object(), "ViT-B-16-SigLIP")


def test_it_needs_numpy_and_the_standard_library_alone(packed: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(packed)
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from edgeclf_runtime.bundle.dataclass_json import from_json\n"
        "from edgeclf_runtime.text.tokenizer import Tokenizer, TokenizerTables\n"
        f"tables = from_json(TokenizerTables, json.loads(Path({str(tmp_path)!r}, 'tokenizer.json').read_text()), '')\n"
        "print(Tokenizer(tables)(['a photo of a cat.'])[0, :8].tolist())\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'regex', 'ftfy', 'open_clip'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[49406, 320, 1125, 539, 320, 2368, 269, 49407]", "[]"], done.stderr


@given(st.lists(st.integers(0, 0x10FFFF) | st.sampled_from([*map(ord, "'s<|_of_text>&amp;#;")]), max_size=60))
def test_any_text_is_open_clips_tokens(ours: Tokenizer, theirs: Any, codes: list[int]) -> None:
    text = "".join(map(chr, codes))
    assert np.array_equal(ours([text]), theirs([text]).numpy()), ascii(text)
