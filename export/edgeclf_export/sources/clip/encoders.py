"""A CLIP model's encoders as the exporter takes them: embeddings of length 1, whose products are cosines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.exportable import Exportable, TextExportable
from edgeclf_export.graph.onnx_graph import EMBEDDINGS_NAME, TOKENS_NAME
from edgeclf_export.sources.backbones import fold_branches
from edgeclf_export.sources.clip.attention import with_plain_attention
from edgeclf_export.sources.clip.models import Clip
from edgeclf_export.sources.clip.preprocess import open_clip_input
from edgeclf_export.sources.clip.tokens import pack_tokenizer
from edgeclf_export.sources.clip.towers import image_tower, tower_builder
from edgeclf_export.sources.modules import exportable_from_module, to_onnx
from edgeclf_runtime.bundle.manifest import Reference

if TYPE_CHECKING:
    import torch

_AT_A_TIME = 8


def image_encoder(clip: Clip) -> Exportable:
    """Images -> embeddings. Its reference is open_clip's `encode_image`."""
    width = int(clip.config["embed_dim"])
    module = image_tower(clip.model.get_submodule("visual"), classes=0, width=width, normalize=True)
    builder = tower_builder(clip, classes=0, normalize=True)
    made = exportable_from_module(
        module,
        labels=(),
        pixels=clip.pixels,
        normalization=clip.normalization,
        backbone=clip.backbone,
        weights=clip.weights,
        reference=reference_of(clip),
        builder=builder,
        deploy=fold_branches(builder),
        pixel_reference=clip.pixel_reference,
        embedding_width=width,
    )
    return replace(made, run_reference=lambda batch: embed_images(clip, batch))


def text_encoder(clip: Clip) -> TextExportable:
    """Token ids -> embeddings, with open_clip's tokenizer. Raises UsageError where devices can't run that."""
    tables = pack_tokenizer(clip.tokenizer, clip.name)
    return TextExportable(
        backbone=clip.backbone,
        weights=clip.weights,
        name=clip.backbone,
        embedding_width=int(clip.config["embed_dim"]),
        tokenizer=tables,
        reference=reference_of(clip),
        run_reference=lambda tokens: _in_parts(tokens.astype(np.int64), _encode(clip, "encode_text")),
        make_onnx=lambda form, opset: _text_to_onnx(clip, tables.context_length, opset),
    )


def reference_of(clip: Clip) -> Reference:
    """open_clip's own computation with these weights of both towers: the embedding space."""
    return Reference("open_clip", f"{clip.backbone} {clip.digest}")


def embed_images(clip: Clip, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, H, W, 3) uint8 -> (N, width), by open_clip's `encode_image`."""
    prepare, encode = open_clip_input(clip.preprocess), _encode(clip, "encode_image")
    return _in_parts(batch, lambda part: encode(prepare(part)))


def _encode(clip: Clip, method: str) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    import torch

    encode = getattr(clip.model, method)
    return lambda part: np.asarray(encode(torch.from_numpy(part), normalize=True).float().numpy())


def _in_parts(batch: NDArray[Any], run: Callable[[NDArray[Any]], NDArray[np.float32]]) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        return np.concatenate([run(batch[start : start + _AT_A_TIME]) for start in range(0, len(batch), _AT_A_TIME)])


def _text_to_onnx(clip: Clip, context_length: int, opset: int) -> bytes:
    import torch

    model: Any = with_plain_attention(clip.model)

    class TextTower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: torch.Tensor) -> Any:
            # engines of small devices know int32; torch's embedding and argmax take either
            return self.model.encode_text(tokens.long(), normalize=True)

    sample = torch.randint(1, 1000, (2, context_length), dtype=torch.int32)
    return to_onnx(TextTower().eval(), sample, opset, input_name=TOKENS_NAME, output_name=EMBEDDINGS_NAME)
