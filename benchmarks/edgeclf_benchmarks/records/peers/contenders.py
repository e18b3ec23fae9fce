"""What is measured beside what: the rows of the table, and who takes part in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["edgeclf", "by hand", "peer", "part"]
PixelKind = Literal["exact", "fast", "own"]
HINTS = {"int8": "f32", "bf16": "bf16", "fp32": "f32"}  # of what is not quantized, in OpenVINO's words
_BATCH = 8


@dataclass(frozen=True, slots=True)
class Row:
    """One network in one precision on images of one size: all contenders run it.

    Attributes
    ----------
    size
        Of the JPEGs: "small" or "large".
    backbone
        timm's name of the network.
    target, precision
        What runs it and in which precision it computes.
    """

    size: str
    backbone: str
    target: Literal["openvino", "onnx"]
    precision: Literal["int8", "bf16", "fp32"]

    @property
    def name(self) -> str:
        return f"{self.backbone}, {self.target} {self.precision}, {self.size}"

    @property
    def stored(self) -> str:
        """Precision of the bundle: bf16 is computed from weights in fp32."""
        return "int8" if self.precision == "int8" else "fp32"


ROWS = (
    Row("small", "mobilenetv3_large_100", "openvino", "int8"),
    Row("small", "mobilenetv3_large_100", "openvino", "bf16"),
    Row("small", "mobilenetv3_large_100", "openvino", "fp32"),
    Row("small", "mobilenetv3_large_100", "onnx", "fp32"),
    Row("large", "mobilenetv3_large_100", "openvino", "int8"),
    Row("small", "resnet50", "openvino", "int8"),
)


@dataclass(frozen=True, slots=True)
class Contender:
    """Someone who classifies the images of a row, or one part of the work alone.

    Attributes
    ----------
    name
        As in the table.
    role
        "part": pixels or engine alone, for the bound.
    environment
        Whose Python runs it, of `environments.REQUIREMENTS`; "edgeclf": this one.
    script
        In `workers/`.
    pixels
        "exact": those of training, bit for bit or nearly; "fast": some levels off; "own": the peer's choice.
    form
        Of the network, of `models.FORMS`.
    settings
        What only this one is told.
    """

    name: str
    role: Role
    environment: str
    script: str
    pixels: PixelKind
    form: str = "bundle"
    settings: dict[str, Any] = field(default_factory=dict)


def contenders(row: Row) -> list[Contender]:
    """Who takes part in a row, in the order of their turns."""
    return [*_edgeclf(), *_by_hand(row), *_peers(row), *_parts()]


def _edgeclf() -> Iterator[Contender]:
    for pixels in ("exact", "fast"):
        for batch, name in ((1, "batch 1"), ("auto", "auto")):
            yield Contender(
                f"edgeclf, {pixels}, {name}", "edgeclf", "edgeclf", "edgeclf_itself", pixels, settings={"batch": batch}
            )


def _by_hand(row: Row) -> Iterator[Contender]:
    for pixels in ("exact", "fast"):
        settings = {"batch": _BATCH, "part": "all"}
        name = f"by hand, {pixels}, batches of {_BATCH}"
        yield Contender(name, "by hand", "by_hand", "by_hand", pixels, "network", settings)
    if row.target == "openvino":
        yield Contender("OpenCV, asynchronous requests", "by hand", "by_hand", "opencv_requests", "own", "network")


def _peers(row: Row) -> Iterator[Contender]:
    if row.target == "openvino":
        yield Contender("model_api", "peer", "model_api", "model_api_requests", "own", "network")
        yield Contender(
            "Ultralytics", "peer", "ultralytics", "ultralytics_runner", "own", "ultralytics", {"batch": _BATCH}
        )
    optimum = {"engine": row.target, "batch": _BATCH}
    yield Contender("Optimum", "peer", f"optimum_{row.target}", "transformers_pipeline", "exact", "optimum", optimum)
    if row.target == "openvino" and row.precision != "int8":  # on PyTorch: once for each of its precisions
        pytorch = {"engine": "pytorch", "batch": _BATCH}
        yield Contender(
            "transformers", "peer", "optimum_openvino", "transformers_pipeline", "exact", "weights", pytorch
        )


def _parts() -> Iterator[Contender]:
    for pixels in ("exact", "fast"):
        settings = {"part": "pixels", "batch": 1}
        yield Contender(f"pixels, {pixels}", "part", "edgeclf", "edgeclf_parts", pixels, settings=settings)
        name = f"pixels by hand, {pixels}"
        yield Contender(name, "part", "by_hand", "by_hand", pixels, "network", settings)
    for batch in (1, _BATCH):
        settings = {"part": "engine", "batch": batch}
        yield Contender(f"engine, batch {batch}", "part", "edgeclf", "edgeclf_parts", "exact", settings=settings)
