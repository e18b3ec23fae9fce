"""What `edgeclf predict` does around its predictions: streams, the batch size, what to type next, how it ends."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal

from edgeclf.console import say, suggest
from edgeclf.verbs.shared.monitoring import Monitoring, monitored
from edgeclf.verbs.shared.opening import (
    MANY_IMAGES,
    check_threshold,
    open_bundle,
    require_no_failed_proof,
    say_remarks,
)
from edgeclf.wording import count
from edgeclf_runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from edgeclf.verbs.shared.predicting.writers import Totals
    from edgeclf_runtime.backends.engine import SessionOptions
    from edgeclf_runtime.bundle.proof import Proof
    from edgeclf_runtime.classifier import Classifier
    from edgeclf_runtime.images.limits import Limits
    from edgeclf_runtime.images.pixels import PixelMode


GivenBatchSize = int | Literal["auto"] | None


def parse_batch_size(given: str | None) -> GivenBatchSize:
    """--batch-size as a number or "auto"; None: not given. Raises UsageError."""
    if given is None:
        return None
    if given == "auto":
        return "auto"
    if not (given.isascii() and given.isdecimal() and int(given)):
        raise UsageError(f"--batch-size is a number from 1, or auto, found {given!r}")
    return int(given)


def batch_size_here(classifier: Classifier, given: GivenBatchSize, images: int | None) -> int:
    """What was given, or what is fastest for so many images (None: nobody knows)."""
    if isinstance(given, int):
        return given
    # to wait for more images would delay those of a pipe or a watched folder; few are done before a trial ends
    if given is None and (images is None or images < MANY_IMAGES):
        return 1
    chosen = classifier.choose_batch_size(images)
    if chosen.refused is not None:
        say(f"{chosen.refused}, so they stay at {chosen.size}", style="dim")
    elif chosen.size > 1:
        say(f"batches of {chosen.size}: {chosen.gain:.2f} times the images a second of one at a time", style="dim")
    return chosen.size


def open_and_predict_stream(
    bundle: str,
    place: str,
    frames: str | None,
    options: SessionOptions,
    limits: Limits,
    *,
    mode: PixelMode,
    rebuild_if_stale: bool,
    unproven: bool,
    kept: Monitoring,
    at_a_time: GivenBatchSize,
    **how: Any,
) -> None:
    """Opens the bundle and predicts the frames at `place`."""
    from edgeclf.verbs.shared.options import need
    from edgeclf.verbs.shared.predicting.stream import StreamOptions, predict_stream
    from edgeclf.video.sources import find_source
    from edgeclf_runtime.classifier import Classifier

    need("video", "av")
    found = find_source(place)
    opened = open_bundle(bundle, options, rebuild_if_stale=rebuild_if_stale)
    with Classifier.open(opened, options, limits=limits, mode=mode) as classifier, ExitStack() as stack:
        check_threshold(how["threshold"], classifier.bundle.manifest.scores)
        proof = require_no_failed_proof(classifier, unproven=unproven)
        say_remarks(classifier.session.facts)
        size = batch_size_here(classifier, at_a_time, None)
        newest = found.live if frames is None else frames == "newest"
        monitor = stack.enter_context(monitored(classifier, kept, options, limits, how["threshold"]))
        predict_stream(classifier, found, StreamOptions(newest=newest, batch_size=size, **how), monitor)
        next_step = next_step_of(classifier, proof)
    if next_step is not None:
        suggest(next_step)


def next_step_of(classifier: Classifier, proof: Proof | None) -> str | None:
    """What makes the proof of this machine, engine and pixel mode where it is missing or failed."""
    from edgeclf_runtime.deploy.machine_proofs import verify_command

    if proof is not None and proof.verdict != "fail":
        return None
    why = "not yet proven on this machine" if proof is None else "its proof on this machine failed"
    return f"{verify_command(classifier)}   ({why})"


def close_run(totals: Totals, csv: str | None, *, next_step: str | None, forgiving: bool) -> int:
    """The last lines and what to type next; the exit code, or DataError, for images that can't be read."""
    images = count(totals.images, "image")
    if totals.images > 1 or totals.others:
        say(images, style="dim")
    if csv not in (None, "-"):
        say(f"wrote {csv}", style="dim")
    if next_step is not None:
        suggest(next_step)
    if forgiving or not (totals.errors or totals.empty_folders):
        return 0
    if totals.images + totals.empty_folders == 1:
        return DataError.exit_code  # its own line is enough
    faults = [f"{totals.errors} of {images} could not be read"] if totals.errors else []
    if totals.empty_folders:
        faults.append(f"{count(totals.empty_folders, 'folder')} held no image")
    raise DataError("; ".join(faults))
