"""Dynamic batching: requests that come one by one go through the engine together, in a thread of its own."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.errors import BackendError

Infer = Callable[[NDArray[np.generic]], NDArray[np.float32]]
Observe = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class _Job:
    """The images of one request, when they came, and where their outputs go."""

    images: NDArray[np.generic]
    outputs_later: Future[NDArray[np.float32]]
    arrived: float = field(default_factory=time.monotonic)


def engine_fault(error: Exception) -> BackendError:
    """What a client is told of whatever an engine raised."""
    fault = BackendError(f"the engine failed: {type(error).__name__}: {error}")
    fault.__cause__ = error
    return fault


class Batcher:
    """Collects images until `max_batch` are there or the first has waited `max_delay_s`, then calls `infer` once.

    A request's images stay together and keep their order. While the engine works the next ones are collected, so that
    under load a batch is full without any waiting; and nobody waits where no other request is under way, of which
    `expected` knows the number, those that wait here included. `observe` is called for each batch: images, and seconds
    of the engine.
    """

    def __init__(
        self, infer: Infer, *, max_batch: int, max_delay_s: float, expected: Callable[[], int], observe: Observe
    ) -> None:
        self._infer = infer
        self._max_batch = max_batch
        self._max_delay_s = max_delay_s
        self._expected = expected
        self._observe = observe
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()  # None ends the thread
        self._thread = threading.Thread(target=self._work, name="edgeclf-batcher", daemon=True)
        self._thread.start()

    def submit(self, images: NDArray[np.generic]) -> Future[NDArray[np.float32]]:
        """(N, …) of the graph's input -> (N, …) of its output, later. A future cancelled in time costs nothing."""
        job = _Job(images, Future())
        self._jobs.put(job)
        return job.outputs_later

    def close(self) -> None:
        """Finishes what was submitted, then ends."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        following = self._jobs.get()
        while following is not None:
            jobs, following, ended = self._collect(following)
            self._infer_together(jobs)
            if following is None and not ended:
                following = self._jobs.get()

    def _collect(self, first: _Job) -> tuple[list[_Job], _Job | None, bool]:
        """The jobs of one batch, the job that no longer fits into it, and whether the end was met."""
        jobs, images = [first], len(first.images)
        patience_ends = first.arrived + self._max_delay_s
        while images < self._max_batch:
            patience_s = patience_ends - time.monotonic() if self._expected() > len(jobs) else 0.0
            try:
                job = self._jobs.get(timeout=max(0.0, patience_s))
            except queue.Empty:
                break
            if job is None:
                return jobs, None, True
            if images + len(job.images) > self._max_batch or job.images.shape[1:] != first.images.shape[1:]:
                return jobs, job, False
            jobs.append(job)
            images += len(job.images)
        return jobs, None, False

    def _infer_together(self, jobs: list[_Job]) -> None:
        wanted = [job for job in jobs if job.outputs_later.set_running_or_notify_cancel()]
        if not wanted:
            return
        start = time.perf_counter()
        try:
            outputs = self._infer(np.concatenate([job.images for job in wanted]))
        except Exception as error:  # whatever an engine raises: those who wait must get it, and the others go on
            fault = engine_fault(error)
            for job in wanted:
                job.outputs_later.set_exception(fault)
            return
        self._observe(len(outputs), time.perf_counter() - start)
        place = 0
        for job in wanted:
            job.outputs_later.set_result(outputs[place : place + len(job.images)])
            place += len(job.images)
