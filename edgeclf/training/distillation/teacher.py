"""The teacher of a distillation: a run, a bundle or a zero-shot classifier, run on the pixels that it was made for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeclf.data.sources import some
from edgeclf.training.run.run import Run
from edgeclf_export.sources.trained import rebuild
from edgeclf_export.sources.weights import digest_state
from edgeclf_runtime.backends.torch_module import with_normalization
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import label_logits, to_input
from edgeclf_runtime.bundle.teacher_info import TeacherInfo, TeacherKind
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.metrics.multilabel import THRESHOLD
from edgeclf_runtime.session import open_session
from edgeclf_runtime.text.unicode_forms import shown_names

if TYPE_CHECKING:
    import torch

_BATCH = 32  # more make page faults on CPUs, and memory on GPUs


@dataclass(frozen=True)
class Teacher:
    """A classifier that is opened.

    Attributes
    ----------
    labels
        In the order of the logits.
    infer
        (N, H, W, 3) uint8 -> (N, classes) float32 logits, for a batch of its own `pixels`.
    trained_on
        SHA-256 of the images that trained it, of which nothing follows about new images; empty: not known.
    data_sha256
        Of the split that it was trained on; None: not known.
    label_logits
        (classes,) the logits from which on it predicts each of several labels; None: it predicts one an image.
    """

    path: Path
    info: TeacherInfo
    labels: tuple[str, ...]
    pixels: Pixels
    infer: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    trained_on: frozenset[str] = frozenset()
    data_sha256: str | None = None
    label_logits: NDArray[np.float64] | None = None

    @property
    def multi_label(self) -> bool:
        """Whether it predicts several labels an image, each by itself."""
        return self.label_logits is not None

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 -> (N, classes). Raises DataError where they are not finite."""
        parts = [self.infer(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        found = np.concatenate(parts) if parts else np.empty((0, len(self.labels)), dtype=np.float32)
        if not np.isfinite(found).all():
            raise DataError(f"the teacher {self.path} gives logits that are not finite; export or train it again")
        return found

    def predicted(self, logits: NDArray[np.float32]) -> list[tuple[str, ...]]:
        """The labels that it predicts of each image: the best one, or all that reach their thresholds, be it none."""
        if self.label_logits is None:
            return [(self.labels[number],) for number in logits.argmax(axis=1)]
        return [tuple(self.labels[number] for number in np.flatnonzero(row)) for row in logits >= self.label_logits]

    def for_classes(self, classes: Sequence[str], data: Path) -> Teacher:
        """The same with its logits in the order of `classes`. Raises DataError unless it knows just these."""
        if set(classes) != set(self.labels):
            raise DataError(self._difference(classes, data))
        columns = [self.labels.index(label) for label in classes]
        least = None if self.label_logits is None else self.label_logits[columns]
        return replace(
            self, labels=tuple(classes), infer=lambda batch: self.infer(batch)[:, columns], label_logits=least
        )

    def check_task(self, *, multi_label: bool) -> None:
        """Raises UsageError where it predicts one label an image and its student several, or the other way round."""
        if self.multi_label != multi_label:
            kinds = ("one label", "several labels")
            raise UsageError(
                f"the teacher {self.path} predicts {kinds[self.multi_label]} an image, and these images have "
                f"{kinds[multi_label]}; give a teacher of their kind"
            )

    def _difference(self, classes: Sequence[str], data: Path) -> str:
        own = shown_names([label for label in self.labels if label not in set(classes)], beside=classes)
        theirs = shown_names([label for label in classes if label not in set(self.labels)], beside=self.labels)
        sides = [f"only the teacher {self.path} has {some(own)}"] if own else []
        sides += [f"only the data {data} have {some(theirs)}"] if theirs else []
        return (
            f"a teacher needs the classes of its student, in any order: it has {len(self.labels)}, the data "
            f"{len(classes)}; {'; '.join(sides)}. Give a teacher of these classes, or rename those of the data"
        )

    def seen(self, images: Collection[LabelledImage]) -> int:
        """How many of the images trained it, as far as that is known."""
        return sum(image.sha256 in self.trained_on for image in images)


def require_teacher(path: Path) -> None:
    """Raises DataError where nothing is there to learn from: at once, before weights are fetched and images checked."""
    if not path.exists():
        raise DataError(f"{path}: no such run or bundle to learn from; `edgeclf runs` lists those in a folder")


@contextmanager
def open_teacher(path: Path, device: torch.device) -> Iterator[Teacher]:
    """A run's network on `device`, or a bundle on its own engine, for the time of the block.

    Raises
    ------
    DataError
        Nothing is there; the training of a run has not ended; a bundle is damaged, or is no classifier.
    UsageError
        Its scores are margins, which say nothing about the other classes.
    BackendError
        Its engine is missing.
    """
    if Run.is_at(path):
        yield _run_as_teacher(Run(path), device)
        return
    require_teacher(path)
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    if manifest.task != "classify" or manifest.pixels is None:
        raise DataError(
            f"{path}: its task is {manifest.task}; a teacher is a classifier: `edgeclf zeroshot` makes one of CLIP"
        )
    if manifest.scores == "margin":
        raise UsageError(f"{path}: {manifest.target} gives margins, no probabilities to learn from; give a network")
    kind: TeacherKind = "bundle" if manifest.prompts is None else "zero-shot bundle"
    with open_session(bundle) as session:
        yield Teacher(
            path=path,
            info=TeacherInfo(name=bundle.name, kind=kind, sha256=bundle.digest),
            labels=manifest.labels,
            pixels=manifest.pixels,
            infer=lambda batch: session(to_input(batch, manifest.normalization)),
            data_sha256=manifest.provenance.data_sha256,
            label_logits=manifest.label_logits,
        )


def _run_as_teacher(run: Run, device: torch.device) -> Teacher:
    import torch

    outcome, architecture, weights = run.outcome(), run.architecture(), run.weights()
    data, unlabelled = run.data(), run.unlabelled()
    trained_on = (*data.of("train"), *(() if unlabelled is None else unlabelled.images))
    least = outcome.thresholds.per_class or [THRESHOLD] * len(architecture.labels)
    module = with_normalization(rebuild(architecture, weights), architecture.normalization).eval()
    module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def infer(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = module(torch.from_numpy(batch).to(device)).float().cpu().numpy()
        return logits

    return Teacher(
        path=run.path,
        info=TeacherInfo(name=run.name, kind="run", sha256=digest_state(weights)),
        labels=architecture.labels,
        pixels=architecture.pixels,
        infer=infer,
        trained_on=frozenset(image.sha256 for image in trained_on),
        data_sha256=outcome.data_sha256,
        label_logits=label_logits(least, outcome.temperature) if data.multi_label else None,
    )
