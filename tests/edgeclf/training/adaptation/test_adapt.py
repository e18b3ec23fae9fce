"""Adaptation without labels: it improves features, ends where they collapse, and its weights record their images."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from warm_process import start_edgeclf

from edgeclf.cli import run as cli_run
from edgeclf.data.split import open_data
from edgeclf.data.split_file import save_split
from edgeclf.training.adaptation.adapt import adapt, resume
from edgeclf.training.adaptation.folder import Adaptation, AdaptConfig
from edgeclf.training.adaptation.unlabelled import Unlabelled, read_unlabelled
from edgeclf.training.adaptation.vicreg import measure_spread, vicreg_terms
from edgeclf.training.adaptation.views import TwoViews
from edgeclf.training.config import TrainConfig
from edgeclf.training.train import train
from edgeclf_export.sources.adapted import HEADER_KEY, read_adapted
from edgeclf_export.sources.backbones import load_backbone
from edgeclf_export.sources.weights import read_state
from edgeclf_runtime.errors import BackendError, DataError, GateError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.pixels import Pixels

Make = Callable[..., TrainConfig]
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
MakeConfig = Callable[..., AdaptConfig]
SHUFFLENET = pytest.param("torchvision/shufflenet_v2_x0_5", marks=pytest.mark.slow)


@pytest.fixture
def make_config() -> MakeConfig:
    """A short adaptation of timm's test network, with whatever a test changes."""

    def make(**changes: Any) -> AdaptConfig:
        quick: dict[str, Any] = {"model": "test_resnet", "weights": "random", "img_size": 32, "epochs": 2}
        return AdaptConfig(**{**quick, "batch_size": 8, "embedding": 32, "workers": 0, "device": "cpu", **changes})

    return make


@pytest.fixture
def unlabelled(discs: Path) -> Unlabelled:
    return read_unlabelled(discs)


def test_the_terms_are_those_of_the_paper_written_out_by_hand() -> None:
    """With loops over images and dimensions, after the paper's formulas and the constants of the authors' code."""
    random = np.random.default_rng(0)
    one, other = random.normal(size=(6, 4)), 0.5 * random.normal(size=(6, 4)) + 1
    invariance = sum((one[n, d] - other[n, d]) ** 2 for n in range(6) for d in range(4)) / 24
    variance = covariance = 0.0
    for z in (one, other):
        for i in range(4):
            variance += max(0.0, 1 - np.sqrt(z[:, i].var(ddof=1) + 1e-4)) / 4 / 2
            for j in range(4):
                if i != j:
                    pairs = (z[:, i] - z[:, i].mean()) * (z[:, j] - z[:, j].mean())
                    covariance += (pairs.sum() / 5) ** 2 / 4
    terms = vicreg_terms(torch.from_numpy(one), torch.from_numpy(other))
    found = [float(each) for each in (terms.invariance, terms.variance, terms.covariance)]
    assert found == pytest.approx([invariance, variance, covariance], rel=1e-5)
    assert float(terms.loss()) == pytest.approx(25 * invariance + 25 * variance + covariance, rel=1e-5)


def test_spread_knows_no_dimension_one_and_all_of_them() -> None:
    random = torch.Generator().manual_seed(0)
    free = torch.randn(512, 8, generator=random)
    assert measure_spread(free).rank > 7 and not measure_spread(free).collapsed
    line = free[:, :1].expand(-1, 8)
    assert measure_spread(line).rank < 1.1 and measure_spread(line).collapsed
    assert measure_spread(torch.ones(64, 8)).collapsed and measure_spread(free * 0.01).collapsed
    assert measure_spread(torch.full((4, 8), torch.nan)).collapsed


def test_views_follow_from_seed_epoch_and_index_and_differ_from_each_other(discs: Path) -> None:
    with Image.open(discs / "red" / "0.png") as image:
        image.load()
        pixels = Pixels("shorter", (32, 32), (32, 32), "bicubic")
        views = TwoViews(pixels, seed=0)
        torch.manual_seed(1)
        found = views(image, 3, 5)
        torch.manual_seed(2)
        assert found.shape == (2, 32, 32, 3) and found.dtype == np.uint8
        assert np.array_equal(found, views(image, 3, 5)) and not np.array_equal(found[0], found[1])
        assert not np.array_equal(found, views(image, 4, 5)) and not np.array_equal(found, views(image, 3, 6))
        large = TwoViews(Pixels("shorter", (64, 64), (64, 64), "bilinear"), seed=0, vflip=True)(image, 0, 0)
        assert large.shape == (2, 64, 64, 3)


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", SHUFFLENET])
def test_an_adaptation_changes_the_backbone_and_leaves_weights_that_train_takes(
    model: str, make_config: MakeConfig, config: Make, unlabelled: Unlabelled, data: DataSplit, tmp_path: Path
) -> None:
    from edgeclf_export.sources.trained import load_for_training

    made = adapt(make_config(model=model), unlabelled, tmp_path / "adapted")
    _, random = load_for_training(model, "random", labels=data.classes, img_size=32, seed=0)
    before, after = random.state_dict(), read_state(made.weights)
    heads = set(before) - set(after)
    assert heads and all(name.partition(".")[0] in ("fc", "head") for name in heads) and not set(after) - set(before)
    assert any(not torch.equal(before[name], after[name]) for name in after if name.endswith("weight"))
    history = made.history()
    assert [line["epoch"] for line in history] == [1, 2] and all(
        np.isfinite([line[name] for name in ("loss", "invariance", "variance", "covariance", "embedding_std")]).all()
        for line in history
    )
    chosen = config(model=model, weights=str(made.path), strategy="linear-probe")
    trained = train(chosen, data, tmp_path / "run")
    kept = trained.weights()
    assert all(torch.equal(kept[name], tensor) for name, tensor in after.items())
    origin = trained.architecture().weights
    assert origin.startswith("file:model.safetensors sha256:")
    assert f"adapted to 36 unlabelled images of {unlabelled.data.name}, from random" in origin


def test_one_seed_gives_the_same_weights_another_gives_others(
    make_config: MakeConfig, unlabelled: Unlabelled, tmp_path: Path
) -> None:
    states = [
        read_state(adapt(make_config(seed=seed, epochs=1), unlabelled, tmp_path / name).weights)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_an_interrupted_adaptation_goes_on_bit_for_bit(
    make_config: MakeConfig, unlabelled: Unlabelled, recorder: Any, tmp_path: Path
) -> None:
    whole = adapt(make_config(), unlabelled, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        adapt(make_config(), unlabelled, tmp_path / "parts", recorder(stop_after=1))
    assert not Adaptation(tmp_path / "parts").finished and not (tmp_path / "parts" / "model.safetensors").exists()
    parts = resume(tmp_path / "parts")
    wanted, found = read_state(whole.weights), read_state(parts.weights)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    with pytest.raises(UsageError, match="has ended"):
        resume(tmp_path / "parts")
    with pytest.raises(UsageError, match="holds an adaptation"):
        adapt(make_config(), unlabelled, tmp_path / "parts")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> DataSplit:
    """Four shapes of any colour, size and place on noise: features of random weights hardly separate them."""
    folder = tmp_path_factory.mktemp("shapes")
    random = np.random.default_rng(0)
    for label in ("cross", "disc", "ring", "square"):
        (folder / label).mkdir()
        for number in range(60):
            image = Image.fromarray(random.integers(0, 120, (40, 40, 3), dtype=np.uint8))
            pen, colour = ImageDraw.Draw(image), tuple(int(value) for value in random.integers(100, 255, 3))
            side = int(random.integers(12, 26))
            x, y = (int(value) for value in random.integers(2, 38 - side, 2))
            box = (x, y, x + side, y + side)
            if label == "disc":
                pen.ellipse(box, fill=colour)
            elif label == "ring":
                pen.ellipse(box, outline=colour, width=4)
            elif label == "square":
                pen.rectangle(box, fill=colour)
            else:
                pen.line(box, fill=colour, width=5)
                pen.line((x, y + side, x + side, y), fill=colour, width=5)
            image.save(folder / label / f"{number}.png")
    return open_data(folder, seed=0, fractions=(0.4, 0.4, 0.2))


def probe(weights: str, config: Make, data: DataSplit, path: Path) -> float:
    run = train(config(strategy="linear-probe", weights=weights, epochs=20, lr=0.01, drop=0.0), data, path)
    return run.outcome().scores["val_top1"]


@pytest.mark.check
def test_a_probe_of_adapted_weights_beats_one_of_random_weights(
    make_config: MakeConfig, config: Make, shapes: DataSplit, tmp_path: Path
) -> None:
    chosen = make_config(epochs=5, batch_size=16, embedding=64)
    save_split(shapes, tmp_path / "split.json")
    made = adapt(chosen, read_unlabelled(tmp_path / "split.json"), tmp_path / "adapted")
    random = probe("random", config, shapes, tmp_path / "random")
    adapted = probe(str(made.weights), config, shapes, tmp_path / "probe")
    assert adapted > random + 0.1, (random, adapted)


def test_a_collapse_is_warned_of_and_leaves_no_weights(
    make_config: MakeConfig, unlabelled: Unlabelled, recorder: Any, tmp_path: Path
) -> None:
    watcher = recorder()
    alone = make_config(epochs=12, variance=0.0, covariance=0.0, lr=3e-3)  # nothing holds the images apart
    with pytest.raises(GateError, match=r"collapsed.*no weights are left.*--lr") as caught:
        adapt(alone, unlabelled, tmp_path / "adapted", watcher)
    assert caught.value.exit_code == 1 and any("embeddings collapse" in text for text in watcher.warnings)
    assert not (tmp_path / "adapted" / "model.safetensors").exists()
    assert not Adaptation(tmp_path / "adapted").finished
    with pytest.raises(GateError, match="collapsed"):
        resume(tmp_path / "adapted")


def test_a_loss_that_is_not_a_number_leaves_no_weights(
    make_config: MakeConfig, unlabelled: Unlabelled, tmp_path: Path
) -> None:
    with pytest.raises(GateError, match=r"lower --lr|collapsed"):
        adapt(make_config(lr=1e30, epochs=4), unlabelled, tmp_path / "adapted")
    assert not (tmp_path / "adapted" / "model.safetensors").exists()


def test_broken_images_are_counted_and_named_and_the_rest_is_used(
    make_config: MakeConfig, discs: Path, recorder: Any, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(discs, tmp_path / "images"))
    (folder / "blue" / "3.png").write_bytes(b"not an image")
    (folder / "red" / "4.png").write_bytes((folder / "red" / "4.png").read_bytes()[:200])
    (folder / "notes.txt").write_text("no image")
    images = read_unlabelled(folder)
    assert [each.path for each in images.broken] == ["blue/3.png", "red/4.png"] and images.passed_over == 1
    watcher = recorder()
    made = adapt(make_config(epochs=1), images, tmp_path / "adapted", watcher)
    assert any("2 of 36 images can't be used" in text and "blue/3.png" in text for text in watcher.warnings)
    assert made.outcome().images == 34 and made.images().broken == images.broken


def test_folders_without_images_and_too_few_images_are_refused_before_anything_is_built(
    make_config: MakeConfig, discs: Path, unlabelled: Unlabelled, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"no images in it \(1 other files\)"):
        read_unlabelled(empty)
    (empty / "1.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"none of its 1 images can be read, such as 1.png"):
        read_unlabelled(empty)
    with pytest.raises(UsageError, match="found nothing there"):
        read_unlabelled(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="wanted a folder of images or a split manifest, found a file"):
        read_unlabelled(discs / "red" / "0.png")
    with pytest.raises(DataError, match="36 images that can be read, fewer than a batch of 128"):
        adapt(make_config(batch_size=128), unlabelled, tmp_path / "adapted")
    assert not (tmp_path / "adapted").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 4}, "8 at least, found 4"),
        ({"amp": "fp16"}, "auto, off, bf16"),
        ({"weights": "clip:random"}, "no CLIP towers"),
        ({"lr": 0.0}, "lr must lie above 0"),
        ({"epochs": 0}, "1 epoch"),
        ({"model": "resnet1"}, "resnet1"),
        ({"device": "tpu"}, "no device 'tpu'"),
    ],
)
def test_bad_choices_are_usage_errors(
    changes: dict[str, Any], message: str, make_config: MakeConfig, unlabelled: Unlabelled, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        adapt(make_config(**changes), unlabelled, tmp_path / "adapted")


def test_out_of_memory_says_what_to_try(
    make_config: MakeConfig, unlabelled: Unlabelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeclf.training.adaptation import learner

    def full(*arguments: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate ...")

    monkeypatch.setattr(learner, "vicreg_terms", full)
    with pytest.raises(BackendError, match="two views of 8 images; try a smaller --batch-size"):
        adapt(make_config(), unlabelled, tmp_path / "adapted")


def test_weights_without_a_head_are_no_classifier_to_export(
    make_config: MakeConfig, unlabelled: Unlabelled, tmp_path: Path
) -> None:
    made = adapt(make_config(epochs=1), unlabelled, tmp_path / "adapted")
    with pytest.raises(UsageError, match=r"have no head.*edgeclf train"):
        load_backbone("test_resnet", str(made.weights))


def test_train_and_eval_warn_of_test_images_among_those_adapted_to(
    make_config: MakeConfig,
    config: Make,
    unlabelled: Unlabelled,
    data: DataSplit,
    recorder: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    save_split(data, tmp_path / "split.json")
    leaking = adapt(make_config(epochs=1), unlabelled, tmp_path / "all")
    honest = adapt(make_config(epochs=1), read_unlabelled(tmp_path / "split.json"), tmp_path / "training")
    assert honest.outcome().images == len(data.of("train"))
    tests = len(data.of("test"))
    for made, warned in ((leaking, True), (honest, False)):
        alone = Path(shutil.copy(made.weights, tmp_path / f"{made.path.name}.safetensors"))  # without its folder
        watcher = recorder()
        chosen = config(strategy="linear-probe", weights=str(alone))
        train(chosen, data, tmp_path / f"run-{made.path.name}", watcher)
        alone.unlink()
        assert any(f"{tests} of {tests} test images were among" in text for text in watcher.warnings) == warned
        assert cli_run(["eval", f"run-{made.path.name}"]) == 0
        assert (f"{tests} of {tests} these images were among" in capsys.readouterr().err) == warned


def test_adapted_weights_record_their_images_and_other_files_have_no_record(
    make_config: MakeConfig, unlabelled: Unlabelled, discs: Path, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    made = adapt(make_config(epochs=1), unlabelled, tmp_path / "adapted")
    record = read_adapted(made.weights)
    assert record == made.outcome() and record.count_seen(item.sha256 for item in unlabelled.data.images) == 36
    save_file({"weight": torch.zeros(1)}, tmp_path / "plain.safetensors")
    (tmp_path / "newer.safetensors").write_bytes(
        made.weights.read_bytes().replace(b'\\"schema\\": 1', b'\\"schema\\": 9')
    )
    assert read_adapted(tmp_path / "plain.safetensors") is None and read_adapted(discs / "red" / "0.png") is None
    assert read_adapted(tmp_path / "nowhere") is None
    with pytest.raises(DataError, match=r"another edgeclf \(schema 9\)"):
        read_adapted(tmp_path / "newer.safetensors")
    save_file({"weight": torch.zeros(1)}, tmp_path / "odd.safetensors", metadata={HEADER_KEY: "[1]"})
    with pytest.raises(DataError, match=r"another edgeclf \(schema None\)"):
        read_adapted(tmp_path / "odd.safetensors")


def test_adapt_adapts_and_prints_json(edgeclf: Run, discs: Path) -> None:
    command = ["adapt", str(discs), "-m", "test_resnet", "--weights", "random"]
    command += ["--img-size", "32", "--batch-size", "8", "--epochs", "2", "--workers", "0", "--json"]
    done = edgeclf(*command)
    document = json.loads(done.stdout)
    assert document["schema"] == 1 and document["verb"] == "adapt" and len(document["epochs"]) == 2
    assert document["folder"] == "adapted/test_resnet" and document["adapted"]["images"] == 36
    assert "edgeclf train DATA -m test_resnet --img-size 32 --weights adapted/test_resnet" in done.stderr.decode()
    again = edgeclf(*command)
    assert again.returncode == 2 and again.stderr.strip().count(b"\n") == 0
    assert b"holds an adaptation that has ended; choose another --output" in again.stderr


def test_ctrl_c_leaves_a_checkpoint_and_the_command_that_goes_on(discs: Path, tmp_path: Path) -> None:
    command = ["adapt", str(discs), "-m", "test_resnet", "--weights", "random"]
    command += ["--img-size", "32", "--batch-size", "8", "--epochs", "500", "-o", "long"]
    process = start_edgeclf(command, cwd=tmp_path)
    history, deadline = tmp_path / "long" / "history.jsonl", time.monotonic() + 90
    while not (history.exists() and history.read_text().count("\n") >= 2):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (
        process.returncode == 130 and "go on with: edgeclf adapt --resume long" in stderr and "Traceback" not in stderr
    )


def test_several_processes_are_refused(
    discs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli_run(["adapt", str(discs), "-m", "test_resnet", "--weights", "random"]) == 2
    assert "adapt works in one process; start it without torchrun" in capsys.readouterr().err


def test_of_a_split_manifest_only_training_images_are_used(data: DataSplit, tmp_path: Path) -> None:
    gone = replace(
        data, images=tuple(replace(i, name=f"gone/{i.name}") if i.split == "test" else i for i in data.images)
    )
    save_split(gone, tmp_path / "split.json")
    images = read_unlabelled(tmp_path / "split.json")
    assert not images.broken and len(images.training_images) == len(data.of("train"))


def test_nine_steps_in_all_are_enough_for_the_schedule(
    make_config: MakeConfig, unlabelled: Unlabelled, tmp_path: Path
) -> None:
    """A tenth of torch's ten points of a schedule is a warm-up of no step, by which it divides."""
    few = replace(unlabelled, data=replace(unlabelled.data, images=unlabelled.data.images[::4]))
    made = adapt(make_config(epochs=9, batch_size=len(few.training_images)), few, tmp_path / "adapted")
    assert made.finished and len(made.history()) == 9


def test_a_folder_that_is_taken_is_reported_before_the_images_are_read(
    make_config: MakeConfig, unlabelled: Unlabelled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise an error in these images would end with advice to resume an adaptation to others."""
    adapt(make_config(epochs=1), unlabelled, tmp_path / "adapted")
    (tmp_path / "adapted" / "adapted.json").unlink()
    (tmp_path / "empty").mkdir()
    code = cli_run(["adapt", str(tmp_path / "empty"), "-m", "test_resnet", "-o", str(tmp_path / "adapted")])
    stderr = capsys.readouterr().err
    assert code == 2 and "holds an adaptation" in stderr and "go on with: " not in stderr
