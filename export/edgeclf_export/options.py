"""What to export, how, and to where: options that are checked when they are made, and the names of the bundles."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from edgeclf_export.exportable import InputForm
from edgeclf_export.graph.onnx_graph import NEWEST_OPSET, OLDEST_OPSET
from edgeclf_export.quantize.calibration_data import Int8Options
from edgeclf_export.quantize.export_quantized import PRECISIONS
from edgeclf_export.targets.registry import TARGETS
from edgeclf_runtime.backends.tensorrt.builder import BuildSettings
from edgeclf_runtime.errors import UsageError


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to make of a classifier.

    Attributes
    ----------
    targets
        Engines to make a bundle for: "onnx", "openvino", "litert", "tensorrt", "pytorch".
    precision
        "fp32", "fp16", "bf16", "int8" (has to pass an accuracy gate), or "auto" (the fastest that passes it).
    output
        Folder that receives one bundle a target, named NAME-TARGET-PRECISION.
    name
        NAME in place of the classifier's own.
    form
        The graph's input: pixels ("uint8-nhwc"), or normalised floats for foreign consumers ("float-nchw").
    opset
        Of the ONNX graph.
    proof_data
        Folder of images to prove on; None: photographs that come with scikit-image and scikit-learn.
    force
        Replace bundles that exist.
    engine
        Build settings of TensorRT engines.
    int8
        For the precisions "int8" and "auto": the calibration images, and the accuracy gate that has to be passed.
    features
        Of a run: features before the head as a second output, and the class means of its training images.
    nearest_images
        How many training images' features the bundle keeps, for `predict --nearest`; 0: none.

    Raises
    ------
    UsageError
        A target, precision, opset or name that does not exist or does not fit.

    Examples
    --------
    >>> from edgeclf_export import ExportOptions
    >>> ExportOptions(targets=("onnx", "openvino"), precision="fp16").form
    'uint8-nhwc'
    """

    targets: tuple[str, ...] = ("onnx",)
    precision: str = "fp32"
    output: Path = Path("bundles")
    name: str | None = None
    form: str = "uint8-nhwc"
    opset: int = OLDEST_OPSET
    proof_data: Path | None = None
    force: bool = False
    engine: BuildSettings = BuildSettings()
    int8: Int8Options = Int8Options()
    features: bool = False
    nearest_images: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.targets, str):
            raise UsageError(f"targets is a tuple of names, such as ({self.targets!r},); found {self.targets!r}")
        object.__setattr__(self, "output", Path(self.output))
        if self.proof_data is not None:
            object.__setattr__(self, "proof_data", Path(self.proof_data))
        for target in self.targets:
            if target not in TARGETS:
                raise UsageError(f"no target {target!r}; choose one of {', '.join(TARGETS)}")
            choices = TARGETS[target].precisions + (PRECISIONS if TARGETS[target].quantizer else ())
            if self.precision not in choices:
                raise UsageError(f"{target} has no precision {self.precision!r}; choose one of {', '.join(choices)}")
            if self.features and TARGETS[target].add_features is None:
                able = ", ".join(name for name, each in TARGETS.items() if each.add_features is not None)
                raise UsageError(
                    f"--features: {target} bundles give logits alone; choose one of {able}, or leave it out"
                )
        if self.features and self.precision == "auto":
            raise UsageError(
                "--features: auto keeps several models for the device to choose from, and class means are of one; give "
                "--precision fp32, fp16 or int8"
            )
        if self.features and self.proof_data is not None:
            raise UsageError("--features takes its thresholds from the run's validation images; leave --proof-data out")
        if self.nearest_images and not self.features:
            raise UsageError("--nearest-images goes with --features, which makes what it keeps")
        if self.form not in get_args(InputForm):
            raise UsageError(f"no input form {self.form!r}; choose one of {', '.join(get_args(InputForm))}")
        if not OLDEST_OPSET <= self.opset <= NEWEST_OPSET:
            raise UsageError(f"opset must be {OLDEST_OPSET} to {NEWEST_OPSET} (what devices read), found {self.opset}")
        if self.name is not None and ("/" in self.name or self.name.startswith(".") or not self.name):
            raise UsageError(f"{self.name!r} can't name a folder; give --name letters, digits, '-' and '_'")


def plan_outputs(name: str, options: ExportOptions) -> dict[str, Path]:
    """Where the bundle of each target goes. Raises UsageError where one exists and may not be replaced."""
    name = options.name or short_name(name)
    places = {target: options.output / f"{name}-{target}-{options.precision}" for target in options.targets}
    fallbacks = (
        fallback_outputs(places, options).values() if options.precision == "int8" and options.int8.fallback else ()
    )
    for place in (*places.values(), *fallbacks):
        if os.path.lexists(place) and not options.force:
            raise UsageError(f"{place} exists; give --force to replace it, or another --output or --name")
    return places


def fallback_outputs(places: dict[str, Path], options: ExportOptions) -> dict[tuple[str, str], Path]:
    """Where a bundle of 16 bits goes by target and precision: its name has the precision that it holds."""
    return {
        (target, lower): place.with_name(f"{place.name.removesuffix(options.precision)}{lower}")
        for target, place in places.items()
        if (quantizer := TARGETS[target].quantizer) is not None
        for lower in quantizer.lower
    }


def refuse_without_module(targets: Sequence[str]) -> None:
    """Raises UsageError where one is made from a torch module, which this source has not."""
    if needing := [name for name in targets if TARGETS[name].needs_module]:
        raise UsageError(
            f"{needing[0]} bundles are made from the torch module, and an ONNX file, a bundle of one or a text encoder "
            "comes without; export the run, backbone or module that it was made from, or choose onnx or openvino"
        )


def refuse_int8_of_encoder(precision: str) -> None:
    """Raises UsageError for int8 and auto."""
    if precision in PRECISIONS:
        raise UsageError(
            f"{precision} has to pass an accuracy gate on top-1, and an encoder has no classes; export fp16 or bf16"
        )


def refuse_for_quantized(name: str, options: ExportOptions) -> None:
    """Raises UsageError for what does not fit the file `name`, quantized already: some targets take it as it is."""
    if options.precision != "int8" or not all(TARGETS[target].takes_quantized for target in options.targets):
        able = " or ".join(target.name for target in TARGETS.values() if target.takes_quantized)
        raise UsageError(
            f"{name} is quantized already: give --precision int8 and --target {able}, which take it as "
            "it is, or the float file that it was quantized from"
        )
    if options.int8 != Int8Options(seed=options.int8.seed):
        raise UsageError(
            f"{name} is quantized already, so nothing is calibrated, gated or learned: leave out "
            "--calib-data, --calib-images, --max-drop, --fallback and --learn-int8; --proof-data names images to "
            "compare it on"
        )


def short_name(name: str) -> str:
    """`timm/resnet18` -> resnet18, `models/mine.onnx` -> mine."""
    return Path(name).name.removesuffix(".onnx")
