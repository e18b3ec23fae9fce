"""edgeclf: `Classifier.predict` of files, tuned for throughput, at batch 1 or at the batch size that it chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeclf_runtime import Classifier, SessionOptions


def open_peer(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    options = SessionOptions(
        hint="throughput", threads=settings["threads"], compute_precision=settings["compute_precision"]
    )
    classifier = Classifier.open(settings["bundle"], options, mode=settings["pixels"])
    batch = settings["batch"] if settings["batch"] != "auto" else classifier.choose_batch_size().size
    places = {label: place for place, label in enumerate(classifier.labels)}

    def predict(files: Sequence[str]) -> list[int]:
        return [places[each.scores[0].label] for each in classifier.predict(files, batch_size=batch, top=1)]

    return predict, {**classifier.facts, "precision": classifier.session.compute_precision, "batch": batch}
