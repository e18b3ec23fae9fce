"""Texts for the proof of a text encoder: the user's, or sentences that exercise its tokenizer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.bundle.golden import Golden
from edgeclf_runtime.deploy.golden_items import pixels_digest
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.text.tokenizer import TOKENIZER, Tokenizer, TokenizerTables

_MOST = 256
_GOLDEN = 16
_SENTENCES = (
    "a photo of a cat.",
    "two dogs play on a beach at sunset",
    "a red rose in a garden",
    "a close-up photo of a printed circuit board",
    "an aerial view of fields, rivers and roads",
    "a bowl of noodle soup with an egg",
    "a yellow school bus parked on a street",
    "a black and white portrait of an old man",
    "a rusty bolt on a conveyor belt",
    "an x-ray of a hand",
    "It's 3 o'clock: “tea time”!",
    "ein Foto von einer Straße in Zürich",
    "写真 東京タワー",
    "фотография собаки",
    "😀 a smiling emoji",
    "",
    "a very long caption that goes on and on about " + "the weather and the sea and " * 20,
)


@dataclass(frozen=True)
class ProofTexts:
    """Texts that a bundle is proven on, and their (N, context) int32 tokens by the bundle's own tokenizer."""

    texts: tuple[str, ...]
    batch: NDArray[np.int32]
    source: str

    @property
    def sha256(self) -> str:
        return pixels_digest(self.batch)

    @property
    def golden(self) -> tuple[int, ...]:
        """Which of them travel with the bundle: at most sixteen, spread evenly."""
        count = min(_GOLDEN, len(self.texts))
        return tuple(i * len(self.texts) // count for i in range(count))


def load_proof_texts(tables: TokenizerTables, file: Path | None = None) -> ProofTexts:
    """The lines of a text file, at most 256 of them, else the sentences above. Raises DataError."""
    texts: tuple[str, ...] = _SENTENCES
    source = "edgeclf's own sentences"
    if file is not None:
        try:
            lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: can't be read as UTF-8 text ({error}); wanted one text a line") from error
        if not lines:
            raise DataError(f"{file}: holds no text to prove the export on; wanted one text a line")
        texts = tuple(lines[i * len(lines) // min(_MOST, len(lines))] for i in range(min(_MOST, len(lines))))
        source = f"{file.name}: {len(texts)} of {len(lines)} texts"
    return ProofTexts(texts, Tokenizer(tables)(texts), source)


def write_tokenizer(folder: Path, tables: TokenizerTables) -> None:
    """Writes the tables of the runtime's tokenizer."""
    (folder / TOKENIZER).write_bytes(tables_to_bytes(tables))


def tables_to_bytes(tables: TokenizerTables) -> bytes:
    return (json.dumps(to_json(tables), ensure_ascii=True, separators=(",", ":")) + "\n").encode()


def write_golden_texts(folder: Path, texts: ProofTexts, reference_outputs: NDArray[np.float32]) -> Golden:
    """The tokens of the golden texts, and the reference's outputs for them."""
    chosen = list(texts.golden)
    (folder / "golden").mkdir()
    tokens, outputs = "golden/tokens.npy", "golden/outputs.npy"
    np.save(folder / tokens, texts.batch[chosen], allow_pickle=False)
    np.save(folder / outputs, reference_outputs[chosen].astype(np.float32), allow_pickle=False)
    return Golden((), outputs, tuple(texts.texts[i] for i in chosen), tokens)
