"""The validation figures of a training, by the names that people know them by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# those that an epoch's record may have; the first that it has is what a run is known by
FIGURES: Mapping[str, str] = {"val_top1": "top-1", "val_map": "mAP", "val_macro_f1": "macro-F1"}


def figures_of(record: Mapping[str, Any]) -> dict[str, float]:
    """What of these the record has, by name: {"top-1": 0.91, "macro-F1": 0.9}."""
    return {name: record[key] for key, name in FIGURES.items() if key in record}
