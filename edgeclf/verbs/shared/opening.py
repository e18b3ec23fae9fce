"""A bundle as the command line opens it: options, signature, a stale engine, and a proof that failed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf_runtime.errors import BackendError, UsageError

if TYPE_CHECKING:
    from edgeclf_runtime.backends.engine import SessionOptions
    from edgeclf_runtime.bundle.bundle import Bundle
    from edgeclf_runtime.bundle.proof import Proof
    from edgeclf_runtime.deploy.machine_proofs import Opened
    from edgeclf_runtime.deploy.signatures import Signature

MANY_IMAGES = 16  # from so many images on, an image for each core is faster


def session_options(
    device: str,
    threads: int | None,
    compute_precision: str | None,
    *,
    streams: int | None = None,
    cache: Path | None = None,
) -> SessionOptions:
    """The runtime's options. Raises BackendError on an old JetPack."""
    from edgeclf_runtime.backends.engine import SessionOptions
    from edgeclf_runtime.machine.facts import jetson_refusal

    if refusal := jetson_refusal():
        raise BackendError(refusal)
    return SessionOptions(device.lower(), threads, compute_precision, streams=streams, cache=cache)


def for_many(options: SessionOptions, images: int | None) -> SessionOptions:
    """The options for so many images (None: nobody knows): from some number on several are predicted at once."""
    from dataclasses import replace

    return options if images is not None and images < MANY_IMAGES else replace(options, hint="throughput")


def check_threshold(threshold: float | None, scores: str) -> None:
    """Raises UsageError for what is no probability; margins may be any number."""
    import math

    if threshold is not None and (not math.isfinite(threshold) or not (scores == "margin" or 0 <= threshold <= 1)):
        raise UsageError(f"--threshold is a probability from 0 to 1, found {threshold:g}")


def open_signed(path: str, key: Path | None) -> tuple[Bundle, Signature | None]:
    """The bundle at `path` and, where there is a `key`, its signature, checked before any other file is read."""
    from edgeclf.console import say
    from edgeclf_runtime.bundle.bundle import Bundle
    from edgeclf_runtime.deploy.signatures import check_signature, read_public_key

    opened = Bundle.open(path)
    if key is None:
        return opened, None
    signature = check_signature(opened, read_public_key(key))
    say(f"signed with the key {signature.key_id} ({signature.path})", style="dim")
    return opened, signature


def say_loudly(sentence: str) -> None:
    """A line that nobody may overlook, such as that a stale engine is replaced."""
    from edgeclf.console import say

    say(sentence, style="bold yellow")


def open_bundle(path: str | Bundle, options: SessionOptions, *, rebuild_if_stale: bool) -> Bundle:
    """The bundle at `path`, or with `rebuild_if_stale` the one that takes a stale engine's place, which is reported."""
    from edgeclf_runtime.bundle.bundle import Bundle

    opened = Bundle.open(path)
    if not rebuild_if_stale:
        return opened
    from edgeclf.console import Bars
    from edgeclf_runtime.deploy import build

    return build.rebuild_if_stale(opened, options, Bars())


def require_no_failed_proof(opened: Opened, *, unproven: bool) -> Proof | None:
    """This machine's newest proof, None where there is none; raises GateError where it failed, unless `unproven`."""
    from edgeclf.console import say
    from edgeclf_runtime.deploy import machine_proofs as proofs

    def warn(sentence: str) -> None:
        say(sentence, style="bold red" if sentence.startswith("FAILED") else "bold yellow")

    return proofs.require_no_failed_proof(opened, warn, unproven=unproven)


def say_remarks(engine_info: Mapping[str, str]) -> None:
    """What a session's engine remarks about this machine, if it does."""
    from edgeclf.console import say

    if remarks := engine_info.get("remarks"):
        say(f"note: {remarks}", style="yellow")
