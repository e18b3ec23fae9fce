"""A module of one's own: exported and proven like a backbone, refused where it is no image classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeclf_export.exporter import export_module
from edgeclf_export.options import ExportOptions
from edgeclf_export.sources.modules import exportable_from_module
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Normalization, Reference, to_input
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import DataError, GateError, UsageError
from edgeclf_runtime.images.pixels import Pixels

torch = pytest.importorskip("torch")
Export = Callable[..., Any]


@pytest.fixture
def export(pixels: Pixels, normalization: Normalization, fruit: tuple[str, ...], tmp_path: Path) -> Export:
    def export(module: Any, *targets: str, labels: Any = fruit, force: bool = False, **changes: Any) -> Any:
        options = ExportOptions(targets or ("onnx",), output=tmp_path / "bundles", force=force)
        return export_module(module, pixels, labels, options, normalization=normalization, **changes)

    return export


def test_it_becomes_proven_bundles(net: Any, export: Export, photographs: list[Path], fruit: tuple[str, ...]) -> None:
    made = export(net, "onnx", "openvino", name="orchard")
    assert [exported.path.name for exported in made] == ["orchard-onnx-fp32", "orchard-openvino-fp32"]
    for exported in made:
        assert exported.proof.verdict == "pass"
        bundle = Bundle.open(exported.path)
        assert bundle.manifest.labels == fruit and bundle.manifest.provenance.backbone == "orchard"
        assert verify(bundle).verdict == "pass"
        with Classifier.open(bundle, SessionOptions(threads=2)) as classifier:
            (prediction,) = classifier.predict(photographs[:1])
        assert prediction.label in fruit


@pytest.mark.parametrize("form", ["uint8-nhwc", "float-nchw"])
def test_the_module_with_its_pixel_contract_is_available_to_targets(
    form: str, net: Any, pixels: Pixels, normalization: Normalization, fruit: tuple[str, ...]
) -> None:
    exportable = exportable_from_module(
        net,
        labels=fruit,
        pixels=pixels,
        normalization=normalization,
        backbone="net",
        weights="module",
        reference=Reference("pytorch", "net"),
    )
    batch = np.random.default_rng(0).integers(0, 256, (2, *pixels.crop_px, 3), dtype=np.uint8)
    assert exportable.make_module is not None
    with torch.inference_mode():
        entry = to_input(batch, exportable.contract(form).normalization)
        logits = exportable.make_module(form)(torch.from_numpy(entry)).numpy()
    assert np.allclose(logits, exportable.run_reference(batch), atol=1e-4)
    assert exportable.contract(form, 1).inputs[0].fixed_batch == 1


def test_pytorch_is_refused_since_it_could_not_be_built_again(net: Any, export: Export, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"needs an architecture that timm, torchvision or open_clip can build again.*choose onnx or"
    ):
        export(net, "pytorch")
    assert not list((tmp_path / "bundles").iterdir())


def test_classes_that_are_questions_of_their_own_are_scored_by_sigmoid(net: Any, export: Export) -> None:
    (exported,) = export(net, scores="sigmoid")
    assert Bundle.open(exported.path).manifest.scores == "sigmoid"


class Tuple(torch.nn.Module):
    def forward(self, images: Any) -> Any:
        return images.mean(dim=(2, 3)), images


class Features(torch.nn.Module):
    def forward(self, images: Any) -> Any:
        return images[:, :, ::8, ::8]


class OtherSize(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3 * 28 * 28, 5)

    def forward(self, images: Any) -> Any:
        return self.head(images.flatten(1))


class Assuming(torch.nn.Module):
    def forward(self, images: Any) -> Any:
        assert images.shape[0] == 1, "one image at a time"
        return images.mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Tuple(), r"wanted logits \(2, 5\) as one tensor, the module gave a tuple"),
        (Features(), r"wanted logits \(2, 5\) for two images and 5 labels, the module gave \(2, 3, 4, 4\)"),
        (OtherSize(), r"the module fails on two images, \(2, 3, 32, 32\) float32: mat1 and mat2"),
        (Assuming(), "the module fails on two images.*: one image at a time"),
        (torch.nn.Embedding(3, 5), "the module fails on two images"),
    ],
    ids=["tuple", "features", "other-size", "one-at-a-time", "token-ids"],
)
def test_a_module_that_is_no_image_classifier_is_refused_with_what_it_gave(
    module: Any, message: str, export: Export
) -> None:
    with pytest.raises(UsageError, match=message) as failure:
        export(module)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("a", "b"), r"wanted logits \(2, 2\) for two images and 2 labels, the module gave \(2, 5\)"),
        (("a", "b", "c", "a", "d"), "the label 'a' occurs more than once"),
        ((), "wanted logits|no labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: tuple[str, ...], message: str, net: Any, export: Export) -> None:
    with pytest.raises(UsageError, match=message):
        export(net, labels=labels)


class Branching(torch.nn.Module):
    def forward(self, images: Any) -> Any:
        means = images.mean(dim=(2, 3))
        if means.sum().item() > 0:
            means = means * 2
        return torch.cat([means, means[:, :2]], dim=1)


def test_what_torch_cannot_export_is_reported_in_one_line(export: Export, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="torch can't export this module to ONNX opset 18: ") as failure:
        export(Branching())
    assert "\n" not in str(failure.value) and len(str(failure.value)) < 400
    assert not list((tmp_path / "bundles").iterdir())


def test_an_output_that_exists_is_refused_before_the_module_is_run(net: Any, export: Export, tmp_path: Path) -> None:
    (tmp_path / "bundles" / "module-onnx-fp32").mkdir(parents=True)
    with pytest.raises(UsageError, match="module-onnx-fp32 exists; give --force to replace it"):
        export(None)


def test_the_example_in_the_docstring_is_right(net: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import doctest

    monkeypatch.chdir(tmp_path)
    source = doctest.script_from_examples(export_module.__doc__ or "")
    labels = torch.nn.Sequential(net, torch.nn.Linear(5, 2))
    names = {"export_module": export_module, "Pixels": Pixels, "Normalization": Normalization, "Path": Path}
    exec(source, {**names, "ExportOptions": ExportOptions, "module": labels})
    assert sorted(path.name for path in (tmp_path / "bundles").iterdir()) == ["orchard-onnx-fp32"]


def test_a_module_that_gives_every_class_the_same_logit_is_named(
    net: Any, pixels: Pixels, normalization: Normalization, fruit: tuple[str, ...], tmp_path: Path
) -> None:
    import copy

    flat = copy.deepcopy(net)
    with torch.no_grad():
        flat[4].weight.zero_()
        flat[4].bias.fill_(24.3)
    with pytest.raises(
        GateError, match=r"gives all classes the same logit, for each of \d+ images; its weights are dam"
    ):
        export_module(flat, pixels, fruit, ExportOptions(output=tmp_path), normalization=normalization)
