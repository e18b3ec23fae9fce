"""`edgeclf search`: which backbone is most accurate on the user's own images, of those that are fast enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import Bars, grid, say, show, styled, suggest, write_json
from edgeclf.verbs.shared.config_file import ConfigFile
from edgeclf.verbs.shared.options import (
    AsJson,
    ImgSize,
    Target,
    Threads,
    TrainDevice,
    TrainingSeed,
    Workers,
    need,
    need_one_process,
    shell_word,
)
from edgeclf.verbs.shared.training_options import StepImages
from edgeclf.verbs.shared.value_range import BitDepth, Window, options_for, value_range_of
from edgeclf.verbs.train import NEEDED
from edgeclf_runtime.errors import EdgeclfError, GateError, UsageError
from edgeclf_runtime.progress import Progress

if TYPE_CHECKING:
    from edgeclf.training.config import TrainConfig
    from edgeclf.training.search.state import Result, Search


def search(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help="Labelled images: a folder with one subfolder per class, a CSV file, or a split from "
            "`edgeclf data split`.",
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            "--models",
            "-m",
            metavar="NAME[=WHERE],…",
            help="Backbones to compare, separated by commas, each perhaps with its own weights.",
            show_default="families that suit an edge device",
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            metavar="WHERE",
            help="Initial weights of models that name none: hub (published ones), packages (those of installed "
            "packages), random, or a file.",
        ),
    ] = "hub",
    max_ms: Annotated[
        float | None,
        typer.Option("--max-ms", min=0, metavar="MS", help="Largest latency of one image, in milliseconds."),
    ] = None,
    target: Annotated[Target, typer.Option("--target", "-t", help="Engine to measure latency on.")] = Target.onnx,
    threads: Threads = None,
    img_size: ImgSize = None,
    epochs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of epochs of fine-tuning, after ten of the head alone.")
    ] = 3,
    probe_epochs: Annotated[
        int, typer.Option("--probe-epochs", min=1, metavar="N", help="Number of epochs of a linear probe's head.")
    ] = 10,
    finalists: Annotated[int, typer.Option(min=1, metavar="N", help="Number of backbones to fine-tune.")] = 3,
    batch_size: StepImages = 32,
    device: TrainDevice = "auto",
    workers: Workers = None,
    bit_depth: BitDepth = None,
    window: Window = None,
    seed: TrainingSeed = 0,
    minutes: Annotated[
        float | None,
        typer.Option(min=0, metavar="N", help="Minutes after which no further training begins; --resume goes on."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the search's folder in runs/.", show_default="DATA-search"),
    ] = None,
    resume: Annotated[Path | None, typer.Option(metavar="DIR", help="Search to continue.", show_default=False)] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Find the backbone for your images and your latency.

    Each backbone is exported to the target and timed on this machine, side by side in rounds; those above --max-ms are
    left out before anything is trained. The others get a linear probe on your training images, and the best three a
    short fine-tuning. Where there are many, the first probe sees a quarter of the images and half of them go on.
    Everything is compared on validation images; test images are not used. Ends in a table, a plot of accuracy against
    latency, and the command to go on. Ctrl-C is safe: --resume continues.

    \b
    Examples:
      edgeclf search photos/ --max-ms 10 --target openvino
      edgeclf search photos/ --models mobilenetv3_large_100,resnet18,repvit_m1=best.safetensors --img-size 160
      edgeclf search photos/ --weights packages --minutes 30
      edgeclf search --resume runs/photos-search
    """
    from edgeclf.training.config import TrainConfig
    from edgeclf.training.from_paths import RUNS, default_folder
    from edgeclf.training.search.from_paths import resume_search
    from edgeclf.training.search.from_paths import search as search_backbones

    need("train", *NEEDED)
    need_one_process("a search")
    if (data is None) == (resume is None):
        raise UsageError("give DATA to start a search, or --resume DIR to continue one")
    if resume is not None:
        usual: dict[str, tuple[object, object]] = {"models": (models, None), "weights": (weights, "hub")}
        usual |= {"max-ms": (max_ms, None), "name": (name, None)}
        usual |= {"target": (target, Target.onnx), "threads": (threads, None), "img-size": (img_size, None)}
        usual |= {"epochs": (epochs, 3), "probe-epochs": (probe_epochs, 10), "finalists": (finalists, 3)}
        usual |= {"batch-size": (batch_size, 32), "device": (device, "auto"), "workers": (workers, None)}
        usual |= {"bit-depth": (bit_depth, None), "window": (window, None), "seed": (seed, 0)}
        _refuse_changes(usual)
        _watched(lambda progress: resume_search(resume, minutes=minutes, progress=progress), resume, as_json=as_json)
        return
    if name is not None and (not name or "/" in name or name.startswith(".")):
        raise UsageError(f"{name!r} can't name a search; give --name letters, digits, '-' and '_'")
    assert data is not None
    folder = default_folder(data.resolve().stem, "search") if name is None else RUNS / name
    training = TrainConfig(
        model="",
        img_size=img_size,
        batch_size=batch_size,
        device=device,
        workers=workers,
        seed=seed,
        value_range=value_range_of(bit_depth, window),
    )
    _watched(
        lambda progress: search_backbones(
            data,
            () if models is None else [word.strip() for word in models.split(",")],
            weights=weights,
            target=target.value,
            max_ms=max_ms,
            threads=threads,
            training=training,
            probe_epochs=probe_epochs,
            tune_epochs=epochs,
            finalists=finalists,
            folder=folder,
            minutes=minutes,
            progress=progress,
        ),
        folder,
        as_json=as_json,
    )


def _refuse_changes(given: Mapping[str, tuple[object, object]]) -> None:
    """Raises UsageError where an option, (value, default), would change the search that --resume continues."""
    if changed := [option for option, (value, default) in given.items() if value != default]:
        raise UsageError(f"--resume keeps the search's own options; leave out --{changed[0]}, or start a new search")


def _watched(work: Callable[[Progress], Search], folder: Path, *, as_json: bool) -> None:
    """Runs a search with its progress on stderr, then shows it; an interrupted one says how to go on."""
    from edgeclf.training.run.run import Run
    from edgeclf.training.search.state import is_search

    with Bars() as bars:
        try:
            found = work(bars)
        except (KeyboardInterrupt, EdgeclfError) as error:
            hopeless = isinstance(error, GateError) and not any(Run.is_at(place) for place in folder.glob("*"))
            if is_search(folder) and not isinstance(error, UsageError) and not hopeless:
                say(f"what was measured is kept; go on with: {_resume(folder)}")
            raise
    _show(found, folder, as_json=as_json)


def _resume(folder: Path) -> str:
    return f"edgeclf search --resume {shell_word(str(folder))}"


def _show(found: Search, folder: Path, *, as_json: bool) -> None:
    from edgeclf.training.search.state import load_plan
    from edgeclf.training.search.table import results_table

    best, as_good = found.best if found.complete else None, found.as_good if found.complete else None
    if as_json:
        names = {"best": best and best.name, "as_good": as_good and as_good.name}
        write_json("search", {"folder": str(folder), **names, "search": found})
    else:
        table = results_table(found)
        shown = grid(*table.headings)
        for row in table.rows:
            shown.add_row(styled(row[0], "cyan"), *map(styled, row[1:]))
        on = f"{found.validation_images:,} validation images, on which epochs were selected, too"
        about = f"compared by {found.figure} on {on}"
        show(styled(f"{folder}: {about}; test images were not used", "bold"), "", shown)
    say(f"wrote {folder}/: search.json, search.png, split.json, and a run for each training", style="dim")
    if best is None:
        say("the time is over and not all is measured", style="yellow")
        suggest(f"{_resume(folder)}   (--minutes gives it more time)")
        return
    if as_good is not None and as_good.behind_interval is not None:
        low, high = as_good.behind_interval.low, as_good.behind_interval.high
        times = best.milliseconds / as_good.milliseconds
        say(
            f"{as_good.name} is {times:.1f} x as fast as {best.name} and not shown to be less accurate "
            f"({as_good.behind:+.2f} points [{low:+.2f}, {high:+.2f}])"
        )
    training = load_plan(folder).training
    suggest(*(_train(each, folder, training) for each in (best, as_good) if each is not None))


def _train(result: Result, folder: Path, training: TrainConfig) -> str:
    """The command that trains a backbone longer, on the same split."""
    from edgeclf.training.config import TrainConfig

    weights = "" if result.weights == "hub" else f" --weights {shell_word(result.weights)}"
    size = "" if training.img_size is None else f" --img-size {training.img_size}"
    usual = TrainConfig(model=result.model)
    others = "".join(
        f" --{name.replace('_', '-')} {shell_word(str(getattr(training, name)))}"
        for name in ("batch_size", "seed", "device")
        if getattr(training, name) != getattr(usual, name)
    )
    more = weights + size + others + options_for(training.value_range)
    return f"edgeclf train {shell_word(str(folder / 'split.json'))} --model {result.model}{more}"
