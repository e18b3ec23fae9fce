"""Names of backbones: found in their library, suggested where mistyped, and nothing is downloaded or read for them."""

from __future__ import annotations

import builtins
import socket
from typing import Any

import pytest

from edgeclf_export.sources.backbones import load_backbone
from edgeclf_export.sources.names import resolve_backbone
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.errors import UsageError


@pytest.fixture(autouse=True)
def guarded() -> None:
    guard_torchvision()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("resnet18", ("timm", "resnet18")),
        ("timm/resnet18", ("timm", "resnet18")),
        ("torchvision/resnet18", ("torchvision", "resnet18")),
        ("googlenet", ("torchvision", "googlenet")),
        ("resnet50.a1_in1k", ("timm", "resnet50.a1_in1k")),
        ("timm/mobilenetv3_large_100.ra_in1k", ("timm", "mobilenetv3_large_100.ra_in1k")),
    ],
)
def test_a_name_is_found_in_timm_first_and_in_the_library_that_it_states(name: str, found: tuple[str, str]) -> None:
    assert resolve_backbone(name) == found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mobilenetv3_large", "no model 'mobilenetv3_large' in timm or torchvision; did you mean mobilenet"),
        ("resnet-50", "no model 'resnet-50' in timm or torchvision; did you mean .*resnet50"),
        ("timm/googlenet", "no model 'googlenet' in timm;"),
        ("torchvision/efficientnet_b77", "no model 'efficientnet_b77' in torchvision; did you mean efficientnet_b7"),
        ("qqqq", "no model 'qqqq' in timm or torchvision; `edgeclf models` lists"),
        ("resnet50.nonsense", "no weights 'nonsense' of resnet50; choose one of .*a1_in1k"),
        ("torchvision/resnet18.a1_in1k", "no model 'resnet18.a1_in1k' in torchvision"),
        ("keras/resnet50", "no model library 'keras'; choose one of timm, torchvision"),
    ],
)
def test_a_mistyped_name_is_refused_with_the_closest_names(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_backbone(name)


@pytest.mark.parametrize(
    "name",
    [
        "hf-hub:evil/x",
        "hf_hub:evil/x",
        "local-dir:/etc",
        "timm/hf-hub:evil",
        "timm/local-dir:",
        "../x",
        "/etc/passwd",
        "a/b/c",
        "timm/../x",
        "https://evil.example/x",
        "resnet18@main",
        "",
        "/",
        "\x00",
        "resnet18\n",
    ],
)
def test_a_hostile_name_downloads_and_reads_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError(f"touched {arguments[:2]}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(builtins, "open", refuse)
    with pytest.raises(UsageError, match="no model"):
        load_backbone(name, "hub")


def test_the_tag_decides_the_pixel_contract() -> None:
    plain, tagged = (
        load_backbone(name, "random") for name in ("vit_tiny_patch16_224", "vit_tiny_patch16_224.augreg_in21k")
    )
    assert plain.pixels.crop_px == tagged.pixels.crop_px == (224, 224)
    assert len(plain.labels) == 1000 and len(tagged.labels) == 21843


def test_a_backbone_without_classes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"convnextv2_atto\.fcmae gives features, not classes; choose a backbone with"):
        load_backbone("convnextv2_atto.fcmae", "random")
