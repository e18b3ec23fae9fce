"""`explain`: a bundle's predictions for images, each with a map of what it rests on, as pictures, JSON and a page."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf.explanation.explanation import Explanation, explain_image, images_per_map
from edgeclf.explanation.overlay import overlay, png
from edgeclf.explanation.rise import BATCH, MASKS, Perturbation
from edgeclf.wording import json_ready
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.decision import Prediction
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.errors import DataError, ImageError, UsageError
from edgeclf_runtime.images.limits import Limits
from edgeclf_runtime.progress import SILENT, Progress

SCHEMA = 1  # of explanations.json
REPORT, PAGE = "explanations.json", "explanations.html"
_LONGEST_NAME, _WORTH_SAYING_S, _MOST_LABELS = 60, 10.0, 5


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """What to explain, and how.

    Attributes
    ----------
    label
        The class whose score is explained; None: of each image the best one, or where it may have several labels those
        that are predicted (the best five of them), each with a map of its own.
    masks
        Masks an image; more of them make a map smoother, and cost as much more time.
    batch_size
        Masked images handed to the engine at a time.
    seed
        Of the masks.
    output
        The folder; None: explanations/BUNDLE. `force`: what is there is replaced.
    """

    label: str | None = None
    masks: int = MASKS
    batch_size: int = BATCH
    seed: int = 0
    session: SessionOptions = SessionOptions()
    limits: Limits = Limits()
    output: str | Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.masks < 1 or self.batch_size < 1:
            raise UsageError(f"masks and batch size start at 1, found {self.masks} and {self.batch_size}")

    @property
    def perturbation(self) -> Perturbation:
        return Perturbation(self.masks, self.batch_size, self.seed)


@dataclass(frozen=True, slots=True)
class ExplainedImage:
    """One image: its prediction, its explanation (None: it can't be read), the picture's name, the seconds taken.

    Where several labels of an image are explained, there is one of these for each of them.
    """

    prediction: Prediction
    explanation: Explanation | None = None
    picture: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Explained:
    """What `explain` wrote into `folder`, and what it found, image by image and label by label."""

    folder: Path
    bundle: str
    digest: str
    masks: int
    seed: int
    engine: dict[str, str] = field(default_factory=dict)
    images: tuple[ExplainedImage, ...] = ()

    @property
    def explanations(self) -> tuple[Explanation, ...]:
        return tuple(each.explanation for each in self.images if each.explanation is not None)


def explain(
    bundle: Classifier | str | Path,
    images: Sequence[str | Path],
    options: ExplainOptions = ExplainOptions(),
    *,
    progress: Progress = SILENT,
) -> Explained:
    """Maps of what a bundle's predictions rest on, written as pictures, explanations.json and a page.

    Parameters
    ----------
    bundle
        An open classifier, or the path of a bundle, on any engine.
    images
        Paths of image files.
    progress
        Gets the images that go through the engine.

    Raises
    ------
    UsageError
        The folder exists, or the bundle has no such class.
    DataError
        None of the images can be read.
    BackendError
        The engine failed, or gave no numbers.
    """
    if not isinstance(bundle, Classifier):
        with closing(Classifier.open(bundle, options.session, limits=options.limits)) as opened:
            return explain(opened, images, options, progress=progress)
    if options.label is not None and options.label not in bundle.labels:
        raise UsageError(f"no class {options.label!r} in {bundle.bundle.name}; `edgeclf inspect --labels` lists them")
    folder = Path(options.output) if options.output is not None else Path("explanations", bundle.bundle.name)
    with writing(folder, force=options.force) as draft:
        draft.mkdir()
        found = tuple(_explained(bundle, images, options, draft, progress))
        if all(each.explanation is None for each in found):
            first = f"{found[0].prediction.source}: {found[0].prediction.error}" if found else "none was given"
            raise DataError(f"no image could be read; the first: {first}")
        result = Explained(
            folder,
            bundle.bundle.name,
            bundle.bundle.digest,
            options.masks,
            options.seed,
            dict(bundle.session.facts),
            found,
        )
        _write(result, draft)
    return result


def document_of(found: Explained) -> dict[str, Any]:
    """The content of explanations.json."""
    content = {name: value for name, value in json_ready(found).items() if name != "folder"}
    for each, image in zip(content["images"], found.images, strict=True):
        if image.explanation is not None:
            for name in ("curves", "centre_curves"):
                curves = getattr(image.explanation, name)
                each["explanation"][name] |= {
                    "deletion_auc": curves.deletion_auc,
                    "insertion_auc": curves.insertion_auc,
                }
    return {"schema": SCHEMA, "kind": "explanations", **content}


def _write(found: Explained, folder: Path) -> None:
    from edgeclf.explanation.page import explanations_page

    (folder / REPORT).write_text(json.dumps(document_of(found), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(explanations_page(found, folder), encoding="utf-8")


def _explained(
    classifier: Classifier, images: Sequence[str | Path], options: ExplainOptions, folder: Path, progress: Progress
) -> Iterator[ExplainedImage]:
    """Each image in turn; one picture at a time lies in memory."""
    parts = images_per_map(options.perturbation)
    progress.step("explain", parts * len(images))
    start = time.perf_counter()
    for number, image in enumerate(images, 1):
        yield from _explain_one(classifier, image, options, folder, number, progress)
        if number == 1 and len(images) > 1:  # how long one takes is known now
            left = (time.perf_counter() - start) * (len(images) - 1)
            shown = left if left > _WORTH_SAYING_S else None
            progress.step(f"explain {len(images) - 1} more", parts * (len(images) - 1), seconds_left=shown)


def _explain_one(
    classifier: Classifier, image: str | Path, options: ExplainOptions, folder: Path, number: int, progress: Progress
) -> Iterator[ExplainedImage]:
    """One for each label that is explained, from the same masks."""
    manifest, start = classifier.bundle.manifest, time.perf_counter()
    assert manifest.pixels is not None  # a classifier has them
    try:
        pixels, notes = manifest.pixels.load(image, limits=options.limits)
    except ImageError as error:
        progress.advance(images_per_map(options.perturbation))
        yield ExplainedImage(Prediction(str(image), None, (), str(error)))
        return
    outputs = classifier.outputs(pixels[np.newaxis])[0]
    prediction = classifier.decide(str(image), outputs, notes, 5, None)
    if prediction.error is not None:
        raise DataError(f"{image}: {prediction.error}")
    classes = {manifest.labels.index(label): label for label in _labels_to_explain(prediction, options)}
    advance = _at_most(images_per_map(options.perturbation), progress.advance)
    for place, (explanation, found) in enumerate(
        explain_image(classifier.scores, pixels, classes, options.perturbation, advance)
    ):
        name = f"{number:04d}-{_plain(Path(image).stem)}{f'-{_plain(explanation.label)}' if place else ''}.png"
        _write_picture(folder / name, pixels, found)
        yield ExplainedImage(prediction, explanation, name, round(time.perf_counter() - start, 3))
        start = time.perf_counter()


def _labels_to_explain(prediction: Prediction, options: ExplainOptions) -> tuple[str, ...]:
    if options.label is not None:
        return (options.label,)
    return (prediction.labels or ())[:_MOST_LABELS] or (prediction.scores[0].label,)


def _at_most(parts: int, advance: Callable[[int], None]) -> Callable[[int], None]:
    """`advance` for so many parts in all: how many labels an image has was not known when they were counted."""
    left = parts

    def counted(done: int) -> None:
        nonlocal left
        done = min(done, left)
        left -= done
        advance(done)

    return counted


def _write_picture(path: Path, pixels: NDArray[np.uint8], found: NDArray[np.float64]) -> None:
    path.write_bytes(png(overlay(pixels, found)))


def _plain(stem: str) -> str:
    """A file's name without what some system forbids in names."""
    return re.sub(r"[^\w-]+", "_", stem)[:_LONGEST_NAME]
