"""`edgeclf baseline`: the classical classifier that a network has to beat."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import Bars, grid, say, show, styled, suggest, verdict, write_json
from edgeclf.verbs.shared.options import AsJson, Force, StrictImages, shell_word
from edgeclf.verbs.shared.passed_over import warn_left_out
from edgeclf.verbs.shared.value_range import BitDepth, Window, value_range_of
from edgeclf.wording import size

if TYPE_CHECKING:
    from edgeclf.baselines.baseline import Baseline


def baseline(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Labelled images: a folder with one subfolder per class, a CSV file, or a split from `edgeclf data "
            "split`.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the bundle.")] = Path(
        "bundles"
    ),
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the bundle: NAME-hog-svm-fp32.", show_default="the data's name"),
    ] = None,
    folds: Annotated[
        int, typer.Option(min=0, max=100, metavar="N", help="Number of cross-validation folds; 0: none.")
    ] = 5,
    seed: Annotated[int, typer.Option(metavar="N", help="Random seed for the split and the folds.")] = 0,
    bit_depth: BitDepth = None,
    window: Window = None,
    strict: StrictImages = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Train HOG + SVM, the classical baseline, and make a proven bundle of it.

    Histograms of oriented gradients of 64x64 gray images (1,764 features), standardized, and a support vector machine
    with an RBF kernel (C=10, gamma=scale). It is cross-validated on the training images, then fitted on all of them,
    then evaluated once on the test images. The bundle holds plain arrays; predict, verify, eval and pack take it like
    any other. Images are downscaled with antialiasing; OpenCV's default, which tutorials use, has none, so their
    figures differ a little.

    \b
    Examples:
      edgeclf baseline photos/
      edgeclf baseline split.json --folds 0 --name quick
    """
    from edgeclf.baselines.baseline import BaselineOptions
    from edgeclf.baselines.from_data import baseline as make_baseline
    from edgeclf_runtime.backends.hog import FEATURES
    from edgeclf_runtime.bundle.dataclass_json import to_json

    shown = value_range_of(bit_depth, window)
    options = BaselineOptions(
        output=output, name=name, folds=folds, seed=seed, force=force, value_range=shown, strict=strict
    )
    made = make_baseline(data, options, progress=Bars())
    warn_left_out(made.left_out, made.images)
    if as_json:
        write_json("baseline", {"baseline": {**to_json(made), "path": str(made.path), "features": FEATURES}})
    else:
        _show(made, folds)
    _finish(made, folds, data)


def _show(made: Baseline, folds: int) -> None:
    from edgeclf_runtime.backends.hog import FEATURES, ORIENTATIONS

    table = grid()

    def row(name: str, value: str, remark: str = "") -> None:
        table.add_row(styled(name, "cyan"), styled(value), styled(remark, "dim"))

    if made.fold_accuracies:
        mean, deviation = _mean_and_deviation(made.fold_accuracies)
        validated = f"{len(made.fold_accuracies)}-fold, on the training images, {made.cross_validation_seconds:.1f} s"
        row("cross-validation", f"{made.figure} {mean:.3f} ± {deviation:.3f}", validated)
    if made.test_accuracy is not None:
        interval = made.test_interval
        bounds = f"  [{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
        how = f", 95 % interval: {interval.method}" if interval else ""
        row(
            "test accuracy" if made.figure == "top-1" else f"test {made.figure}",
            f"{made.test_accuracy:.3f}{bounds}",
            f"{made.test_images:,} images{how}",
        )
    row("features", f"{FEATURES:,} numbers an image", f"HOG of 64x64 grey pixels, {ORIENTATIONS} orientations a cell")
    vectors = f"{made.support_vectors:,} support vectors"
    row("training", f"{made.training_seconds:.1f} s", f"{made.training_images:,} images, {vectors}")
    compared = made.proof.comparison
    proof = verdict(made.proof.verdict)
    kind = "margins" if made.figure == "top-1" else "logits"
    about = f"{kind} within {compared.max_relative:.1e} of scikit-learn's, {made.proof.images_source}"
    table.add_row(styled("proof", "cyan"), proof, styled(about, "dim"))
    show(styled(f"{made.path}  {size(made.bundle_bytes)}", "bold"), "", table)


def _finish(made: Baseline, folds: int, data: Path) -> None:
    if folds and not made.fold_accuracies:
        say("no cross-validation: a class has a single training image (or group of them)", style="yellow")
    elif len(made.fold_accuracies) < folds:
        words = f"{len(made.fold_accuracies)} folds in place of {folds}: the smallest class has no more training images"
        say(f"{words} (or groups of them)", style="yellow")
    if made.test_use is None:
        say("the data has no test images, so there is no final figure", style="yellow")
    else:
        say(str(made.test_use), style="bold")
    if made.proof.verdict == "inconclusive":
        say(f"INCONCLUSIVE: {'; '.join(made.proof.reasons)}", style="bold yellow")
    path = shell_word(str(made.path))
    suggest(f"edgeclf eval {path} {shell_word(str(data))}", f"edgeclf predict {path} IMAGE", f"edgeclf pack {path}")


def _mean_and_deviation(values: tuple[float, ...]) -> tuple[float, float]:
    """As numpy's mean and std have it, over all values."""
    mean = sum(values) / len(values)
    return mean, (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
