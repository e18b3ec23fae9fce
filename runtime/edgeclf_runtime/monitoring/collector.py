"""Collects images worth a label on the device: few, each once, without metadata, with the prediction beside each."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import parse_json, to_json
from edgeclf_runtime.bundle.decision import UNKNOWN, Prediction
from edgeclf_runtime.errors import DataError, ImageError, UsageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.likeness import KnownImages, Likeness, describe
from edgeclf_runtime.images.limits import Limits
from edgeclf_runtime.images.memory_budget import BUDGET
from edgeclf_runtime.images.sources import ImageSource, read_source
from edgeclf_runtime.machine.facts import now_utc
from edgeclf_runtime.monitoring.worth import Why, why_worth_a_label

SCHEMA = 1
_JPEG, _QUALITY = b"\xff\xd8\xff", 95
_RETRY_AFTER_S = 60.0
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class CollectLimits:
    """How much may lie in the folder in all, what lay there before included."""

    images: int = 1000
    megabytes: float = 500.0


class Collector:
    """Takes predictions with their images and keeps those worth a label. Several threads may offer.

    Parameters
    ----------
    folder
        Made where it is missing; what lies there from before counts.
    threshold
        The score that is in force in place of the bundle's thresholds; None: those.
    other
        Another bundle's prediction for the same image: where it differs, the image is kept.
    report
        Receives a sentence when collecting ends or stops: the disk is full, the limit is reached. Each once.

    Raises
    ------
    DataError
        The folder can't be made or written.
    UsageError
        The bundle takes images of more than 8 bits, which would lose them.
    """

    def __init__(
        self,
        folder: Path,
        bundle: Bundle,
        *,
        limits: CollectLimits = CollectLimits(),
        image_limits: Limits = Limits(),
        threshold: float | None = None,
        other: Callable[[ImageSource], Prediction] | None = None,
        report: Callable[[str], object],
    ) -> None:
        pixels = bundle.manifest.pixels
        if pixels is None or pixels.value_range is not None:
            raise UsageError("images of more than 8 bits can't be collected: they would be stored with 8")
        self._folder, self._manifest, self._digest = folder, bundle.manifest, bundle.digest
        self._limits, self._image_limits, self._background = limits, image_limits, pixels.background
        self._threshold, self._other, self._report = threshold, other, report
        self._lock = threading.Lock()
        self._known = KnownImages()
        self._reported: set[str] = set()
        self._rests_until = 0.0
        self.kept = self.alike = self._there = self._bytes = 0
        self._begin()

    def _begin(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            entries = [entry for entry in os.scandir(self._folder) if entry.is_file()]
            self._bytes = sum(entry.stat().st_size for entry in entries)
        except OSError as error:
            raise DataError(f"--collect: {self._folder} can't be written: {error.strerror}") from error
        self._probe()
        names = {entry.name for entry in entries}
        beside = [name for name in names if name.endswith(".json")]
        self._there = sum(Path(name).suffix in (".jpg", ".png") for name in names)
        for likeness in filter(None, (_likeness_in(self._folder / name) for name in beside)):
            self._known.add(likeness)

    def _probe(self) -> None:
        """A folder that no file can be written into is a slip; a full disk is none: a device has to start with it."""
        probe = self._folder / f".{os.getpid()}.partial"
        try:
            probe.touch()
            probe.unlink()
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise DataError(f"--collect: {self._folder} can't be written: {error.strerror}") from error
            self._rest(error)

    def offer(self, prediction: Prediction, source: ImageSource) -> None:
        """Keeps the image of a prediction where it is worth a label. Raises nothing for a disk that is full."""
        if not prediction.scores or self._is_full() or time.monotonic() < self._rests_until:
            return
        why = why_worth_a_label(prediction, self._manifest, self._threshold)
        other = None
        if self._other is not None:
            other = self._other(source)
            if other.error is None and _differ(prediction, other):
                why = why or "bundles differ"
        if why is not None:
            with self._lock:
                self._keep(prediction, source, why, other)

    def _is_full(self) -> bool:
        if self._there >= self._limits.images:
            self._say(f"{self._limits.images:,} images lie in {self._folder}, so no more are collected")
        elif self._bytes >= 1e6 * self._limits.megabytes:
            self._say(f"{self._limits.megabytes:g} MB lie in {self._folder}, so no more images are collected")
        else:
            return False
        return True

    def _keep(self, prediction: Prediction, source: ImageSource, why: Why, other: Prediction | None) -> None:
        try:
            image, is_jpeg = self._decode(source)
        except ImageError:  # gone, or replaced, since it was predicted
            return
        likeness = describe(image)
        if self._known.find(likeness) is not None:
            self.alike += 1
            return
        data = _encoded(image, "JPEG" if is_jpeg else "PNG")
        about = self._about(prediction, why, other, likeness)
        if self._bytes + len(data) + len(about) > 1e6 * self._limits.megabytes:
            self._bytes = math.ceil(
                1e6 * self._limits.megabytes
            )  # the next may be smaller, but it has to end somewhere
            self._is_full()
            return
        moment = now_utc().replace(":", "").replace("-", "")[:15]
        name = f"{moment}-{hashlib.sha256(data).hexdigest()[:8]}"
        # the image comes last: where power is cut between the two, no image lacks its prediction
        if self._write({f"{name}.json": about, f"{name}{'.jpg' if is_jpeg else '.png'}": data}):
            self._known.add(likeness)
            self.kept += 1
            self._there += 1
            self._bytes += len(data) + len(about)

    def _decode(self, source: ImageSource) -> tuple[Image.Image, bool]:
        """The image, upright, and whether it was compressed with losses: a frame of a video was."""
        if isinstance(source, (str, os.PathLike)):
            source = read_source(source, self._image_limits)
        is_jpeg = source.startswith(_JPEG) if isinstance(source, bytes) else True
        with BUDGET.share() as reserve:
            image = decode(source, background=self._background, limits=self._image_limits, reserve=reserve).image
        return image, is_jpeg

    def _about(self, prediction: Prediction, why: Why, other: Prediction | None, likeness: Likeness) -> bytes:
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "collected_utc": now_utc(),
            "why": why,
            "bundle": self._digest,
            "prediction": _shown(prediction),
            "other_prediction": None if other is None else _shown(other),
            "likeness": {"bits": likeness.bits, "thumbnail": likeness.thumbnail.hex()},
        }
        return (json.dumps(content, ensure_ascii=True) + "\n").encode()

    def _write(self, files: dict[str, bytes]) -> bool:
        """Whether all of them could be written; else none of them stays, and it is tried again in a minute."""
        done = []
        try:
            for name, data in files.items():
                draft, place = self._folder / f".{name}.partial", self._folder / name
                done += [draft, place]
                draft.write_bytes(data)
                os.replace(draft, place)
        except OSError as error:
            for path in done:
                with contextlib.suppress(OSError):  # a disk that became read-only lets nothing be removed
                    path.unlink(missing_ok=True)
            self._rest(error)
            return False
        return True

    def _rest(self, error: OSError) -> None:
        self._rests_until = time.monotonic() + _RETRY_AFTER_S
        self._say(f"{self._folder} can't be written ({error.strerror}), so no images are collected; predictions go on")

    def _say(self, sentence: str) -> None:
        if sentence not in self._reported:
            self._reported.add(sentence)
            self._report(f"--collect: {sentence}")


def _encoded(image: Image.Image, kind: str) -> bytes:
    """A file of the pixels alone: where and when a photograph was taken stays on the device."""
    bare = Image.frombytes("RGB", image.size, image.tobytes())
    file = io.BytesIO()
    bare.save(file, kind, **({"quality": _QUALITY, "subsampling": 0} if kind == "JPEG" else {"optimize": False}))
    return file.getvalue()


def _differ(one: Prediction, other: Prediction) -> bool:
    """Whether the labels are others; of several it does not matter which is the surest."""
    return (one.label, set(one.labels or ())) != (other.label, set(other.labels or ()))


def _shown(prediction: Prediction) -> dict[str, Any]:
    """The prediction, with the last part of its source's path: folders may hold names of people."""
    return {**to_json(prediction), "source": Path(prediction.source).name, "unknown": prediction.label == UNKNOWN}


def _likeness_in(path: Path) -> Likeness | None:
    """What an image looks like that was collected before; None where it is gone, or the file beside it is damaged."""
    if not any(path.with_suffix(suffix).exists() for suffix in (".jpg", ".png")):
        return None
    try:
        found = parse_json(path.read_bytes())["likeness"]
        thumbnail = bytes.fromhex(found["thumbnail"])
        return Likeness(int(found["bits"]), thumbnail) if len(thumbnail) == 256 else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
