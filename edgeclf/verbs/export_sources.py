"""What `edgeclf export` is given (a run, a backbone, a foreign ONNX file, a bundle) and how each becomes exportable."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeclf.console import say
from edgeclf.verbs.foreign_formats import refuse_other_formats
from edgeclf.verbs.normalization import IMAGENET_MEAN, channel_order, foreign_normalization
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.writer import MANIFEST

if TYPE_CHECKING:
    from edgeclf_export.exportable import Exportable

Kind = Literal["run", "backbone", "file", "bundle"]
NEEDED: dict[Kind, tuple[str, ...]] = {
    "run": ("torch", "torchvision", "timm", "onnx", "onnxscript", "onnxslim", "safetensors"),
    "backbone": ("torch", "torchvision", "timm", "onnx", "onnxscript", "onnxslim", "safetensors"),
    "file": ("onnx", "onnxslim", "onnxruntime"),
    "bundle": ("onnx", "onnxruntime"),
}


@dataclass(frozen=True, slots=True)
class Look:
    """What a foreign ONNX file does not say: how its pictures were prepared."""

    mean: str | None
    std: str | None
    crop_pct: float | None
    crop_mode: str | None
    interpolation: str | None
    channels: str | None = None
    scale: float | None = None
    output_name: str | None = None

    def given(self) -> list[str]:
        return [field.name.replace("_", "-") for field in fields(self) if getattr(self, field.name) is not None]


@dataclass(frozen=True, slots=True)
class Source:
    """What was typed to name a classifier. `bit_depth` and `window` say which stored values are black and white."""

    place: str | None
    model: str | None
    weights: str | None
    labels: Path | None
    img_size: int | None
    seed: int
    look: Look
    bit_depth: int | None
    window: str | None

    @property
    def kind(self) -> Kind:
        if self.model is not None:
            return "backbone"
        if self.place is None:
            return "run"
        if self.place.lower().endswith(".onnx"):
            return "file"
        return "bundle" if self.place.endswith(".tar") or Path(self.place, MANIFEST).is_file() else "run"

    def check(self, *, encoders: bool = False) -> None:
        """Raises UsageError for options that belong to another kind of source; `encoders`: of a CLIP model."""
        if encoders and (
            self.model is None or any(given is not None for given in (self.place, self.weights, self.labels))
        ):
            raise UsageError(
                "--part takes the CLIP model --model with --pretrained WHERE, and no run, weights or labels"
            )
        if encoders and (self.bit_depth is not None or self.window is not None):
            raise UsageError("--bit-depth and --window are for classifiers, not for --part")
        if self.model is not None and self.place is not None:
            raise UsageError("give either a run or FILE.onnx, or --model, not both")
        if self.model is None and self.place is not None and self.kind == "run":
            refuse_other_formats(self.place)
        if self.kind != "file" and (misplaced := self.look.given()):
            raise UsageError(f"--{misplaced[0]} is for FILE.onnx; runs, backbones and bundles bring their own")
        if self.model is None and self.weights is not None:
            raise UsageError("--weights is for --model; runs, bundles and ONNX files bring their own")
        own = {"labels": self.labels, "img-size": self.img_size, "bit-depth": self.bit_depth, "window": self.window}
        if self.kind == "bundle" and (given := [name for name, value in own.items() if value is not None]):
            raise UsageError(f"--{given[0]} is not for a bundle, which brings its own")

    def load(self, folder: Path) -> Exportable:
        """The classifier. `folder` is empty and there until the export is over."""
        shown = _value_range(self.bit_depth, self.window)
        exportable = self._load(folder)
        for note in exportable.notes:
            say(note)
        if shown is None:
            return exportable
        return replace(exportable, pixels=replace(exportable.pixels, value_range=shown))

    def _load(self, folder: Path) -> Exportable:
        if self.model is not None:
            return _backbone(self.model, self.weights or "hub", self.labels, self.img_size, self.seed)
        if self.kind == "file":
            return _foreign(Path(str(self.place)), self.labels, self.img_size, self.look)
        if self.kind == "bundle":
            from edgeclf_export.parent import load_bundle_classifier
            from edgeclf_runtime.bundle import Bundle

            return load_bundle_classifier(Bundle.open(str(self.place)), folder)
        return _run(self.place)


def _run(source: str | None) -> Exportable:
    """A training run; without a name the newest, said aloud."""
    from edgeclf.training.run import Run

    run = Run.open(Path(source)) if source is not None else Run.newest()
    if source is None:
        say(f"exporting {run.path}, the newest run")
    return run.exportable()


def _backbone(model: str, weights: str, labels: Path | None, img_size: int | None, seed: int) -> Exportable:
    from edgeclf_export.backbones import load_backbone
    from edgeclf_export.labels import read_labels

    names = read_labels(labels) if labels is not None else None
    return load_backbone(model, weights, labels=names, img_size=img_size, seed=seed)


def _foreign(source: Path, labels: Path | None, img_size: int | None, look: Look) -> Exportable:
    from edgeclf_export.backbones import pixels_from_config
    from edgeclf_export.foreign import load_onnx_classifier
    from edgeclf_export.labels import read_labels

    if labels is None or img_size is None or not _says_how_pixels_look(source, look):
        raise UsageError(
            f"{source.name} does not tell its classes and pictures: give --labels FILE, --img-size PX, --mean R,G,B "
            f"and --std R,G,B (ImageNet's are {IMAGENET_MEAN} and 0.229,0.224,0.225)"
        )
    normalization = foreign_normalization(look.mean, look.std, look.scale)
    config = {
        "input_size": (3, img_size, img_size),
        "crop_pct": look.crop_pct or 0.875,
        "crop_mode": look.crop_mode or "center",
        "interpolation": look.interpolation or "bilinear",
        "mean": (0.0, 0.0, 0.0) if normalization is None else normalization.mean,
    }
    return load_onnx_classifier(
        source,
        labels=read_labels(labels),
        pixels=pixels_from_config(config),
        normalization=normalization,
        channels=channel_order(look.channels),
        output=look.output_name,
    )


def _says_how_pixels_look(source: Path, look: Look) -> bool:
    """Whether mean and std were given, or both left out of a file that needs none."""
    from edgeclf_export.foreign_input import takes_uint8

    if look.mean is None and look.std is None:
        return takes_uint8(source)
    return look.mean is not None and look.std is not None


def _value_range(bit_depth: int | None, window: str | None) -> tuple[float, float] | None:
    """The stored values that become black and white, from --bit-depth or --window."""
    if bit_depth is not None and window is not None:
        raise UsageError("give either --bit-depth or --window, not both")
    if window is not None:
        try:
            low, high = (float(part) for part in window.split(","))
        except ValueError:
            raise UsageError(f"--window wants two numbers such as 0,4095, found {window!r}") from None
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UsageError(f"--window wants LOW below HIGH, both finite, found {window!r}")
        return low, high
    return None if bit_depth is None else (0.0, 2.0**bit_depth - 1)
