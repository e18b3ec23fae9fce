"""The parts of edgeclf alone, with all threads: `pixels` (files to the network's input), `engine` (input to logits)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime import Bundle, SessionOptions
from edgeclf_runtime.session import open_session


def open_peer(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    bundle = Bundle.open(settings["bundle"])
    contract, threads = bundle.manifest.pixels, settings["threads"]
    assert contract is not None  # bundles of images have one
    workers = ThreadPoolExecutor(threads)

    def pixels(file: str) -> NDArray[np.uint8]:
        return contract.load(file, mode=settings["pixels"])[0]

    if settings["part"] == "pixels":
        return lambda files: list(workers.map(pixels, files)) and [], {}
    options = SessionOptions(hint="throughput", threads=threads, compute_precision=settings["compute_precision"])
    session, batch, loaded = open_session(bundle, options), settings["batch"], dict[str, NDArray[np.uint8]]()

    def engine(files: Sequence[str]) -> list[int]:
        for file in files:
            if file not in loaded:  # once, while warming up
                loaded[file] = pixels(file)
        batches = [np.stack([loaded[file] for file in files[at : at + batch]]) for at in range(0, len(files), batch)]
        return [int(row.argmax()) for logits in workers.map(session, batches) for row in logits]

    return engine, {**session.facts, "precision": session.compute_precision}
