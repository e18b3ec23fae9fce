"""What `edgeclf train` prints around a run: what can't be changed, how to continue it, what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.console import Bars, say, show, styled, suggest, write_json
from edgeclf.verbs.shared.options import shell_word
from edgeclf_runtime.errors import BackendError, DataError, UsageError
from edgeclf_runtime.progress import SILENT, Progress

if TYPE_CHECKING:
    from edgeclf.training.choices import CurveSplit
    from edgeclf.training.config import TrainConfig
    from edgeclf.training.from_paths import Trained

# the options of fields that the config, and so every run on disk, names otherwise
_OPTIONS = {
    "accumulate": "grad_accum_steps",
    "clip": "clip_grad",
    "drop": "dropout",
    "jitter": "color_jitter",
    "select": "select_metric",
    "value_range": "bit_depth",
}


def folder_of(model: str | None, weights: str, strategy: str, fraction: str | None, name: str | None) -> Path:
    """Where a new run or learning curve goes. Raises UsageError for a name that is not valid."""
    from edgeclf.training.from_paths import RUNS, default_folder
    from edgeclf.training.learning_curve.curve import BASELINE

    if model is None:
        if weights.startswith("clip:"):
            raise UsageError("name the CLIP model with --model, as for zeroshot: ViT-B-32, or the folder that holds it")
        raise UsageError("name a backbone with --model; `edgeclf models` lists some")
    if name is not None and (not name or "/" in name or name.startswith(".")):
        raise UsageError(f"{name!r} can't name a run; give --name letters, digits, '-' and '_'")
    if fraction is None and "," in strategy:
        raise UsageError(f"{strategy} are several strategies; choose one, or compare them with --fraction 0.1,0.3,1")
    if fraction is None and strategy == BASELINE:
        raise UsageError(f"{BASELINE} trains no network; make it with `edgeclf baseline`, or give --fraction")
    return default_folder(model, strategy if fraction is None else "curve") if name is None else RUNS / name


def refuse_changes(shared: TrainConfig, own: Mapping[str, Any], folder: Path) -> None:
    """Raises UsageError where an option beside --resume or --finish would change the run: it continues as it began.

    `own`: options that only some strategies know, and --fraction.
    """
    from edgeclf.training.config import TrainConfig
    from edgeclf.training.inputs.augment import Switches

    usual = TrainConfig(model="")
    pairs = {each.name: (getattr(shared, each.name), getattr(usual, each.name)) for each in fields(TrainConfig)}
    switches = shared.switches, usual.switches
    pairs |= {
        each.name: (getattr(switches[0], each.name), getattr(switches[1], each.name)) for each in fields(Switches)
    }
    pairs |= {name: (value, getattr(usual, name, None)) for name, value in own.items()}
    changed = [name for name, (value, default) in pairs.items() if value != default and name != "switches"]
    if changed:
        option = _OPTIONS.get(changed[0], changed[0]).replace("_", "-")
        raise UsageError(
            f"--resume and --finish keep the run's own options; leave out --{option}, start a new run, or end this one "
            f"with its best epoch so far: edgeclf train --finish {shell_word(str(folder))}"
        )


def watched(
    work: Callable[[Progress], Trained], folder: Path, compared_on: CurveSplit | None = None, *, as_json: bool
) -> None:
    """Runs a training with its progress on stderr, then shows what came out; the first of several processes prints.

    `compared_on`: what the student is compared on with the same one without its teacher; None: it is not.
    """
    from edgeclf.training.distributed import this_process

    is_first = this_process().is_first
    try:
        with Bars() as bars:
            trained = work(bars if is_first else SILENT)
    except (KeyboardInterrupt, BackendError, DataError):
        _say_how_to_go_on(folder, compared_on)
        raise
    if is_first:
        _show(trained, as_json=as_json)


def _say_how_to_go_on(folder: Path, compared_on: CurveSplit | None) -> None:
    """After an interruption: the last finished epoch is on disk."""
    from edgeclf.training.run.run import Run

    if not Run.is_at(folder):
        return
    if compared_on is not None and not Run(folder).usable_data().of(compared_on):
        compared_on = None  # what failed is the comparison, which has no images
    if Run(folder).finished and compared_on is None:
        return
    comparing = {None: "", "val": " --compare", "test": " --compare --evaluate-on test"}[compared_on]
    say(f"go on with: edgeclf train --resume {shell_word(str(folder))}{comparing}")
    if Run(folder).history() and not Run(folder).finished:
        say(f"or keep the best epoch so far: edgeclf train --finish {shell_word(str(folder))}")


def _show(trained: Trained, *, as_json: bool) -> None:
    from edgeclf.training.run.figures import figures_of

    outcome, taught = trained.outcome, trained.teacher
    if as_json:
        fields = {"run": str(trained.run), "outcome": outcome, "epochs": trained.epochs}
        write_json("train", {**fields, "teacher": taught, "gain": trained.gain})
    else:
        early = ", ended early" if outcome.cut_short else ""
        best = f"best epoch {outcome.best_epoch} of {len(trained.epochs)}{early}"
        figures = ", ".join(f"{name} {value:.3f}" for name, value in figures_of(outcome.scores).items())
        scores = f"validation {figures} (selected on these images)"
        if taught is not None and taught.without_labels:
            figures = figures.removeprefix("top-1 ")
            scores = f"agreement with the teacher on held-out images {figures} (selected on these images; no labels)"
        show(styled(f"{trained.run}: {best}, {scores}", "bold"))
        if taught is not None:
            show(styled(f"teacher: {taught}"))
        if trained.gain is not None:
            show(styled(str(trained.gain), "bold"))
    say(f"wrote {trained.run}/: model.safetensors, config, split, history, curves.png", style="dim")
    shown = shell_word(str(trained.run))
    suggest(f"edgeclf export {shown} --target onnx --target openvino")
