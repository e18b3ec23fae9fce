"""Faults to plant in bundles of every target and precision: in the graph, in the manifest, in what is claimed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, NamedTuple

from edgeclf_runtime.bundle.manifest import Manifest, Normalization, Thresholds
from edgeclf_runtime.bundle.proof import Tolerances
from edgeclf_runtime.images.pixels import Pixels

SIDE = 32
LABELS = ("astronaut", "chelsea", "china", "coffee")
PIXELS = Pixels("shorter", (36, 36), (SIDE, SIDE), "bicubic")
HALF = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_IMAGENET = (0.485, 0.456, 0.406)


class Case(NamedTuple):
    """A target and a precision."""

    target: str
    precision: str

    def __str__(self) -> str:
        return f"{self.target} {self.precision}"


CASES = tuple(
    Case(target, precision)
    for target, precisions in {
        "onnx": ("fp32", "fp16", "int8"),
        "openvino": ("fp32", "fp16", "bf16", "int8"),
        "litert": ("fp32", "fp16", "int8") if find_spec("litert_torch") else (),  # of the extra litert-export
        "pytorch": ("fp32", "fp16", "bf16"),
        "tensorrt": ("fp32", "fp16", "bf16", "int8"),
        "hog-svm": ("fp32",),
    }.items()
    for precision in precisions
)


@dataclass(frozen=True)
class Fault:
    """What is planted. `network`: in the graph; `manifest`: in what the bundle says; `claim`: in what it stores."""

    name: str
    network: Callable[[Any, Normalization], tuple[Any, Normalization]] | None = None
    manifest: Callable[[Manifest], Manifest] | None = None
    claim: bool = False
    wrapper: bool = False
    lenient: bool = False

    def fits(self, case: Case) -> bool:
        if case.target == "hog-svm":
            return self.name in _OF_SVM or self.manifest is not None
        if self.claim:
            return case.precision == self.name.removeprefix("fp32 for ") and case != ("openvino", "bf16")
        return not (self.name == "altered temperature" and case.target == "hog-svm")


def wrong_mean(mean: tuple[float, float, float]) -> Callable[[Any, Normalization], tuple[Any, Normalization]]:
    return lambda module, normalization: (module, replace(normalization, mean=mean))


def _in_weights(change: Callable[[Any], None]) -> Callable[[Any, Normalization], tuple[Any, Normalization]]:
    """A fault in the weights of a copy of the network."""

    def plant(module: Any, normalization: Normalization) -> tuple[Any, Normalization]:
        import torch

        changed = copy.deepcopy(module)
        with torch.no_grad():
            change(changed)
        return changed, normalization

    return plant


def _layers(network: Any, kind: str) -> list[Any]:
    return [layer for layer in network.modules() if type(layer).__name__ == kind]


def _swap_colours(network: Any) -> None:
    """The first convolution with its input channels turned round: mean and std are the same for each."""
    weight = _layers(network, "Conv2d")[0].weight
    weight.copy_(weight.flip(1).clone())


def _head(network: Any) -> Any:
    return _layers(network, "Linear")[-1]


def _swap_rows(network: Any) -> None:
    for values in (_head(network).weight, _head(network).bias):
        values.copy_(values[[1, 0, *range(2, len(LABELS))]].clone())


def _pixels(**changes: Any) -> Callable[[Manifest], Manifest]:
    return lambda manifest: replace(manifest, pixels=replace(manifest.pixels or PIXELS, **changes))


def _swap_labels(manifest: Manifest) -> Manifest:
    first, second, *others = manifest.labels
    return replace(manifest, labels=(second, first, *others))


FAULTS = (
    Fault("mean wrong by 0.001", network=wrong_mean((0.501, 0.501, 0.501))),
    Fault("ImageNet's mean for the model's own", network=wrong_mean(_IMAGENET)),
    Fault("red and blue swapped", network=_in_weights(_swap_colours)),
    Fault("halved head", network=_in_weights(lambda network: _head(network).weight.mul_(0.5))),
    Fault("zeroed bias", network=_in_weights(lambda network: _head(network).bias.zero_())),
    Fault("swapped rows of the head", network=_in_weights(_swap_rows)),
    Fault("wrapper of graph and PyTorch wrong", wrapper=True),
    Fault("fp32 for fp16", claim=True),
    Fault("fp32 for int8", claim=True),
    Fault("wrong interpolation", manifest=_pixels(interpolation="nearest")),
    Fault("other background", manifest=_pixels(background=(0, 0, 0))),
    Fault("other value range", manifest=_pixels(value_range=(0.0, 4095.0))),
    Fault("swapped labels", manifest=_swap_labels),
    Fault("altered temperature", manifest=lambda m: replace(m, temperature=1.3 * m.temperature)),
    Fault("altered threshold", manifest=lambda m: replace(m, thresholds=Thresholds(unknown_below=0.2))),
    Fault("sigmoid for softmax", manifest=lambda m: replace(m, scores="sigmoid")),
    Fault(
        "relaxed tolerances",
        manifest=lambda m: replace(m, tolerances=Tolerances(relative=10.0, cosine=-1.0, kl=100.0)),
        lenient=True,
    ),
)
_OF_SVM = ("halved head", "zeroed bias", "swapped rows of the head")


WHY_NOT = {
    "swapped labels": "the labels of a run or of `--labels` are the only ones there are",
    "altered temperature": "the run's own temperature is the only one there is",
    "altered threshold": "the run's own thresholds are the only ones there are",
    "sigmoid for softmax": "the kind of scores is what the caller says",
    "relaxed tolerances": "no fault by itself: the proof goes by edgeclf's own table",
}
