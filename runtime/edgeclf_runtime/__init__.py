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
    from edgeclf_runtime.bundle.manifest import Normalization as Normalization
    from edgeclf_runtime.bundle.proof import Proof as Proof
    from edgeclf_runtime.classifier import Classifier as Classifier
    from edgeclf_runtime.deploy.build import build as build
    from edgeclf_runtime.deploy.build_result import Outcome as Outcome
    from edgeclf_runtime.deploy.machine_proofs import save_proof as save_proof
    from edgeclf_runtime.deploy.verify import verify as verify
    from edgeclf_runtime.embedder import Embedder as Embedder
    from edgeclf_runtime.embedder import Embedding as Embedding
    from edgeclf_runtime.errors import BackendError as BackendError
    from edgeclf_runtime.errors import BundleError as BundleError
    from edgeclf_runtime.errors import DataError as DataError
    from edgeclf_runtime.errors import EdgeclfError as EdgeclfError
    from edgeclf_runtime.errors import GateError as GateError
    from edgeclf_runtime.errors import ImageError as ImageError
    from edgeclf_runtime.errors import UsageError as UsageError
    from edgeclf_runtime.images.limits import Limits as Limits
    from edgeclf_runtime.images.pixels import Pixels as Pixels
else:
    __getattr__, __dir__ = offer(
        __name__,
        {
            "BackendError": "edgeclf_runtime.errors",
            "Bundle": "edgeclf_runtime.bundle.bundle",
            "BundleError": "edgeclf_runtime.errors",
            "Classifier": "edgeclf_runtime.classifier",
            "DataError": "edgeclf_runtime.errors",
            "EdgeclfError": "edgeclf_runtime.errors",
            "Embedder": "edgeclf_runtime.embedder",
            "Embedding": "edgeclf_runtime.embedder",
            "GateError": "edgeclf_runtime.errors",
            "ImageError": "edgeclf_runtime.errors",
            "Limits": "edgeclf_runtime.images.limits",
            "Normalization": "edgeclf_runtime.bundle.manifest",
            "Pixels": "edgeclf_runtime.images.pixels",
            "Outcome": "edgeclf_runtime.deploy.build_result",
            "Prediction": "edgeclf_runtime.bundle.decision",
            "Proof": "edgeclf_runtime.bundle.proof",
            "Score": "edgeclf_runtime.bundle.decision",
            "SessionOptions": "edgeclf_runtime.backends.engine",
            "UsageError": "edgeclf_runtime.errors",
            "build": "edgeclf_runtime.deploy.build",
            "save_proof": "edgeclf_runtime.deploy.machine_proofs",
            "verify": "edgeclf_runtime.deploy.verify",
        },
    )
