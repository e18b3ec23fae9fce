"""`edgeclf eval`: the same figures for every bundle, labels matched by name, test images counted, plots drawn."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from edgeclf.cli import run
from edgeclf.data.split import open_data
from edgeclf.data.usable import Unreadable
from edgeclf.evaluation.evaluation_report import Subject
from edgeclf.evaluation.inference import Predictions, match_labels, predict_with_bundle
from edgeclf.evaluation.operating_point import with_operating_point
from edgeclf.evaluation.plots import draw_plots
from edgeclf.evaluation.report import evaluate_bundle, evaluate_predictions, write_evaluation_report
from edgeclf.evaluation.test_set_usage import LEDGER
from edgeclf.evaluation.thresholds import Wanted
from edgeclf.verbs.shared.evaluation_tables import show_evaluation
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Candidate, Thresholds
from edgeclf_runtime.bundle.own_outputs import record_own_outputs
from edgeclf_runtime.deploy.candidates import FOLDER, as_bundle, with_candidate
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import DataError, GateError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.metrics.temperature_fit import TemperatureFit

LABELS = ("leaf", "pagoda", "sky")


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> DataSplit:
    """Images for the tiny reference bundle, sorted into its classes at random; one class is named oddly."""
    root = tmp_path_factory.mktemp("views") / "views"
    for number, image in enumerate(tiny.images(30)):
        folder = root / LABELS[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number}.png")
    return open_data(root)


@pytest.fixture
def linear(tmp_path: Path) -> Bundle:
    return tiny.build(tmp_path / "linear")


def test_figures_are_those_of_the_bundles_own_predictions(linear: Bundle, views: DataSplit) -> None:
    report = evaluate_bundle(linear, views, "all")
    assert linear.manifest.pixels is not None
    pixels = np.stack([linear.manifest.pixels.load(item.path)[0] for item in views.images])
    logits = tiny.reference_logits("reference", pixels)
    right = logits.argmax(axis=1) == [LABELS.index(item.label) for item in views.images]
    assert report.evaluation.top1 == pytest.approx(right.mean())
    assert report.evaluation.ece is not None
    assert report.other_data is False


def test_figures_are_shown_with_and_without_the_temperature(tmp_path: Path, views: DataSplit) -> None:
    plain = evaluate_bundle(tiny.build(tmp_path / "plain"), views, "all").evaluation
    hotter = evaluate_bundle(tiny.build(tmp_path / "hotter", temperature=2.0), views, "all").evaluation
    assert plain.nll_untempered is None and plain.ece_untempered is None
    assert hotter.nll_untempered == pytest.approx(plain.nll) and hotter.ece_untempered == pytest.approx(plain.ece)
    assert hotter.nll != pytest.approx(plain.nll)


def test_a_class_of_few_images_is_shown_with_what_they_leave_open(
    linear: Bundle, views: DataSplit, capsys: pytest.CaptureFixture[str]
) -> None:
    show_evaluation(evaluate_bundle(linear, views, "test"))
    assert capsys.readouterr().out.count("few: recall") == 3


def test_another_order_of_labels_is_matched_by_name(tmp_path: Path, linear: Bundle, views: DataSplit) -> None:
    turned = tiny.build(tmp_path / "turned", labels=LABELS[::-1])
    wanted = evaluate_bundle(linear, views, "all").evaluation.confusion
    found = evaluate_bundle(turned, replace(views, classes=LABELS[::-1]), "all").evaluation
    assert found.classes == LABELS[::-1]
    rows = np.array(found.confusion).sum(axis=1)[::-1]
    assert rows.tolist() == np.array(wanted).sum(axis=1).tolist()


def test_different_labels_are_refused_with_the_difference_before_test_images_are_counted(
    tmp_path: Path, views: DataSplit
) -> None:
    other = tiny.build(tmp_path / "other", labels=("leaf", "temple", "sky"))
    with pytest.raises(DataError, match=r"only in the bundle other: 'temple'; only in the data .*'pagoda'"):
        evaluate_bundle(other, views)
    assert not other.sidecar.exists()


def test_missing_and_extra_labels_are_listed_separately() -> None:
    with pytest.raises(DataError, match=r"3 classes in the bundle, 2 in the data.*only in the bundle b: 'z'\. "):
        match_labels(["x", "y", "z"], ["y", "x"], "b", "d")
    match_labels(["x", "y"], ["y", "x"], "b", "d")


def test_each_use_of_test_images_is_counted_and_val_is_not(linear: Bundle, views: DataSplit) -> None:
    assert evaluate_bundle(linear, views, "val").test_use is None
    assert not (linear.sidecar / LEDGER).exists()
    uses = [evaluate_bundle(linear, views, split).test_use for split in ("test", "all", "test")]
    assert [use.number for use in uses if use] == [1, 2, 3]
    assert [use.images for use in uses if use] == [len(views.of("test"))] * 3


def test_the_ledger_is_no_proof(linear: Bundle, views: DataSplit) -> None:
    from edgeclf_runtime.deploy.machine_proofs import find_proofs

    before = find_proofs(linear)
    evaluate_bundle(linear, views)
    assert find_proofs(linear) == before


def test_unknown_and_empty_splits_are_refused(linear: Bundle, views: DataSplit) -> None:
    with pytest.raises(UsageError, match="choose one of train, val, test, all"):
        evaluate_bundle(linear, views, "tset")
    training = replace(views, images=tuple(replace(item, split="train") for item in views.images))
    with pytest.raises(UsageError, match=r"no test images \(it has train 30\)"):
        evaluate_bundle(linear, training)


def test_data_of_another_split_than_that_of_training_is_reported(bundle: Bundle, photos: Path) -> None:
    assert not evaluate_bundle(bundle, open_data(photos), "val").other_data
    assert evaluate_bundle(bundle, open_data(photos, seed=5), "val").other_data


def test_a_bundles_thresholds_show_in_the_share_of_known_images(tmp_path: Path, views: DataSplit) -> None:
    strict = tiny.build(tmp_path / "strict", thresholds=Thresholds(unknown_below=0.999))
    loose = tiny.build(tmp_path / "loose", thresholds=Thresholds(per_class=(0.0, 0.0, 0.0)))
    few, everything = evaluate_bundle(strict, views, "all"), evaluate_bundle(loose, views, "all")
    assert few.answered is not None and everything.answered is not None
    assert few.answered < everything.answered == 1.0
    assert everything.right_of_answered == everything.evaluation.top1


def test_worst_errors_are_wrong_and_the_surest_come_first(linear: Bundle, views: DataSplit) -> None:
    worst = evaluate_bundle(linear, views, "all").worst
    assert worst
    assert all(mistake.label != mistake.answer for mistake in worst)
    assert [m.confidence for m in worst] == sorted((m.confidence for m in worst), reverse=True)


@pytest.mark.usefixtures("without_plots")
def test_an_unreadable_image_is_reported_and_the_others_are_evaluated(
    linear: Bundle, views: DataSplit, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(views.root, tmp_path / "views"))
    (root / "sky" / "2.png").write_bytes(b"not an image")
    code = run(["eval", str(linear.path), str(root), "--split", "all", "-o", str(tmp_path / "report")])
    shown = capfd.readouterr()
    assert code == DataError.exit_code
    assert "sky/2.png: not an image" in shown.err
    assert "1 of 30 images could not be read" in shown.err
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (report["evaluation"]["images"], len(report["unreadable"])) == (29, 1)


def test_where_no_image_can_be_read_there_is_no_report(views: DataSplit) -> None:
    found = Predictions(np.empty((0, 3), np.float32), (), (Unreadable("a.png", "damaged"),))
    subject = Subject("run", "r", "0", "pytorch", "fp32", LABELS)
    with pytest.raises(DataError, match=r"none of the 1 images could be read, the first: a\.png: damaged"):
        evaluate_predictions(found, subject, views, "val")


def test_groups_of_the_data_widen_the_intervals(linear: Bundle, views: DataSplit) -> None:
    items = tuple(replace(item, group=str(number % 4)) for number, item in enumerate(views.images))
    report = evaluate_bundle(linear, replace(views, images=items), "all")
    assert report.evaluation.groups == 4
    assert report.evaluation.macro_f1_interval is not None
    assert "4 groups" in report.evaluation.macro_f1_interval.method


def test_the_report_and_every_plot_are_written_whole_and_odd_class_names_are_inert(
    tmp_path: Path, views: DataSplit
) -> None:
    labels = "$x^{$", "\x1b[31m猫 سماء", "<b>&" + "a" * 300
    renamed = dict(zip(LABELS, labels, strict=True))
    items = tuple(replace(item, labels=(renamed[item.label],)) for item in views.images)
    data = replace(views, classes=labels, images=items)
    report = evaluate_bundle(tiny.build(tmp_path / "odd", labels=labels), data, "all")
    written = write_evaluation_report(report, data, tmp_path / "report")
    assert [path.name for path in written] == [
        "report.html",
        "report.json",
        "confusion.png",
        "curves.png",
        "reliability.png",
        "errors.png",
    ]
    page = written[0].read_text()
    assert page.count("data:image/png;base64,") == page.count("scroll →</span><img") == 4
    assert "default-src 'none'" in page and "<script" not in page
    assert "\x1b" not in page and "<b>&" not in page
    document = json.loads(written[1].read_text())
    assert (document["schema"], document["kind"]) == (1, "evaluation")
    for path in written[2:]:
        with Image.open(path) as plot:
            assert min(plot.size) > 300
            assert len(set(plot.convert("L").resize((64, 64)).tobytes())) > 8
    with pytest.raises(UsageError, match="exists"):
        write_evaluation_report(report, data, tmp_path / "report")


def test_only_plots_that_apply_are_drawn(linear: Bundle, views: DataSplit, tmp_path: Path) -> None:
    report = evaluate_bundle(linear, views, "all")
    margins = replace(report, curves=(), evaluation=replace(report.evaluation, reliability=()), worst=())
    assert draw_plots(margins, views, tmp_path) == ["confusion.png"]


@pytest.mark.usefixtures("without_plots")
def test_the_page_shows_what_temperature_and_figures_of_small_classes_rest_on(
    linear: Bundle, views: DataSplit, tmp_path: Path
) -> None:
    fit = TemperatureFit(0.617, 54, 3, 0.292, 0.232)
    report = evaluate_bundle(linear, views, "all")
    report = replace(
        report,
        subject=replace(report.subject, temperature=0.617, temperature_fit=fit),
        evaluation=replace(
            report.evaluation,
            nll_untempered=0.2414,
            per_class=tuple(replace(each, support=2, recall=1.0) for each in report.evaluation.per_class),
        ),
    )
    page = write_evaluation_report(report, views, tmp_path / "report")[0].read_text()
    assert "0.241 without the temperature of 0.617" in page
    assert page.count("few: recall 0.34 to 1.00") == 3
    assert "3 of them predicted wrongly" in page and "warning: only 3 of 54 images are wrong" in page


@pytest.mark.usefixtures("without_plots")
def test_eval_prints_a_table_counts_the_use_and_names_the_next_command(
    bundle: Bundle, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["eval", str(bundle.path), str(photos)]) == 0
    shown = capfd.readouterr()
    for word in ("top-1", "macro AUC", "petals", "5 classes or fewer", "margins are no probabilities"):
        assert word in shown.out
    assert "18 test images, use no. 1" in shown.err
    assert (tmp_path / "evals" / "photos-hog-test" / "report.json").exists()
    assert run(["eval", str(bundle.path), str(photos)]) == UsageError.exit_code
    assert "evals/photos-hog-test exists; give --force" in capfd.readouterr().err


@pytest.mark.usefixtures("without_plots")
def test_eval_prints_json(bundle: Bundle, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", str(bundle.path), str(photos), "--split", "val", "-o", str(tmp_path / "r"), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["schema"], document["verb"]) == (1, "eval")
    assert document["report"] == json.loads((tmp_path / "r" / "report.json").read_text())


def test_baseline_prints_figures_and_json(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["baseline", str(photos), "-o", str(tmp_path), "--folds", "2"]) == 0
    shown = capfd.readouterr()
    assert "cross-validation" in shown.out and "±" in shown.out
    assert "use no. 1 of" in shown.err
    again = ["baseline", str(photos), "-o", str(tmp_path), "--folds", "0", "--force", "--json"]
    assert run(again) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["baseline"]["test_use"]["number"] == 2
    assert document["baseline"]["proof"]["verdict"] == "pass"


@pytest.mark.usefixtures("without_plots")
def test_an_operating_point_makes_a_new_bundle_that_predict_honours(
    bundle: Bundle, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = bundle.digest
    assert run(["eval", "photos-hog", str(photos), "--operating-point", "recall=0.5", "--json"]) == 0
    shown = capfd.readouterr()
    assert "thresholds for recall=0.5 on" in shown.err and "stored in photos-hog-recall0.5" in shown.err
    report = json.loads(shown.out)["report"]
    made = Bundle.open("photos-hog-recall0.5")
    assert made.manifest.derived_from == before == Bundle.open("photos-hog").digest
    assert made.manifest.thresholds.unknown_below is not None
    assert report["subject"]["name"] == made.name and report["subject"]["digest"] == made.digest
    assert run(["verify", str(made.path), "--json"]) == 0
    capfd.readouterr()
    answered = report["answered"]
    assert answered is not None and 0.2 < answered < 1
    assert run(["predict", str(made.path), str(photos), "--json"]) == 0
    labels = [each["label"] for each in json.loads(capfd.readouterr().out)["predictions"]]
    assert "unknown" in labels and set(labels) > {"unknown"}


def test_candidates_of_a_bundle_with_an_operating_point_still_verify(bundle: Bundle, data: DataSplit) -> None:
    """`build` chooses among them on the device, and leaves out what fails."""
    manifest = bundle.manifest
    place = bundle.path / FOLDER / "other"
    place.mkdir(parents=True)
    shutil.copyfile(bundle.path / "model.npz", place / "model.npz")
    reference = bundle.read_array(manifest.golden.outputs)
    candidate = Candidate("other", "other", "fp32", "fp32", manifest.tolerances, 1.0, None, None)
    own = record_own_outputs(place, with_candidate(manifest, candidate), reference, {}, "fp32")
    sealed = tiny.reseal(bundle.path, candidates=(replace(candidate, own=own),))
    made, point = with_operating_point(sealed, data, Wanted("recall", 0.5))
    assert point.thresholds.unknown_below is not None
    (kept,) = made.manifest.candidates
    assert verify(as_bundle(made, kept)).verdict == verify(made).verdict == "pass"


def test_an_operating_point_that_nothing_reaches_fails_as_a_gate_and_leaves_no_bundle(
    bundle: Bundle, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeclf.evaluation import operating_point

    def worst_first(*arguments: object, **options: object) -> Predictions:
        found = predict_with_bundle(*arguments, **options)  # type: ignore[arg-type]
        return replace(found, logits=-found.logits)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(operating_point, "predict_with_bundle", worst_first)
    assert run(["eval", "photos-hog", str(photos), "--operating-point", "precision=1"]) == GateError.exit_code
    assert "no threshold reaches precision=1 on 18 validation images" in capfd.readouterr().err
    assert not list(tmp_path.glob("photos-hog-*"))


def test_an_image_that_changed_since_the_split_counts_for_nothing(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(photos, tmp_path / "changed"))
    data = open_data(folder)
    first, second = (item.path for item in data.of("test")[:2])
    shutil.copyfile(second, first)
    report = evaluate_bundle(bundle, data, "test")
    assert [(each.path, each.error) for each in report.unreadable] == [
        (
            data.of("test")[0].name,
            "changed since its SHA-256 was taken; bring the old file back, or split anew",
        )
    ]
    assert report.evaluation.images == len(data.of("test")) - 1
