"""The backbones of `edgeclf models`: the record is what measuring gives, and each of them exports."""

from __future__ import annotations

import ctypes
import gc
import shutil
from pathlib import Path

import pytest

from edgeclf_export.sources.model_zoo import CLASSICS, EDGE, known_backbones, measure_backbone
from edgeclf_export.sources.published_accuracy import published_accuracies

RECORDED = {backbone.name: backbone for backbone in known_backbones()}


def test_the_record_holds_every_backbone_once_and_in_order() -> None:
    assert [backbone.name for backbone in known_backbones()] == [*CLASSICS, *EDGE]
    assert len(RECORDED) == len(CLASSICS) + len(EDGE)


@pytest.mark.parametrize("name", ["timm/lcnet_050", pytest.param("timm/mobilenetv3_small_050", marks=pytest.mark.slow)])
def test_measuring_again_gives_the_record(name: str) -> None:
    assert measure_backbone(name) == RECORDED[name]


def test_the_figures_are_the_published_ones() -> None:
    """Parameters in millions and GMACs from the papers; torchvision's AlexNet and VGG-16 from its own tables."""
    published = {
        "torchvision/alexnet": (61.1, 0.71),
        "torchvision/vgg16": (138.4, 15.47),
        "timm/resnet50": (25.6, 4.1),
        "timm/efficientnet_b0": (5.3, 0.39),
        "timm/mobilenetv3_large_100": (5.5, 0.22),
        "timm/vit_base_patch16_224": (86.6, 17.6),
        "timm/mobilenetv2_100": (3.5, 0.30),
    }
    for name, (millions, gmacs) in published.items():
        assert RECORDED[name].parameters / 1e6 == pytest.approx(millions, rel=0.01)
        assert RECORDED[name].gmacs == pytest.approx(gmacs, rel=0.05)


def test_published_accuracies_are_of_the_weights_that_are_downloaded_and_name_their_source() -> None:
    """torchvision's stand in its package; timm's wheel carries none, so what is held is that the weights are those."""
    import timm
    from torchvision import models

    published = published_accuracies()
    assert list(published) == list(RECORDED)
    for name, found in published.items():
        library, _, model = name.partition("/")
        assert found.source and found.img_size_px == RECORDED[name].input_px[0]
        if library == "timm":
            assert found.weights == f"{model}.{timm.get_pretrained_cfg(model).tag}"
            assert 55 < found.top1_percent < 90 and "results-imagenet.csv" in found.source
        else:
            weights = models.get_model_weights(model).DEFAULT
            assert (found.weights, found.top1_percent) == (
                str(weights),
                weights.meta["_metrics"]["ImageNet-1K"]["acc@1"],
            )


def test_backbones_for_edge_devices_are_small_and_every_note_says_why() -> None:
    suited = {name for name, backbone in RECORDED.items() if backbone.suits_edge}
    assert suited >= {"timm/mobilenetv3_small_050", "timm/efficientnet_b0", "timm/tf_efficientnet_lite0"}
    assert not suited & {"torchvision/alexnet", "torchvision/vgg16", "timm/resnet50", "timm/vit_base_patch16_224"}
    assert all(10 < len(backbone.note) < 90 and "\n" not in backbone.note for backbone in RECORDED.values())
    assert all(min(backbone.input_px) >= 160 for backbone in RECORDED.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CLASSICS, *EDGE])
def test_it_exports_to_onnx_and_openvino_with_a_passing_proof(name: str, tmp_path: Path) -> None:
    from edgeclf_export.exporter import export
    from edgeclf_export.options import ExportOptions
    from edgeclf_export.sources.backbones import load_backbone

    # of GoogLeNet with seed 0 the two best classes lie too close to tell them apart
    exportable = load_backbone(name, "random", seed=1)
    for exported in export(exportable, ExportOptions(("onnx", "openvino"), output=tmp_path)):
        assert exported.proof.verdict == "pass", exported.proof.reasons
        shutil.rmtree(exported.path)  # gigabytes, all together
    del exportable
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # the next one needs the memory
