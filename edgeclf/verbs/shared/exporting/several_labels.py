"""--multi-label and --thresholds of `export` and `zeroshot`, for classifiers that don't say it themselves."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeclf_runtime.errors import UsageError

SeveralLabels = Annotated[
    bool,
    typer.Option(
        "--multi-label",
        help="An image may have several labels, or none, each predicted from its threshold on; for FILE.onnx that ends "
        "in a sigmoid (or its logits), own --weights and SigLIP models.",
    ),
]
LabelThresholds = Annotated[
    str | None,
    typer.Option(
        "--thresholds",
        metavar="P|FILE",
        help='Probability from which on a label is predicted with --multi-label, or a JSON file such as {"cat": 0.4}.',
        show_default="0.5",
    ),
]


def check_several_labels(
    kind: str, *, multi_label: bool, thresholds: str | None, own_weights: bool = True, encoders: bool = False
) -> None:
    """Raises UsageError where the source itself says how many labels an image has, or thresholds stand alone."""
    if thresholds is not None and not multi_label:
        raise UsageError(
            "--thresholds is for --multi-label; `eval --operating-point` chooses those of a run or a bundle"
        )
    if not multi_label:
        return
    if encoders:
        raise UsageError("--multi-label is for classifiers, not for --encoder")
    if kind in ("run", "bundle"):
        raise UsageError(
            f"--multi-label is not for a {kind}, which knows how many labels an image has; `eval --operating-point` "
            "chooses other thresholds"
        )
    if not own_weights:
        raise UsageError("--multi-label is for own --weights; published weights predict one label an image")
