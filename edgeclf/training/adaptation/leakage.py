"""Whether images to evaluate a network on are among the unlabelled ones that its weights were adapted to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeclf.training.adaptation.folder import OUTCOME
from edgeclf.training.run.run import Run
from edgeclf_export.sources.adapted import Adapted, read_adapted, weights_in
from edgeclf_runtime.bundle.dataclass_json import from_json, to_json
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage


def seen_in_adaptation(weights: str, data: DataSplit) -> tuple[str, ...]:
    """A warning for validation and for test images that the weights at the path `weights` were adapted to."""
    adapted = read_adapted(weights_in(Path(weights)))
    if adapted is None:
        return ()
    return tuple(filter(None, (_sentence(adapted, data.of(split), split) for split in ("val", "test"))))


def keep_adapted(run: Run, weights: str) -> None:
    """Notes in the run what its weights were adapted to, for evaluations after the weights are gone."""
    adapted = read_adapted(weights_in(Path(weights)))
    if adapted is not None:
        run.write_json(OUTCOME, to_json(adapted))


def seen_by_run(run: Run, images: Sequence[LabelledImage]) -> str | None:
    """A warning where images to evaluate the run on were among those that its first weights were adapted to."""
    if not (run.path / OUTCOME).is_file():
        return None
    adapted = from_json(Adapted, run.read_json(OUTCOME), str(run.path / OUTCOME))
    return _sentence(adapted, images, "these")


def _sentence(adapted: Adapted, images: Sequence[LabelledImage], which: str) -> str | None:
    seen = adapted.count_seen(image.sha256 for image in images)
    if not seen:
        return None
    return (
        f"{seen} of {len(images)} {which} images were among the {adapted.images} unlabelled ones that the weights were "
        "adapted to, so figures on them may be optimistic; give adapt the split manifest, and it uses training images "
        "only"
    )
