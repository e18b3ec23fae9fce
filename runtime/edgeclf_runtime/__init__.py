"""The device side of edgeclf: a bundle in, predictions out, with numpy, Pillow and one engine. Never torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeclf_runtime.lazy import offer

__version__: str

if TYPE_CHECKING:
    from edgeclf_runtime.backends.engine import SessionOptions as SessionOptions
    from edgeclf_runtime.bundle.bundle import Bundle as Bundle
    from edgeclf_runtime.bundle.decision import Prediction as Prediction
    from edgeclf_runtime.bundle.decision import Score as Score
    from edgeclf_runtime.classifier import Classifier as Classifier
    from edgeclf_runtime.deploy.build import build as build
    from edgeclf_runtime.deploy.verify import verify as verify
    from edgeclf_runtime.embedder import Embedder as Embedder
    from edgeclf_runtime.embedder import Embedding as Embedding
else:
    __getattr__, __dir__ = offer(
        __name__,
        {
            "Bundle": "edgeclf_runtime.bundle.bundle",
            "Classifier": "edgeclf_runtime.classifier",
            "Embedder": "edgeclf_runtime.embedder",
            "Embedding": "edgeclf_runtime.embedder",
            "Prediction": "edgeclf_runtime.bundle.decision",
            "Score": "edgeclf_runtime.bundle.decision",
            "SessionOptions": "edgeclf_runtime.backends.engine",
            "build": "edgeclf_runtime.deploy.build",
            "verify": "edgeclf_runtime.deploy.verify",
        },
    )
