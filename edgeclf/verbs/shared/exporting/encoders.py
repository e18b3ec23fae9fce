"""`edgeclf export --encoder`: the encoders of a CLIP model, each a bundle of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf.console import Bars, say
from edgeclf.verbs.shared.options import need
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf_export.exportable import AnyExportable
    from edgeclf_export.exporter import Exported
    from edgeclf_export.options import ExportOptions

NEEDED = ("torch", "torchvision", "timm", "onnx", "onnxscript", "onnxslim", "safetensors", "open_clip")


def export_encoders(
    model: str, pretrained: str | None, parts: Sequence[str], options: ExportOptions, img_size: int | None, seed: int
) -> tuple[AnyExportable, list[Exported]]:
    """Proven bundles NAME-ENCODER-TARGET-PRECISION of the chosen encoders. Raises UsageError where none is chosen."""
    from edgeclf_export.exporter import export
    from edgeclf_export.options import plan_outputs, refuse_int8_of_encoder
    from edgeclf_export.sources.clip.encoders import image_encoder, text_encoder
    from edgeclf_export.sources.clip.models import load_clip

    if not parts:
        raise UsageError("--pretrained is for CLIP's encoders: give --encoder image, --encoder text, or both")
    if len(parts) > 1 and options.proof_data is not None:
        raise UsageError("--proof-data holds images or texts, not both; export one --encoder at a time")
    refuse_int8_of_encoder(options.precision)
    need("clip", *NEEDED)
    name = options.name or clip_name(model)
    planned = {part: replace(options, name=f"{name}-{part}") for part in dict.fromkeys(parts)}
    for each in planned.values():
        plan_outputs(name, each)  # before anything is loaded
    made: list[Exported] = []
    with Bars() as progress:
        progress.step("loading the model")
        clip = load_clip(model, pretrained, img_size=img_size, seed=seed)
        for note in clip.notes:
            say(note)
        for part, each in planned.items():
            exportable = image_encoder(clip) if part == "image" else text_encoder(clip)
            made += export(exportable, each, progress)
    return exportable, made


def clip_name(model: str) -> str:
    """What bundles of a CLIP model are called: ViT-B/32 -> ViT-B-32; the folder's own name."""
    return Path(model).resolve().name if Path(model).is_dir() else model.replace("/", "-")


def embed_words(parts: Sequence[str]) -> str:
    """How the bundle of the first part is used, with {} for it."""
    return "embed {} IMAGES" if parts[0] == "image" else "embed {} --text TEXT"
