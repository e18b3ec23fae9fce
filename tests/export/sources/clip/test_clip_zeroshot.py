"""Zero-shot classifiers: the bundle gives open_clip's scores, records its words, and is proven."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from clip_models import small_clip
from onnx import numpy_helper
from PIL import Image

from edgeclf_export.exportable import Exportable
from edgeclf_export.exporter import export
from edgeclf_export.options import ExportOptions
from edgeclf_export.sources.clip.library import import_open_clip
from edgeclf_export.sources.clip.models import load_clip
from edgeclf_export.sources.clip.prompts import Templates, prompts_digest, read_templates, read_words
from edgeclf_export.sources.clip.zeroshot import zeroshot_classifier
from edgeclf_export.sources.several_labels import with_several_labels
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import parse_manifest
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import DataError, GateError, UsageError
from edgeclf_runtime.progress import Progress

WORDS = ("astronaut", "cat", "coffee", "a {curly} word")
TEMPLATES = Templates(("a photo of a {}.", "{}: {}", "the {} and {x}"), "given")


@pytest.fixture(scope="module")
def made() -> Callable[[bool], Exportable]:
    @cache
    def made(siglip: bool) -> Exportable:
        found = zeroshot_classifier(load_clip(str(small_clip(siglip=siglip)), None), WORDS, TEMPLATES)
        return replace(found, make_onnx=cache(found.make_onnx))

    return made


@pytest.fixture(scope="module")
def bundles(made: Callable[[bool], Exportable], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    @cache
    def bundles(target: str, precision: str = "fp32", siglip: bool = False) -> Bundle:
        options = ExportOptions((target,), precision, output=tmp_path_factory.mktemp("zeroshot"))
        (exported,) = export(made(siglip), options)
        return Bundle.open(exported.path)

    return bundles


def open_clips_scores(siglip: bool, photographs: list[Path]) -> Any:
    """Probabilities written as open_clip's README has them, with its own transform and tokenizer."""
    import torch

    open_clip = import_open_clip()
    source = f"local-dir:{small_clip(siglip=siglip)}"
    model, preprocess = open_clip.create_model_from_pretrained(source)
    tokenizer = open_clip.get_tokenizer(source)
    images = torch.stack([preprocess(Image.open(path).convert("RGB")) for path in photographs])
    with torch.no_grad():
        means = []
        for word in WORDS:
            texts = tokenizer([sentence.replace("{}", word) for sentence in TEMPLATES.sentences])
            mean = model.encode_text(texts, normalize=True).mean(dim=0)
            means.append(mean / mean.norm())
        cosines = model.eval().encode_image(images, normalize=True) @ torch.stack(means).T
        logits = model.logit_scale.exp() * cosines
        return torch.sigmoid(logits + model.logit_bias) if siglip else logits.softmax(dim=-1)


@pytest.mark.parametrize(
    ("target", "siglip"),
    [
        *(pytest.param(target, False, id=f"{target}-softmax") for target in ("onnx", "pytorch")),
        pytest.param("openvino", False, id="openvino-softmax", marks=pytest.mark.slow),
        pytest.param("pytorch", True, id="pytorch-sigmoid"),  # the others' tower is another export, of seconds
        *(
            pytest.param(target, True, id=f"{target}-sigmoid", marks=pytest.mark.slow)
            for target in ("onnx", "openvino")
        ),
    ],
)
def test_a_bundle_gives_open_clips_probabilities(
    target: str, siglip: bool, bundles: Callable[..., Bundle], photographs: list[Path]
) -> None:
    landscape = [path for path in photographs if (size := Image.open(path).size)[0] >= size[1]]
    wanted = open_clips_scores(siglip, landscape)
    with Classifier.open(bundles(target, siglip=siglip)) as classifier:
        for prediction, probabilities in zip(classifier.predict(landscape, top=4), wanted, strict=True):
            found = {score.label: score.probability for score in prediction.scores}
            assert [found[word] for word in WORDS] == pytest.approx(probabilities.tolist(), abs=1e-5)


def test_siglip_predicts_every_word_at_its_threshold_and_a_softmax_none(
    made: Callable[[bool], Exportable], photographs: list[Path], tmp_path: Path
) -> None:
    landscape = [path for path in photographs if (size := Image.open(path).size)[0] >= size[1]]
    wanted = open_clips_scores(True, landscape).numpy()
    least = float(np.sort(wanted.ravel())[len(wanted.ravel()) // 2 - 1 :][:2].mean())  # no probability lies at it
    (exported,) = export(with_several_labels(made(True), str(least)), ExportOptions(("pytorch",), output=tmp_path))
    with Classifier.open(exported.path) as classifier:
        found = [set(each.labels or ()) for each in classifier.predict(landscape)]
    assert found == [{WORDS[number] for number in np.flatnonzero(row >= least)} for row in wanted]
    with pytest.raises(UsageError, match="compares its classes by softmax"):
        with_several_labels(made(False))


def test_the_manifest_records_the_templates_of_the_words(bundles: Callable[..., Bundle]) -> None:
    manifest = bundles("onnx").manifest
    assert manifest.labels == WORDS and manifest.task == "classify"
    assert manifest.prompts is not None
    assert manifest.prompts.templates == TEMPLATES.sentences
    assert manifest.prompts.sha256 == prompts_digest(WORDS, TEMPLATES)
    assert manifest.prompts.logit_scale == pytest.approx(1 / 0.07, rel=1e-5) and manifest.prompts.logit_bias is None
    siglip = bundles("pytorch", siglip=True).manifest
    assert siglip.scores == "sigmoid" and siglip.prompts is not None
    assert (siglip.prompts.logit_scale, siglip.prompts.logit_bias) == pytest.approx((10.0, -3.0), rel=1e-5)


def test_a_manifest_from_before_there_were_prompts_still_loads(bundles: Callable[..., Bundle]) -> None:
    content = json.loads(bundles("onnx").manifest.to_bytes())
    for field in ("prompts", "manifest_sha256"):
        del content[field]
    for field in ("texts", "tokens"):
        del content["golden"][field]
    older = parse_manifest(json.dumps(content).encode(), "older")
    assert older.prompts is None and older.golden.texts == ()


@pytest.mark.parametrize(
    ("target", "precision"),
    [("onnx", "fp16"), pytest.param("openvino", "fp16", marks=pytest.mark.slow), ("pytorch", "fp16")],
)
def test_half_precision_is_proven_too(target: str, precision: str, bundles: Callable[..., Bundle]) -> None:
    assert verify(bundles(target, precision)).verdict in ("pass", "inconclusive")


def test_a_wrong_scale_in_the_graph_ends_the_export(made: Callable[[bool], Exportable], tmp_path: Path) -> None:
    model = onnx.load_from_string(made(False).make_onnx("uint8-nhwc", 18))
    (head,) = (node.input[1] for node in model.graph.node if "logits" in node.output)
    (weight,) = (item for item in model.graph.initializer if item.name == head)
    weight.CopyFrom(numpy_helper.from_array(np.float32(1.01) * numpy_helper.to_array(weight), head))
    wrong = replace(made(False), make_onnx=lambda form, opset: model.SerializeToString())
    with pytest.raises(GateError, match="small-onnx-fp32 differs from its reference: engine: logits differ"):
        list(export(wrong, ExportOptions(output=tmp_path)))


def test_damaged_weights_are_named_before_anything_is_built() -> None:
    import torch

    clip = load_clip(str(small_clip()), None)
    with torch.no_grad():
        clip.model.get_parameter("text_projection").fill_(math.nan)
    with pytest.raises(GateError, match="open_clip/small itself gives NaN or infinite embeddings of words"):
        zeroshot_classifier(clip, WORDS, TEMPLATES)


def test_a_text_that_the_model_truncates_is_named_with_the_place(made: Callable[[bool], Exportable]) -> None:
    long = "dog " * 80 + "end"
    found = zeroshot_classifier(load_clip(str(small_clip()), None), ("cat", long), Templates(("a {}",), "given"))
    (note,) = found.notes
    assert note.startswith("the text of the label 'dog dog dog dog dog  … ") and note.endswith("dog dog dog'")
    assert re.search(r"has 84 tokens, of which the model reads \d+: it is truncated after '", note)
    assert made(False).notes == ()


def test_many_truncated_texts_are_counted() -> None:
    labels = tuple(f"{number} " + "dog " * 80 for number in range(5))
    found = zeroshot_classifier(load_clip(str(small_clip()), None), labels, Templates(("{}",), "given"))
    assert len(found.notes) == 4 and found.notes[3] == "so are those of 2 more labels"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ("cat", "dog " * 80 + "left", "dog " * 80 + "right"),
            "are the same text to this model .each has 84 tokens",
        ),
        (("Cat", "dog", "cat"), "the labels 'Cat' and 'cat' are the same text to this model .it ignores case"),
        (("cat", "dog", "cat  dog", "cat dog"), "'cat  dog' and 'cat dog' are the same text to this model"),
    ],
)
def test_labels_that_are_the_same_text_to_the_model_are_refused(labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        zeroshot_classifier(load_clip(str(small_clip()), None), labels, Templates(("a {}",), "given"))


def test_labels_with_the_same_embedding_are_refused() -> None:
    import torch

    clip = load_clip(str(small_clip()), None)
    with torch.no_grad():
        clip.model.get_parameter("token_embedding.weight").zero_()
        clip.model.get_parameter("positional_embedding").normal_()
    with pytest.raises(UsageError, match="the labels 'cat' and 'dog' have the same embedding, so that no"):
        zeroshot_classifier(clip, ("cat", "dog"), Templates(("a {}",), "given"))


def test_progress_is_reported_label_by_label() -> None:
    reported = []

    class Recorder(Progress):
        def step(self, what: str, total: int | None = None, *, seconds_left: float | None = None) -> None:
            reported.append(total)

        def advance(self, parts: int = 1) -> None:
            reported.append(parts)

    many = Templates(tuple(f"{number} {{}}" for number in range(100)), "given")
    zeroshot_classifier(load_clip(str(small_clip()), None), WORDS, many, Recorder())
    assert reported == [4, 1, 1, 1, 1]


def test_words_come_as_one_text_one_by_one_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("daisy\nrose, red\n")
    assert read_words(["daisy, rose,tulip"]) == read_words(["daisy", "rose", "tulip"]) == ("daisy", "rose", "tulip")
    assert read_words([str(tmp_path / "names.txt")]) == ("daisy", "rose, red")


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ([], UsageError, "no labels"),
        (["daisy,,rose"], UsageError, "label 2 of 3 is empty"),
        (["daisy,rose,daisy"], UsageError, "'daisy' occurs more than once"),
        (["missing.txt"], DataError, r"missing.txt: No such file"),
        (["folder/missing"], DataError, r"folder/missing: No such file"),
    ],
)
def test_words_that_make_no_classes_are_refused(given: list[str], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        read_words(given)


@pytest.mark.parametrize(
    ("given", "count", "first"), [("imagenet", 80, "a bad photo of a {}."), ("simple", 7, "itap of")]
)
def test_the_sets_of_templates_are_open_clips(given: str, count: int, first: str) -> None:
    templates = read_templates(given)
    assert len(templates.sentences) == count and templates.sentences[0].startswith(first)
    assert all("{}" in sentence for sentence in templates.sentences)


def test_templates_come_from_a_file_or_as_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a photo of a {}.\n\nthe {} flower\n")
    assert read_templates(str(tmp_path / "t.txt")) == Templates(("a photo of a {}.", "the {} flower"), "t.txt")
    assert read_templates("my {} here").sentences == ("my {} here",)
    assert read_templates(None).sentences == ("a photo of a {}.",)


@pytest.mark.parametrize(
    ("text", "message"), [("", "holds no templates"), ("a {}\na photo\n", "'a photo' has no {} to put a label in")]
)
def test_templates_without_a_place_for_the_label_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_templates(str(tmp_path / "t.txt"))
    with pytest.raises(UsageError, match="no templates 'nothing'; give imagenet, simple, a sentence"):
        read_templates("nothing")


@pytest.mark.slow
def test_a_trained_small_clip_tells_classes_apart_by_their_names_alone(tmp_path: Path) -> None:
    from edgeclf.data.fetching.fetch import fetch_dataset
    from edgeclf.data.split import open_data
    from edgeclf.evaluation.report import evaluate_bundle
    from edgeclf.training.small_clip import train_small_clip

    fetch_dataset("photo-patches", tmp_path / "patches")
    data = open_data(tmp_path / "patches", 0)
    train_small_clip(data, tmp_path / "small", steps=300)
    # a sentence that was no caption
    exportable = zeroshot_classifier(
        load_clip(str(tmp_path / "small"), None), data.classes, Templates(("a small photo of the {}.",), "given")
    )
    exported = list(export(exportable, ExportOptions(("onnx", "openvino"), output=tmp_path)))
    scores = [evaluate_bundle(Bundle.open(each.path), data, "val").evaluation.top1 for each in exported]
    assert min(scores) > 0.4  # 16 classes: chance is 0.06
    assert np.ptp(scores) < 0.01
