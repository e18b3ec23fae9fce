"""The functions that the packages offer to scripts do what their commands do, without a terminal or output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from warm_process import start_script

from edgeclf.cli import run as cli_run

SCRIPT = """
import json, sys
for name in list(sys.modules):  # what the process that this one was forked from has imported of the command line
    if name.partition(".")[0] in ("edgeclf", "typer", "warm_imports"):
        del sys.modules[name]
from edgeclf import BaselineOptions, EvaluateOptions, TrainConfig, baseline, evaluate, train
from edgeclf_runtime import EdgeclfError

data = sys.argv[1]
config = TrainConfig(model="test_resnet", weights="random", img_size=32, strategy="linear-probe", epochs=2, workers=0)
trained = train(data, config, folder="runs/script")
evaluated = evaluate("runs/script", options=EvaluateOptions(output="evals/script"))
made = baseline(data, BaselineOptions(name="script", folds=0))
try:
    train(data, config, folder="runs/script")
except EdgeclfError as error:
    refusal = str(error)
figures = evaluated.report.evaluation
print(json.dumps({
    "train": [trained.outcome.scores, trained.outcome.best_epoch, len(trained.epochs)],
    "eval": [figures.top1, figures.macro_f1, figures.images, evaluated.report.split],
    "baseline": [made.test_accuracy, made.support_vectors, made.training_images],
    "refusal": refusal,
    "command line": [name for name in ("typer", "edgeclf.cli", "edgeclf.verbs") if name in sys.modules],
}))
"""


def test_a_script_trains_evaluates_and_makes_a_baseline_as_the_commands_do(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("skimage")
    started = start_script(SCRIPT, str(discs), cwd=tmp_path)
    stdout, stderr = started.communicate(timeout=120)
    assert started.returncode == 0, stderr
    found = json.loads(stdout)  # nothing else is printed
    assert "runs/script holds a run whose training has ended" in found["refusal"] and not found["command line"]

    monkeypatch.chdir(tmp_path)

    def typed(*arguments: str) -> Any:
        assert cli_run([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    network = ("-m", "test_resnet", "--weights", "random", "--img-size", "32", "--strategy", "linear-probe")
    trained = typed("train", str(discs), *network, "--epochs", "2", "--workers", "0", "--name", "typed")
    assert found["train"] == [trained["outcome"]["scores"], trained["outcome"]["best_epoch"], len(trained["epochs"])]
    report = typed("eval", "runs/typed")["report"]
    figures = report["evaluation"]
    assert found["eval"] == [figures["top1"], figures["macro_f1"], figures["images"], report["split"]]
    made = typed("baseline", str(discs), "--name", "typed", "--folds", "0")["baseline"]
    assert found["baseline"] == [made["test_accuracy"], made["support_vectors"], made["training_images"]]
