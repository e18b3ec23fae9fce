"""PyTorch backend: the reference that other targets are compared with. Builder name, JSON and safetensors; no pickle.

In the runtime only this file and two beside it, `torch_head.py` and `torchvision_guard.py`, import torch, and only when
a pytorch bundle is opened.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.backend import Backend, Installed
from edgeclf_runtime.backends.engine import SessionOptions, missing_engine
from edgeclf_runtime.backends.torch_head import head_of, run_with_features
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import from_json, parse_json
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.errors import BackendError, BundleError, DataError, one_line

if TYPE_CHECKING:
    import torch

MODEL, WEIGHTS = "model.json", "model.safetensors"
_STORED = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F64": "fp64", "I8": "int8"}
_SAFE_ARGUMENTS = ("num_classes", "img_size", "in_chans", "aux_logits", "init_weights", "transform_input", "normalize")


@dataclass(frozen=True, slots=True)
class Builder:
    """How to build the architecture again: a library, a name in its register, and plain numbers as arguments.

    `config`: of open_clip's image towers, their description as JSON; the name then is for people.
    """

    library: Literal["timm", "torchvision", "open_clip"]
    name: str
    arguments: dict[str, int | bool] = field(default_factory=dict)
    config: str | None = None

    def __post_init__(self) -> None:
        if unsafe := sorted(set(self.arguments) - set(_SAFE_ARGUMENTS)):
            raise ValueError(f"argument {unsafe[0]!r} is not one of {', '.join(_SAFE_ARGUMENTS)}")


class TorchEngine:
    """An eager module in evaluation mode. Threads are torch's own, for the whole process."""

    def __init__(self, module: torch.nn.Module, precision: str, options: SessionOptions) -> None:
        import torch

        self._torch = torch
        self._module = module
        self._head: torch.nn.Module | None = None  # looked for when features are asked for
        self._device = torch.device(options.device)
        self.compute_precision = precision
        self.facts = {
            "engine": "torch",
            "engine_version": torch.__version__,
            "device": options.device,
            "threads": str(options.thread_count),
        }

    def infer(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        with self._torch.inference_mode():
            # a read-only array would warn, and torch has no read-only tensors
            tensor = self._torch.from_numpy(batch if batch.flags.writeable else batch.copy()).to(self._device)
            output: NDArray[np.float32] = self._module(tensor).float().cpu().numpy()
            return output

    def infer_with_features(self, batch: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with self._torch.inference_mode():
            tensor = self._torch.from_numpy(batch if batch.flags.writeable else batch.copy()).to(self._device)
            if self._head is None:
                self._head = head_of(self._module, tensor)
            logits, features = run_with_features(self._module, self._head, tensor)
            return logits.float().cpu().numpy(), features.float().cpu().numpy()

    def close(self) -> None:
        del self._module


def open_engine(bundle: Bundle, options: SessionOptions) -> TorchEngine:
    try:
        import torch
        from safetensors.torch import load
    except ImportError as error:
        raise BACKEND.missing(error) from error
    if options.device == "cuda" and not torch.cuda.is_available():
        raise BackendError("requested cuda, torch finds none; drop --device to run on the cpu")
    torch.set_num_threads(options.threads_per_stream)
    if options.device == "cuda":  # fp32 is fp32: by default cuDNN's convolutions drop 13 bits of the mantissa (TF32)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    where = f"{bundle.path}/{MODEL}"
    try:
        builder = from_json(Builder, parse_json(bundle.read(MODEL)), where)
    except (ValueError, DataError) as error:
        raise BundleError(f"{where}: {error}") from error
    module = build_module(builder)
    try:
        module.load_state_dict(load(bundle.read(WEIGHTS)), strict=True)
    except Exception as error:  # safetensors' own error has no public narrower base
        raise BundleError(f"{bundle.path}/{WEIGHTS}: does not fit {builder.name}: {one_line(error, 300)}") from error
    precision = bundle.manifest.compute_precision
    whole = with_normalization(module, bundle.manifest.normalization, precision).to(options.device)
    return TorchEngine(whole, precision, options)


def count_weights(bundle: Bundle) -> dict[str, int]:
    """How many weights the safetensors file stores in each precision, from its header alone.

    https://huggingface.co/docs/safetensors/index#format
    """
    data = bundle.read(WEIGHTS)
    counts: dict[str, int] = {}
    try:
        (size,) = struct.unpack_from("<Q", data)
        header = parse_json(data[8 : 8 + size])
        for name, tensor in header.items():
            precision = _STORED.get(tensor["dtype"]) if name != "__metadata__" else None
            if precision is not None and len(tensor["shape"]) >= 2:
                counts[precision] = counts.get(precision, 0) + math.prod(tensor["shape"])
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{bundle.path}/{WEIGHTS}: no safetensors file ({error})") from error
    return counts


def build_module(builder: Builder) -> torch.nn.Module:
    """The architecture with random weights, in evaluation mode. Registered names only: nothing is fetched."""
    guard_torchvision()
    try:
        if builder.library == "timm":
            import timm

            if not timm.is_model(builder.name):
                raise BackendError(f"timm {timm.__version__} has no model {builder.name!r}")
            module: torch.nn.Module = timm.create_model(builder.name, pretrained=False, **builder.arguments)
        elif builder.library == "open_clip":
            module = _build_tower(builder)
        else:
            from torchvision import models

            if builder.name not in models.list_models(module=models):
                raise BackendError(f"torchvision has no classifier {builder.name!r}")
            module = models.get_model(builder.name, weights=None, **builder.arguments)
    except ImportError as error:
        extra = "clip" if builder.library == "open_clip" else "export"
        raise missing_engine(builder.library, extra, error) from error
    except TypeError as error:
        raise BackendError(f"{builder.library} can't build {builder.name} so: {one_line(error, 300)}") from error
    return module.eval()


def _build_tower(builder: Builder) -> torch.nn.Module:
    """The image tower that the config describes, behind its head; no weights are fetched for any part of it."""
    import timm
    from open_clip.model import CLIPVisionCfg, _build_vision_tower

    try:
        config = parse_json(builder.config or "")
        inner = config["vision_cfg"].get("timm_model_name")
        if inner and not timm.is_model(inner):  # timm would take "hf-hub:…", and download it
            raise BackendError(f"timm {timm.__version__} has no model {inner!r}")
        vision = CLIPVisionCfg(**{**config["vision_cfg"], "timm_model_pretrained": False})
        visual = _build_vision_tower(config["embed_dim"], vision, bool(config.get("quick_gelu", False)))
    except (AttributeError, ValueError, LookupError, RuntimeError, AssertionError) as error:
        raise BackendError(f"open_clip can't build {builder.name} so: {one_line(error, 300)}") from error
    classes, normalize = builder.arguments.get("num_classes", 0), bool(builder.arguments.get("normalize", True))
    return with_head(visual, classes=int(classes), width=int(config["embed_dim"]), normalize=normalize)


def with_head(visual: torch.nn.Module, *, classes: int, width: int, normalize: bool) -> torch.nn.Module:
    """A CLIP image tower (N, 3, H, W) -> (N, width) behind a linear head of `classes`; 0: the embedding itself.

    `normalize`: embeddings of length 1, as CLIP compares them.
    """
    import torch

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = visual
            self.head = torch.nn.Linear(width, classes) if classes else torch.nn.Identity()

        def forward(self, images: torch.Tensor) -> Any:
            embedding = self.visual(images)
            if isinstance(embedding, tuple):  # CoCa's tower also gives its tokens
                embedding = embedding[0]
            if normalize:
                embedding = torch.nn.functional.normalize(embedding, dim=-1)
            return self.head(embedding)

    return Tower().eval()


def with_normalization(
    module: torch.nn.Module, normalization: Normalization | None, precision: str = "fp32"
) -> torch.nn.Module:
    """`module` behind its pixel contract: (N, H, W, 3) uint8 -> logits; float32 NCHW where the caller normalises.

    The cast comes first and the permutation second: TensorRT refuses a uint8 transpose. Normalisation is in fp32, the
    module in `precision`.
    """
    import torch

    dtypes = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    if precision not in dtypes:
        raise BackendError(f"no precision {precision!r} for pytorch; choose one of {', '.join(dtypes)}")
    dtype = dtypes[precision]

    class Normalized(torch.nn.Module):
        scale: torch.Tensor
        shift: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.module = module.to(dtype)
            if normalization is not None and normalization.applied_by == "graph":
                mean, std = (torch.tensor(v, dtype=torch.float64) for v in (normalization.mean, normalization.std))
                self.register_buffer("scale", (1.0 / (255.0 * std)).float().view(1, 3, 1, 1), persistent=False)
                self.register_buffer("shift", (-mean / std).float().view(1, 3, 1, 1), persistent=False)

        def forward(self, images: torch.Tensor) -> Any:
            if hasattr(self, "scale"):
                images = images.float().permute(0, 3, 1, 2) * self.scale + self.shift
            return self.module(images.to(dtype))

    return Normalized().eval()


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + " …"


def _probe() -> Installed:
    import torch

    return Installed(torch.__version__, ("cpu",) + ("cuda",) * torch.cuda.is_available())


BACKEND = Backend(
    name="pytorch",
    module="torch",
    oldest="2.4",
    extra="export",
    open_engine=open_engine,
    devices=("cpu", "cuda"),
    count_weights=count_weights,
    probe=_probe,
    also_needed=("safetensors", "timm", "torchvision"),
    is_reference=True,
)
