"""A whole bench on tiny bundles: proven, evaluated on the same images, timed, and a report that reads back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from brief_bench import brief as brief
from PIL import Image

from edgeclf_benchmarks.measuring import bench, corrupted_images
from edgeclf_benchmarks.measuring.bench import measure
from edgeclf_benchmarks.measuring.cold_start import measure_cold_start
from edgeclf_benchmarks.measuring.contenders import BundleContender
from edgeclf_benchmarks.measuring.corruptions import Corruption, corrupt
from edgeclf_benchmarks.measuring.energy import Meter
from edgeclf_benchmarks.measuring.options import BenchOptions
from edgeclf_benchmarks.measuring.predictions import LabelledImages
from edgeclf_benchmarks.measuring.report import Report, read_report, report_document, write_report
from edgeclf_benchmarks.measuring.reporting.builder import report_of
from edgeclf_benchmarks.measuring.state import BenchState, line_up
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.errors import BackendError, DataError, GateError, UsageError
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage

QUICK = BenchOptions(profile="quick", rounds=2, threads=(1,), duration_s=0.1)


def labelled(folder: Path, classes: tuple[str, ...] = tiny.LABELS, *, broken: bool = False) -> LabelledImages:
    """Eight images with the classes that the bundle of seed 0 predicts, except for the first."""
    folder.mkdir()
    images = []
    for number, picture in enumerate(tiny.images()):
        path = folder / f"{number}.png"
        picture.save(path)
        if broken and number == 3:
            path.write_bytes(b"no picture")
        images.append(path)
    bundle = tiny.build(folder / "teacher", "reference")
    pixels = bundle.manifest.pixels
    assert pixels is not None
    right = [
        tiny.LABELS[int(tiny.reference_logits("reference", pixels.load(path)[0][None]).argmax())]
        if path.stat().st_size > 20
        else tiny.LABELS[0]
        for path in images
    ]
    right[0] = next(label for label in tiny.LABELS if label != right[0])
    shown = tuple(
        LabelledImage(path.parent, path.name, (label,), hash_file(path), split="test")
        for path, label in zip(images, right, strict=True)
    )
    names = [f"gone/{number}" for number in range(17)]
    trained = tuple(LabelledImage(folder, name, classes[:1], split="train") for name in names)
    data = DataSplit(root=folder, classes=classes, images=(*shown, *trained))
    return LabelledImages(data, "test", shown)


def opened_image(path: Path) -> Image.Image:
    return tiny.opened(path.read_bytes())


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> BenchState:
    """Two bundles with the same weights and one with others, on images whose classes are in another order."""
    root = tmp_path_factory.mktemp("bench")
    bundles = [tiny.build(root / name, "reference", seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    uses: list[str] = []

    def record_use(bundle: Bundle) -> int:
        uses.append(bundle.name)
        return uses.count(bundle.name)

    data = labelled(root / "views", ("sky", "leaf", "pagoda"))
    drawn = [5.0]
    meter = Meter("a rail", lambda: drawn[0], idle_s=0.0)
    drawn[0] = 7.0
    options = replace(QUICK, batch_sizes=(1, 2), meter=meter, corruptions=("noise", "contrast"), corrupted_images=5)
    return measure(bundles, options, data=replace(data, record_use=record_use))


@pytest.fixture(scope="module")
def report(measured: BenchState) -> Report:
    return report_of(measured, "edgeclf bench a b c")


def test_the_report_reads_back_as_it_was_written(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == report
    assert report.complete and report.schema == 1


def test_predictions_are_in_the_order_of_the_datas_classes_and_evaluated_correctly(report: Report) -> None:
    assert report.data is not None
    a = report.row("a")
    assert a.answers is not None and a.evaluation is not None
    right = [image.number for image in report.data.images]
    assert [found == wanted for found, wanted in zip(a.answers.numbers, right, strict=True)] == [False, *[True] * 7]
    assert a.evaluation.top1 == pytest.approx(7 / 8)
    assert a.evaluation.classes == report.data.classes
    assert a.labels == tiny.LABELS


def test_parity_is_against_the_reference_on_the_same_images(report: Report) -> None:
    a, b, c = report.rows
    assert report.reference == "a" and a.parity is None
    assert b.parity is not None and c.parity is not None
    assert (b.parity.agreement, b.parity.flips, b.parity.mean_kl) == (1.0, 0.0, 0.0)
    assert (
        b.parity.verdict == "pass" and "logits are the reference's" in b.parity.reason
    )  # which few labels could not show
    assert c.parity.agreement < 1 and c.parity.change_points < 0


def test_images_that_a_row_predicts_differently_are_in_the_report_unless_switched_off(
    measured: BenchState, report: Report
) -> None:
    assert report.data is not None
    a, c = (report.row(name).answers for name in "ac")
    assert a is not None and c is not None
    changed = {
        image.path
        for image, one, other in zip(report.data.images, a.numbers, c.numbers, strict=True)
        if (one == image.number) != (other == image.number)
    }
    assert set(report.data.thumbnails) == changed and changed
    measured.options = replace(measured.options, thumbnails=False)
    without = report_of(measured, "edgeclf bench a b c")
    measured.options = replace(measured.options, thumbnails=True)
    assert without.data is not None and without.data.thumbnails == {}


def test_each_row_was_proven_timed_and_started_cold(report: Report) -> None:
    for row in report.rows:
        assert row.proof is not None and row.proof.verdict == "pass"
        assert row.cold_start is not None and row.cold_start.total_ms == pytest.approx(
            sum(row.cold_start.samples_ms[0])
        )
        assert row.peak_memory_mib is not None and row.peak_memory_mib > 5
        for stage in ("preprocess", "infer", "end_to_end"):
            found = row.latency(stage, 1, 1)
            assert found is not None and len(found.rounds_ms) == 2
            assert found.samples == sum(map(len, found.rounds_ms)) == sum(map(len, found.started_s))
        assert row.latency("infer", 2, 1) is not None and row.latency("end_to_end", 2, 1) is None
        assert {each.name for each in row.scenarios} == {"single-stream", "offline"}
        assert row.engine["engine"] == "numpy"
        assert row.bundle_bytes is not None and row.model_bytes is not None and row.model_bytes < row.bundle_bytes


def test_the_reference_runs_against_itself_and_the_others_against_it(report: Report) -> None:
    where = {(each.stage, each.batch) for each in report.same_against_same}
    assert where == {("infer", 1), ("end_to_end", 1), ("preprocess", 1), ("infer", 2)}
    assert {(each.row, each.base) for each in report.comparisons} == {("b", "a"), ("c", "a")}
    assert all(each.floor >= 1 and len(each.round_ratios) == 2 for each in report.same_against_same)
    assert all(row.name in "abc" for row in report.rows)


def test_power_is_measured_by_the_boards_meter(report: Report) -> None:
    for row in report.rows:
        assert row.power is not None
        assert (row.power.source, row.power.idle_w, row.power.mean_w) == ("a rail", 5.0, 2.0)
        offline = next(each for each in row.scenarios if each.name == "offline")
        assert row.power.mj_per_image == pytest.approx(2000 * offline.seconds / offline.images)


def test_all_bundles_get_the_same_corrupted_images_and_predict_them_as_the_runtime_does(
    report: Report, measured: BenchState
) -> None:
    a, b, c = (row.robustness for row in report.rows)
    assert a is not None and b is not None and c is not None and measured.corrupted is not None
    assert [(each.name, each.level) for each in a.entries] == [
        (name, level) for name in ("noise", "contrast") for level in (1, 2, 3)
    ]
    assert (a.images, len(measured.corrupted.places), a.verdict) == (5, 5, None)
    assert (b.mean_change_points, {each.agreement for each in b.entries}) == (0.0, {1.0})
    assert min(each.agreement or 0.0 for each in c.entries) < 1
    pixels = measured.parts[2].bundle.manifest.pixels
    assert pixels is not None
    for place, found in zip(measured.corrupted.places, measured.corrupted.of("c")[4], strict=True):
        image = measured.images[place]
        corrupted = corrupt(opened_image(image.path), Corruption("contrast", 2), image.sha256)
        logits = tiny.reference_logits("reference", pixels.apply(corrupted)[None], seed=1)
        assert ("sky", "leaf", "pagoda")[found] == tiny.LABELS[int(logits.argmax())]


def test_a_use_of_the_test_split_is_recorded_once_per_bundle(report: Report) -> None:
    assert [row.test_look for row in report.rows] == [1, 1, 1]


@pytest.mark.usefixtures("brief")
def test_without_data_latency_alone_is_measured_and_the_report_says_so(tmp_path: Path) -> None:
    report = report_of(measure([tiny.build(tmp_path / "a")], QUICK), "")
    (row,) = report.rows
    assert report.data is None
    assert (row.evaluation, row.answers, row.parity) == (None, None, None)
    assert row.latency("infer", 1, 1) is not None
    assert any(each.about == "data" and "latency alone" in each.found for each in report.cautions)


@pytest.mark.usefixtures("brief")
def test_an_image_that_can_not_be_read_is_named_and_counts_for_no_row(tmp_path: Path) -> None:
    data = labelled(tmp_path / "views", broken=True)
    report = report_of(measure([tiny.build(tmp_path / "a")], QUICK, data=data), "")
    assert report.data is not None
    assert list(report.data.unreadable) == ["3.png"] and len(report.data.images) == 7
    assert any(each.about == "unreadable" for each in report.cautions)


def test_an_image_that_changed_since_the_split_is_refused(tmp_path: Path) -> None:
    data = labelled(tmp_path / "views")
    tiny.images()[5].save(data.images[2].path)
    with pytest.raises(DataError, match=r"2\.png: changed since its SHA-256"):
        measure([tiny.build(tmp_path / "a")], QUICK, data=data)


def test_bundles_of_other_classes_than_the_data_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    bundle = tiny.build(tmp_path / "a", labels=("leaf", "<script>", "sky"))
    with pytest.raises(DataError, match="not the same") as caught:
        measure([bundle], QUICK, data=labelled(tmp_path / "views"))
    assert "<script>" in str(caught.value) and "pagoda" in str(caught.value)
    assert not bundle.sidecar.exists()


@pytest.mark.usefixtures("brief")
def test_a_bundle_that_fails_its_proof_is_not_timed_and_a_reference_that_does_ends_it(tmp_path: Path) -> None:
    good = tiny.build(tmp_path / "good")
    tiny.build(tmp_path / "bad")
    bad = tiny.replace_weights(tmp_path / "bad", seed=1)
    report = report_of(measure([good, bad], QUICK), "")
    row = report.row("bad")
    assert row.proof is not None and row.proof.verdict == "fail"
    assert (row.latencies, row.scenarios, row.cold_start) == ((), (), None)
    assert any(each.about == "proof" and each.row == "bad" for each in report.cautions)
    with pytest.raises(GateError, match="bad, the reference, fails its proof"):
        measure([good, bad], QUICK, reference=bad)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("phase", ["verify", "predict", "measure_cold_start", "measure_rounds", "run_scenario"])
def test_an_interruption_leaves_a_report_that_says_so(
    phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, phase, stop)
    state = measure([tiny.build(tmp_path / "a")], QUICK, data=labelled(tmp_path / "views"))
    report = report_of(state, "")
    write_report(report, tmp_path / "report.json")
    assert not read_report(tmp_path / "report.json").complete
    assert state.stopped is not None
    assert any(each.about == "interrupted" for each in report.cautions)


@pytest.mark.usefixtures("brief")
def test_an_interruption_between_corrupted_images_keeps_those_that_all_rows_have_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corrupted_images, "_IMAGES", 2)
    called: list[str] = []
    predicted = corrupted_images._outputs

    def until_the_second_block(contender: BundleContender, *arguments: Any) -> Any:
        called.append(contender.name)
        if len(called) == 4:
            raise KeyboardInterrupt
        return predicted(contender, *arguments)

    monkeypatch.setattr(corrupted_images, "_outputs", until_the_second_block)
    bundles = [tiny.build(tmp_path / name) for name in "ab"]
    state = measure(bundles, replace(QUICK, corruptions=("blur",)), data=labelled(tmp_path / "views"))
    report = report_of(state, "")
    assert not report.complete
    assert [row.robustness.images if row.robustness else None for row in report.rows] == [2, 2]


def test_corrupted_images_need_labelled_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--corruptions.*--data"):
        measure([tiny.build(tmp_path / "a")], replace(QUICK, corruptions=("blur",)))


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("what", ["encoder", "several labels"])
def test_bundles_of_different_tasks_are_refused_in_one_sentence(what: str, tmp_path: Path) -> None:
    one, other = tiny.build(tmp_path / "one"), tiny.build(tmp_path / "other")
    several = {"scores": "sigmoid", "multi_label": True, "thresholds": Thresholds(per_class=(0.5, 0.5, 0.5))}
    changes: dict[str, Any] = several if what == "several labels" else {"task": "embed-image"}
    other = tiny.reseal(tmp_path / "other", **changes)
    with pytest.raises(UsageError, match=r"bench them apart") as refusal:
        measure([one, other], QUICK)
    assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("brief")
def test_image_encoders_are_proven_by_their_embeddings_and_timed_without_accuracy(tmp_path: Path) -> None:
    bundles = [tiny.build(tmp_path / name, task="embed-image", labels=()) for name in "ab"]
    state = measure(bundles, QUICK)
    report = report_of(state, "")
    assert report.complete and report.data is None
    for row in report.rows:
        assert row.proof is not None and row.proof.verdict == "pass" and row.labels == ()
        assert row.latency("end_to_end", 1, 1) is not None and row.cold_start is not None
        assert row.answers is row.evaluation is row.parity is None


def test_encoders_are_not_benched_on_labelled_images(tmp_path: Path) -> None:
    encoder = tiny.build(tmp_path / "encoder", task="embed-image", labels=())
    with pytest.raises(UsageError, match="without --data"):
        measure([encoder], QUICK, data=labelled(tmp_path / "views"))


@pytest.mark.usefixtures("brief")
def test_the_same_bundle_twice_makes_two_rows(tmp_path: Path) -> None:
    bundle = tiny.build(tmp_path / "a")
    report = report_of(measure([bundle, bundle], QUICK), "")
    assert [row.name for row in report.rows] == ["a", "a (2)"]


@pytest.mark.usefixtures("brief")
def test_a_graph_of_a_fixed_batch_size_is_timed_in_chunks_of_it(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    bundle = tiny.build(tmp_path / "a", "onnx", batch=1)
    report = report_of(measure([bundle], replace(QUICK, batch_sizes=(3,))), "")
    assert report.rows[0].latency("infer", 3, 1) is not None


@pytest.mark.usefixtures("brief")
def test_the_plain_loop_predicts_as_its_pytorch_bundle_does_and_only_at_batch_1(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    bundle = tiny.build(tmp_path / "a", "pytorch")
    report = report_of(measure([bundle], replace(QUICK, batch_sizes=(1, 2)), data=labelled(tmp_path / "views")), "")
    row = report.row("plain loop")
    assert row.kind == "plain-loop" and row.parity is not None
    assert row.parity.agreement == 1.0 and (row.parity.mean_kl or 0) < 1e-5
    assert row.latency("end_to_end", 1, 1) is not None and row.latency("infer", 2, 1) is None
    assert row.robustness is None
    parts, _ = line_up([bundle], None, replace(QUICK, plain_loop=False))
    assert [part.name for part in parts] == ["a"]


def test_the_plain_loop_prepares_pixels_as_the_bundle_does(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from edgeclf_benchmarks.measuring.plain_loop import transform_of

    bundle = tiny.build(tmp_path / "a", "pytorch")
    pixels, normalization = bundle.manifest.pixels, bundle.manifest.normalization
    assert pixels is not None and normalization is not None
    for picture in tiny.images():
        wanted = (pixels.apply(picture) / 255 - np.array(normalization.mean)) / np.array(normalization.std)
        assert np.allclose(transform_of(bundle)(picture).numpy().transpose(1, 2, 0), wanted, atol=1e-5)


def test_a_fresh_process_that_fails_is_a_fault_of_the_backend(tmp_path: Path) -> None:
    bundle = tiny.build(tmp_path / "a")
    (tmp_path / "a" / "model.npz").write_bytes(b"x" * (tmp_path / "a" / "model.npz").stat().st_size)
    with pytest.raises(BackendError, match="changed since the export"):
        measure_cold_start(bundle, QUICK.first, 1)


def test_the_mlperf_profile_runs_all_scenarios_and_lists_what_they_lack(tmp_path: Path) -> None:
    from edgeclf_benchmarks.measuring.contenders import BundleContender
    from edgeclf_benchmarks.measuring.scenarios import RULES, run_scenario

    contender = BundleContender("a", tiny.build(tmp_path / "a"))
    files = [tiny.encoded(picture) for picture in tiny.images()]
    found = [run_scenario(contender, each, files, QUICK.first, seconds=0.0, whole=True) for each in RULES.values()]
    assert [each.name for each in found] == ["single-stream", "multi-stream", "offline"]
    assert [(each.queries, each.images) for each in found] == [(64, 64), (662, 5296), (1536, 24_576)]
    assert [each.latency_ms is None for each in found] == [False, False, True]
    assert all(not each.by_the_rules and each.note.endswith(" of 600 s") for each in found)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"batch_sizes": (0,)}, "batch sizes"),
        ({"threads": (100_000,)}, "threads must be"),
        ({"rounds": 1}, "two rounds"),
        ({"margin_points": 0.0}, "margin"),
        ({"corrupted_images": 1, "corruptions": ("blur",)}, "two corrupted images"),
        ({"corrupted_images": 5}, "give --corruptions, too"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes: dict[str, Any], wanted: str) -> None:
    with pytest.raises(UsageError, match=wanted):
        BenchOptions(**changes)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("{", "not JSON"),
        ("[]", "no bench report"),
        ('{"schema": 1, "kind": "evaluation"}', "no bench report"),
        ('{"schema": 2, "kind": "bench"}', "update edgeclf"),
        ('{"schema": 1, "kind": "bench"}', "missing"),
    ],
)
def test_a_file_that_is_no_report_is_refused_in_one_sentence(content: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(DataError, match=wanted):
        read_report(tmp_path / "report.json")


def test_a_report_with_a_call_that_took_no_time_is_refused(report: Report, tmp_path: Path) -> None:
    content = report_document(report)
    content["rows"][0]["latencies"][0]["rounds_ms"][0][0] = 0.0
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="took no time"):
        read_report(tmp_path / "report.json")


def test_a_report_with_more_predictions_than_images_is_refused(report: Report, tmp_path: Path) -> None:
    content = report_document(report)
    content["data"]["images"].pop()
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="8 predictions of 'a' for 7 images"):
        read_report(tmp_path / "report.json")
