"""Labelled images for a bench: chosen from a folder, a split manifest or a CSV, and described for the report."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeclf.data.held_out import HeldOut, open_held_out
from edgeclf.evaluation.inference import check_split, images_of
from edgeclf.evaluation.test_set_usage import carried_uses, new_use, record_test_use
from edgeclf_benchmarks.measuring.predictions import LabelledImages
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.images.labelled import SplitOrAll
from edgeclf_runtime.progress import SILENT, Progress


@dataclass(frozen=True, slots=True)
class BenchImages:
    """The images of a split, for `edgeclf_benchmarks.bench(…, data=BenchImages("photos/"))`.

    Attributes
    ----------
    source
        A folder of classes, a CSV, or the manifest that `edgeclf data split` wrote. One without splits is taken whole,
        unless one of the bundles was trained on it.
    most
        Images at most, drawn at random with `seed`; None: all.
    present
        Whether it may lack classes of the bundles.
    progress
        Shows progress.
    """

    source: str | Path
    split: SplitOrAll = "test"
    most: int | None = 1000
    present: bool = False
    seed: int = 0
    progress: Progress = SILENT

    def __post_init__(self) -> None:
        check_split(self.split)

    def __call__(self, bundles: Sequence[Bundle]) -> LabelledImages:
        """The images for these bundles; a use of test images is counted when they are read."""
        held_out = self._held_out(bundles)
        data = held_out.data
        images = images_of(data, self.split)
        drawn = self.most is not None and self.most < len(images)
        chosen = tuple(random.Random(self.seed).sample(images, self.most or 0)) if drawn else images
        tests = sum(image.split == "test" for image in chosen)
        use = new_use()  # one for all rows: they are compared on the same images

        def record_use(bundle: Bundle) -> int:
            return record_test_use(
                bundle.sidecar,
                subject=bundle.digest,
                data_sha256=data.digest,
                images=tests,
                verb="bench",
                known=carried_uses(bundle.manifest, data.digest),
                use=use,
            ).number

        return LabelledImages(
            data=data,
            split=self.split,
            images=chosen,
            left_out=len(images) - len(chosen),
            record_use=record_use if tests else None,
            origin=held_out.origin,
            present=self.present,
        )

    def _held_out(self, bundles: Sequence[Bundle]) -> HeldOut:
        manifests = [bundle.manifest for bundle in bundles]
        return open_held_out(
            Path(self.source),
            self.seed,
            whole=self.split in ("test", "all"),
            trained_on={each.provenance.data_sha256 for each in manifests if each.provenance.data_sha256},
            labels=manifests[0].labels if self.present and manifests else None,
            several_labels="known",
            progress=self.progress,
        )
