"""What `edgeclf predict` does around its predictions: streams, the batch size, what to type next, how it ends."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import typer

from edgeclf.console import say, suggest
from edgeclf.verbs.shared.monitoring import Monitoring, monitored
from edgeclf.verbs.shared.opening import check_threshold, open_bundle, require_no_failed_proof, say_remarks
from edgeclf.verbs.shared.options import need
from edgeclf.wording import count
from edgeclf_runtime.errors import DataError

if TYPE_CHECKING:
    from edgeclf.verbs.shared.prediction_writers import Totals
    from edgeclf_runtime.backends.engine import SessionOptions
    from edgeclf_runtime.bundle.proof import Proof
    from edgeclf_runtime.classifier import Classifier
    from edgeclf_runtime.images.limits import Limits
    from edgeclf_runtime.images.pixels import PixelMode


def fastest_batch_here(classifier: Classifier) -> int:
    """The smallest batch that comes near the most images a second here."""
    from edgeclf_runtime.deploy.batch_size import fastest_batch

    found = fastest_batch(classifier.session, classifier.bundle.manifest)
    say(f"batches of {found}", style="dim")
    return found


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
    at_a_time: int | None,
    **how: Any,
) -> None:
    """Opens the bundle and predicts the frames at `place`."""
    from edgeclf.verbs.shared.predict_stream import StreamOptions, predict_stream
    from edgeclf.video.sources import find_source
    from edgeclf_runtime.classifier import Classifier

    need("video", "av")
    found = find_source(place)
    opened = open_bundle(bundle, options, rebuild_if_stale=rebuild_if_stale)
    with Classifier.open(opened, options, limits=limits, mode=mode) as classifier, ExitStack() as stack:
        check_threshold(how["threshold"], classifier.bundle.manifest.scores)
        proof = require_no_failed_proof(classifier, unproven=unproven)
        say_remarks(classifier.session.facts)
        size = at_a_time or fastest_batch_here(classifier)
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


def close_run(totals: Totals, csv: str | None, *, next_step: str | None, forgiving: bool) -> None:
    """The last lines, what to type next, and exit code 3 for images that can't be read."""
    images = count(totals.images, "image")
    if totals.images > 1 or totals.others:
        say(images, style="dim")
    if csv not in (None, "-"):
        say(f"wrote {csv}", style="dim")
    if next_step is not None:
        suggest(next_step)
    if forgiving or not (totals.errors or totals.empty_folders):
        return
    if totals.images + totals.empty_folders == 1:
        raise typer.Exit(DataError.exit_code)  # its own line is enough
    faults = [f"{totals.errors} of {images} could not be read"] if totals.errors else []
    if totals.empty_folders:
        faults.append(f"{count(totals.empty_folders, 'folder')} held no image")
    raise DataError("; ".join(faults))
