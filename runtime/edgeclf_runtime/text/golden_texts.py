"""A text encoder's golden texts: the tokens that they must become, and which come out otherwise on this machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import BundleError
from edgeclf_runtime.text.tokenizer import Tokenizer


def golden_tokens(bundle: Bundle) -> NDArray[np.int32]:
    """(N, context) int32: the exporter's tokens of all golden texts."""
    golden = bundle.manifest.golden
    if not golden.texts or golden.tokens is None:
        raise BundleError(f"{bundle.path}: no golden texts to verify with; export the bundle again")
    tokens = bundle.read_array(golden.tokens)
    if tokens.ndim != 2 or len(tokens) != len(golden.texts):
        raise BundleError(f"{bundle.path}: tokens {tokens.shape} for {len(golden.texts)} texts; export it again")
    return tokens.astype(np.int32)


def tokens_fault(bundle: Bundle, wanted: NDArray[np.int32]) -> list[tuple[str, int] | None]:
    """For each golden text, (text, 0) where this machine's tokenizer gives other tokens than the exporter's."""
    texts = bundle.manifest.golden.texts
    found = Tokenizer.of(bundle)(texts)
    if found.shape != wanted.shape:
        return [(text, 0) for text in texts]
    return [(text, 0) if (a != b).any() else None for text, a, b in zip(texts, found, wanted, strict=True)]
