"""Backbones with measured size and cost, and which of them suit an edge device.

`python -m edgeclf_export.sources.model_zoo` measures them all again and rewrites `backbones.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf_export.sources.backbones import fold_branches, load_backbone
from edgeclf_runtime.bundle.dataclass_json import from_json, to_json
from edgeclf_runtime.machine.facts import package_version

RECORD = Path(__file__).with_name("backbones.json")

# Architectures of textbooks and tutorials, newest last.
CLASSICS = {
    "torchvision/alexnet": "for teaching: 61 million parameters, 56.5 % top-1",
    "torchvision/vgg16": "for teaching, and as a feature extractor: 528 MB of weights",
    "torchvision/googlenet": "Inception modules; MobileNetV3 is smaller, faster and better",
    "timm/resnet50": "the baseline that every paper compares with; INT8 costs it little",
    "timm/densenet121": "common in medical imaging; many small layers, slower than its GMACs promise",
    "timm/efficientnet_b0": "best accuracy for its size; squeeze-excite and swish make INT8 delicate",
    "timm/efficientnet_b2": "a step up from B0 where the device has the time",
    "timm/efficientnet_b4": "accuracy first: a GPU or a strong CPU",
    "timm/mobilenetv3_large_100": "made for phone CPUs; hard-swish and squeeze-excite make INT8 delicate",
    "timm/vit_base_patch16_224": "pure attention: wants a GPU and much pretraining data",
    "timm/convnext_base": "a modern pure CNN of ViT's accuracy: wants a GPU",
}

EDGE = {
    "timm/mobilenetv3_small_050": "the smallest of its family: microcontrollers with Linux, many streams",
    "timm/mobilenetv3_small_100": "a few milliseconds on one CPU core",
    "timm/mobilenetv2_100": "plain ReLU6 and no squeeze-excite: quantizes well, runs on every accelerator",
    "timm/mobilenetv4_conv_small": "plain convolutions, balanced for CPUs, DSPs and NPUs alike",
    "timm/mobilenetv4_conv_medium": "the same, one size up",
    "timm/tf_efficientnet_lite0": "EfficientNet without squeeze-excite and swish, made to be quantized",
    "timm/tf_efficientnet_lite1": "one size up from Lite0, 240 px",
    "timm/tf_efficientnet_lite2": "two sizes up from Lite0, 260 px",
    "timm/mobileone_s0": "trained with branches, deployed as a plain stack: low latency",
    "timm/repvit_m1": "a mobile CNN laid out like a transformer: good accuracy for its latency",
    "timm/ghostnet_100": "cheap linear maps in place of half the convolutions",
    "timm/lcnet_050": "made for Intel CPUs with oneDNN; tiny",
    "timm/lcnet_100": "made for Intel CPUs with oneDNN",
    "timm/mnasnet_100": "found by search on a phone's latency",
    "timm/fbnetc_100": "found by search on a phone's latency",
    "timm/hardcorenas_a": "found by search under a hard latency bound",
    "timm/tinynet_c": "EfficientNet shrunk in resolution first",
    "timm/regnetx_004": "plain grouped convolutions: even speed on CPUs and GPUs",
    "timm/regnety_004": "the same with squeeze-excite",
    "timm/resnet18": "plain 3x3 convolutions: fast on TensorRT, quantizes almost without loss",
    "timm/edgenext_x_small": "convolutions with a little attention across channels",
    "timm/mobilevit_xs": "convolutions with a little attention; slower on CPUs than its GMACs promise",
    "timm/mobilevitv2_100": "MobileViT with linear attention",
    "timm/efficientformerv2_s0": "a transformer shaped by phone latency",
    "timm/fastvit_t8": "hybrid that folds its branches for deployment",
    "timm/convnext_atto": "ConvNeXt at 3.7 million parameters",
    "timm/vit_tiny_patch16_224": "the smallest ViT: matrix products only, quantizes well with care for LayerNorm",
    "timm/starnet_s1": "element-wise products in place of wide layers; very low latency",
}


@dataclass(frozen=True, slots=True)
class Backbone:
    """A measured backbone, as it is deployed. `gmacs`: 10^9 multiply-adds of an image in convolutions and products."""

    name: str
    input_px: tuple[int, int]
    parameters: int
    gmacs: float
    note: str

    @property
    def suits_edge(self) -> bool:
        """At most 2 GMACs and 15 million parameters, 60 MB in fp32. A rule of thumb: the device decides."""
        return self.gmacs <= 2.0 and self.parameters <= 15e6


def known_backbones() -> tuple[Backbone, ...]:
    """The record, as it was measured last."""
    return tuple(from_json(Backbone, item, f"{RECORD.name}[{i}]") for i, item in enumerate(_read()["backbones"]))


def _read() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(RECORD.read_text())
    return content


def measure_backbone(name: str) -> Backbone:
    """Builds the backbone with random weights and counts; torch's own counter sees every convolution and product."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from edgeclf_runtime.backends.torch_module import build_module

    exportable = load_backbone(name, "random")
    assert exportable.builder is not None  # every registered backbone has one
    module = fold_branches(exportable.builder)(build_module(exportable.builder))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 3, *exportable.pixels.crop_px))
    parameters = sum(parameter.numel() for parameter in module.parameters())
    gmacs = round(counter.get_total_flops() / 2e9, 3)
    return Backbone(name, exportable.pixels.crop_px, parameters, gmacs, {**CLASSICS, **EDGE}[name])


def main() -> None:
    measured = []
    for name in [*CLASSICS, *EDGE]:
        measured.append(measure_backbone(name))
        print(f"{name}: {measured[-1].parameters / 1e6:.1f} M parameters, {measured[-1].gmacs:.2f} GMACs", flush=True)
    record = {
        "made_by": "python -m edgeclf_export.sources.model_zoo",
        "versions": {name: package_version(name) for name in ("timm", "torch", "torchvision")},
        "backbones": to_json(measured),
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
