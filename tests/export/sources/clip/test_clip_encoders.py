"""CLIP's encoders as bundles: embeddings are open_clip's, texts are read on the device, faults are reported apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from clip_models import small_clip
from litert_networks import CONVERTS
from onnx import numpy_helper

from edgeclf_export.exportable import AnyExportable
from edgeclf_export.exporter import export
from edgeclf_export.options import ExportOptions
from edgeclf_export.sources.clip.encoders import image_encoder, text_encoder
from edgeclf_export.sources.clip.models import load_clip
from edgeclf_runtime.bundle.atomic_write import MANIFEST, seal
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import parse_manifest
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.embedder import Embedder
from edgeclf_runtime.errors import BackendError, BundleError, GateError, UsageError

TEXTS = ["a photo of a cat.", "Zürich &amp; ‘mojibake’: Ã¤", "", "word " * 100, "😀"]
ENCODERS: dict[str, Callable[..., AnyExportable]] = {"image": image_encoder, "text": text_encoder}
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def encoder() -> Callable[[str], AnyExportable]:
    """An encoder by its part; its graph is made once."""

    @cache
    def encoder(part: str) -> AnyExportable:
        made = ENCODERS[part](load_clip(str(small_clip()), None))
        return replace(made, make_onnx=cache(made.make_onnx))

    return encoder


@pytest.fixture(scope="module")
def make(encoder: Callable[[str], AnyExportable], tmp_path_factory: pytest.TempPathFactory) -> Make:
    @cache
    def make(part: str, target: str = "onnx", precision: str = "fp32") -> Path:
        options = ExportOptions((target,), precision, output=tmp_path_factory.mktemp("encoders"), name=part)
        (exported,) = export(encoder(part), options)
        return exported.path

    return make


def open_clips_embeddings(texts: list[str]) -> Any:
    import torch

    clip = load_clip(str(small_clip()), None)
    with torch.no_grad():
        return clip.model.encode_text(clip.tokenizer(texts), normalize=True).numpy()  # type: ignore[operator]


@pytest.mark.parametrize("target", ["onnx", pytest.param("openvino", marks=pytest.mark.check)])
def test_texts_get_open_clips_embeddings(target: str, make: Make) -> None:
    with Embedder.open(make("text", target)) as embedder:
        found = embedder.embed_texts(TEXTS, batch_size=2)
    assert found.shape == (5, 64) and found.dtype == np.float32
    assert np.abs(found - open_clips_embeddings(TEXTS)).max() < 1e-5
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(5), abs=1e-6)


@pytest.mark.parametrize(
    "target",
    ["onnx", pytest.param("openvino", marks=pytest.mark.slow), "pytorch", pytest.param("litert", marks=CONVERTS)],
)
def test_images_get_open_clips_embeddings(target: str, make: Make, photographs: list[Path]) -> None:
    import torch

    clip = load_clip(str(small_clip()), None)
    with Embedder.open(make("image", target)) as embedder:
        found = list(embedder.embed_images(photographs, batch_size=4))
    assert [each.source for each in found] == [str(path) for path in photographs]
    pixels = np.stack([clip.pixels.load(path)[0] for path in photographs])
    normalised = torch.from_numpy((pixels / 255 - 0.5) / 0.5).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        wanted = clip.model.encode_image(normalised, normalize=True).numpy()  # type: ignore[operator]
    vectors = np.stack([each.vector for each in found if each.vector is not None])
    assert np.abs(vectors - wanted).max() < 1e-5


def test_a_bad_image_gets_its_error_and_the_others_their_embeddings(make: Make, photographs: list[Path]) -> None:
    with Embedder.open(make("image")) as embedder:
        good, bad, also = embedder.embed_images([photographs[0], b"no image", photographs[1]], batch_size=2)
    assert good.vector is not None and also.vector is not None
    assert bad.vector is None and bad.error


@pytest.mark.parametrize("part", ENCODERS)
def test_both_encoders_share_a_space_and_carry_a_proof(part: str, make: Make) -> None:
    manifest = Bundle.open(make(part)).manifest
    assert manifest.task == f"embed-{part}"
    assert manifest.labels == () and manifest.proof is not None and manifest.proof.verdict == "pass"
    assert manifest.reference == Bundle.open(make("image")).manifest.reference
    assert manifest.outputs[0].shape == ("batch", 64)


@pytest.mark.parametrize("part", ENCODERS)
def test_a_device_proves_an_encoder_from_the_bundle_alone(part: str, make: Make) -> None:
    proof = verify(Bundle.open(make(part)))
    assert (proof.verdict, proof.reasons) == ("pass", ())
    assert proof.images_source == ("golden texts" if part == "text" else "golden images")
    assert proof.comparison.agreement == 1.0 and proof.comparison.max_kl == 0.0


def test_a_faulty_tokenizer_is_not_reported_as_a_fault_of_the_engine(make: Make, tmp_path: Path) -> None:
    faulty = copy_of(make("text"), tmp_path)
    tables = json.loads((faulty / "tokenizer.json").read_text())
    tables["merges"] = tables["merges"][:300]
    (faulty / "tokenizer.json").write_text(json.dumps(tables))
    reseal(faulty)
    proof = verify(Bundle.open(faulty))
    assert proof.verdict == "fail"
    assert len(proof.reasons) == 1 and proof.reasons[0].startswith("tokenizer: ")


def test_a_damaged_tokenizer_is_refused_by_name(make: Make, tmp_path: Path) -> None:
    faulty = copy_of(make("text"), tmp_path)
    (faulty / "tokenizer.json").write_text('{"merges": [1]}')
    reseal(faulty)
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        Embedder.open(faulty)


@pytest.mark.parametrize("part", ENCODERS)
def test_other_weights_in_the_graph_end_the_export(
    part: str, encoder: Callable[[str], AnyExportable], tmp_path: Path
) -> None:
    model = onnx.load_from_string(encoder(part).make_onnx("uint8-nhwc", 18))
    for item in model.graph.initializer:
        values = numpy_helper.to_array(item)
        if values.ndim == 2 and values.dtype == np.float32:
            item.CopyFrom(numpy_helper.from_array(values[::-1].copy(), item.name))
    wrong = replace(encoder(part), make_onnx=lambda form, opset: model.SerializeToString())
    with pytest.raises(GateError, match="differs from its reference: engine: embeddings differ by"):
        list(export(wrong, ExportOptions(output=tmp_path)))


def test_each_bundle_takes_its_own_kind_of_input(make: Make) -> None:
    with Embedder.open(make("text")) as words, pytest.raises(UsageError, match="takes texts, not images"):
        words.embed_images(["cat.jpg"])
    with Embedder.open(make("image")) as images, pytest.raises(UsageError, match="takes images, not texts"):
        images.embed_texts(["cat"])
    with pytest.raises(BundleError, match="its task is embed-text, not classify; run `edgeclf embed`"):
        Classifier.open(make("text"))


def test_the_text_encoder_has_no_pytorch_bundle_and_says_so(
    encoder: Callable[[str], AnyExportable], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"a text encoder has none: choose onnx or openvino"):
        list(export(encoder("text"), ExportOptions(("pytorch",), output=tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize("part", ENCODERS)
def test_vit_b_32_of_random_weights_matches_open_clip_on_both_engines(part: str, tmp_path: Path) -> None:
    clip = load_clip("ViT-B-32", "random")
    exported = list(export(ENCODERS[part](clip), ExportOptions(("onnx", "openvino"), output=tmp_path)))
    for each in exported:
        assert each.proof.comparison.max_relative < 1e-4 and each.proof.comparison.min_cosine > 0.99999
        assert Bundle.open(each.path).manifest.outputs[0].shape == ("batch", 512)


def copy_of(bundle: Path, folder: Path) -> Path:
    import shutil

    return Path(shutil.copytree(bundle, folder / bundle.name))


def reseal(folder: Path) -> None:
    seal(folder, parse_manifest((folder / MANIFEST).read_bytes(), str(folder)))


def test_a_tower_whose_backbone_is_on_a_hub_is_refused_and_nothing_is_downloaded() -> None:
    from edgeclf_runtime.backends.torch_module import Builder, build_module

    vision = {"timm_model_name": "hf-hub:someone/something", "image_size": 32}
    config = json.dumps({"embed_dim": 8, "vision_cfg": vision})
    with pytest.raises(BackendError, match="has no model 'hf-hub:someone/something'"):
        build_module(Builder("open_clip", "tower", {"num_classes": 0}, config))
