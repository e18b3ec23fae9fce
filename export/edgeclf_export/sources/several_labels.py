"""Several labels an image, for classifiers that don't say so themselves: a threshold for each label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeclf_export.exportable import Exportable
from edgeclf_runtime.bundle.dataclass_json import parse_json
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.metrics.multilabel import THRESHOLD


def with_several_labels(exportable: Exportable, thresholds: str | None = None) -> Exportable:
    """The classifier, of which each label is predicted from its own probability on; `thresholds`: as for --thresholds.

    Raises UsageError where its scores are no sigmoids, or a threshold is none.
    """
    if exportable.scores != "sigmoid":
        raise UsageError(
            f"--multi-label: {exportable.backbone} compares its classes by softmax, which has one of them predicted; "
            "leave it out"
        )
    return replace(exportable, multi_label=True, label_thresholds=read_thresholds(thresholds, exportable.labels))


def read_thresholds(given: str | None, labels: tuple[str, ...]) -> tuple[float, ...]:
    """One for each label: the number for all, or those of a JSON file by label; one half for labels that it leaves out.

    Raises UsageError for what is no probability or names no label, DataError for a file that can't be read.
    """
    if given is None:
        return (THRESHOLD,) * len(labels)
    try:
        return (_checked(float(given), "--thresholds"),) * len(labels)
    except ValueError:
        named = _read(Path(given))
    if unknown := sorted(set(named) - set(labels)):
        raise UsageError(f"{given}: {unknown[0]!r} is none of the {len(labels)} labels, such as {labels[0]!r}")
    return tuple(_checked(named.get(label, THRESHOLD), f"{given}: {label!r}") for label in labels)


def _read(path: Path) -> dict[str, float]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else f"not JSON ({error})"
        raise DataError(f"--thresholds takes a number from 0 to 1 or a JSON file; {path}: {why}") from error
    if not isinstance(content, dict) or not all(type(each) in (int, float) for each in content.values()):
        raise DataError(f'{path}: wanted a JSON object of a number for each label, such as {{"cat": 0.4}}')
    return content


def _checked(value: float, where: str) -> float:
    if not 0 <= value <= 1:
        raise UsageError(f"{where}: a threshold is a probability from 0 to 1, found {value:g}")
    return float(value)
