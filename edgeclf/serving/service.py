"""The work of a service, apart from its routes: bodies read within limits, decoded and predicted in threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeclf.explanation.overlay import overlay, png
from edgeclf.explanation.rise import saliency_maps
from edgeclf.serving.batcher import Batcher, engine_fault
from edgeclf.serving.inference_protocol import InferRequest, parse_request, render_response
from edgeclf.serving.limits import Refused, Room, ServiceLimits
from edgeclf.serving.metrics import Metrics
from edgeclf.serving.monitor import ServiceMonitor
from edgeclf.serving.waiting import Waiting
from edgeclf_runtime.bundle.decision import Prediction
from edgeclf_runtime.bundle.manifest import to_input
from edgeclf_runtime.capacity import usable_cores
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.batch_size import choose_batch_size
from edgeclf_runtime.errors import BackendError, BundleError, UsageError
from edgeclf_runtime.images.limits import Limits
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.images.threads import in_each_thread
from edgeclf_runtime.monitoring.collector import Collector

T = TypeVar("T")
Left = Callable[[], Awaitable[object]]  # returns once the client has left; for a request whose body was read
_MOST_AT_ONCE = 4  # requests that a thread takes: with 8 their responses came later, and no more of them a second
_LARGE_BYTES = 1_000_000  # of a body that is taken alone: to decode it takes longer than batches save
_DRAINED_BODIES = 4  # of the largest size: what is read and dropped so that a client gets to see why it was refused


class _Seen(NamedTuple):
    """An image as the graph takes it, (1, …), what is to be said of its file, and how it looks, for the monitor."""

    batch: NDArray[np.generic]
    notes: tuple[str, ...]
    looks: dict[str, float]


class Service:
    """A classifier that serves the requests of one event loop. Nothing that takes long runs in that loop.

    With a `crowd`, the same bundle opened with several streams, requests are decoded and predicted whole by one of as
    many threads: by `crowd` where others are under way, else by `classifier`, which has all cores for one image. A
    thread takes several at once where several wait. Without, images are decoded in threads, and those that wait for
    the engine go through it together.
    """

    def __init__(
        self,
        classifier: Classifier,
        name: str,
        limits: ServiceLimits,
        threshold: float | None = None,
        collector: Collector | None = None,
        crowd: Classifier | None = None,
    ) -> None:
        if classifier.bundle.manifest.pixels is None:
            raise BundleError(f"{classifier.bundle.path}: its manifest does not describe its pixels; export it again")
        self.classifier = classifier
        self.manifest = classifier.bundle.manifest
        self.name = name
        self.limits = limits
        self.threshold = threshold
        self._pixels: Pixels = classifier.bundle.manifest.pixels
        self._image_limits = Limits(limits.max_megapixels, limits.max_megabytes)
        self._room = Room(limits)
        self.refused: str | None = None  # why no batches of requests are predicted, where their outputs differ
        self.monitor = ServiceMonitor(classifier, threshold, collector)
        self.metrics = Metrics({"name": name, "digest": classifier.bundle.digest, "target": self.manifest.target})
        self.metrics.count_predictions(self.monitor.summary)
        self.metrics.waiting.set_function(lambda: self._room.requests)
        self._crowd = crowd
        self._thread_count = usable_cores() if crowd is None else crowd.session.streams
        self._threads = ThreadPoolExecutor(self._thread_count, thread_name_prefix="edgeclf-serve")
        self._waiting = Waiting(
            self._threads, self._thread_count, self._see_and_infer, is_large=lambda body: len(body) > _LARGE_BYTES
        )
        # of its own: a map takes seconds, and would keep one of the threads above from all other requests
        self._map_thread = ThreadPoolExecutor(1, thread_name_prefix="edgeclf-map")
        self._batcher = (
            None
            if crowd is not None
            else Batcher(
                classifier.outputs_of,
                max_batch=limits.max_batch,
                max_delay_s=limits.max_delay_s,
                expected=lambda: self._room.requests,
                observe=self.metrics.count_batch,
            )
        )

    @property
    def batches(self) -> bool:
        """Whether images of several requests go through the engine together."""
        return self._batcher is not None

    @property
    def at_once(self) -> int:
        """How many requests that wait a thread takes at most, where it predicts them whole."""
        return self._waiting.most

    def warm_up(self) -> None:
        """Predicts grey images: the first request is then as fast as the next, and a fault of the engine shows now."""
        grey = np.full((1, *self._pixels.crop_px, 3), 128, dtype=np.uint8)
        for count in (1, self.limits.max_batch):
            self.classifier.outputs(np.repeat(grey, count, axis=0))
        if (crowd := self._crowd) is None:
            return
        together = self.limits.max_batch >= _MOST_AT_ONCE
        for count in (1, 2) if together else (1,):  # 2 before 4: an engine may pad a batch to a size that it has met
            self.in_each_worker(partial(crowd.outputs, np.repeat(grey, count, axis=0)))
        if together:
            chosen = choose_batch_size(crowd.session, crowd.bundle, self, largest=_MOST_AT_ONCE)
            self._waiting.most, self.refused = chosen.size, chosen.refused

    def in_each_worker(self, work: Callable[[], T]) -> list[T]:
        """What `work()` returns in each of the threads that predict; for measuring and warming up."""
        return in_each_thread(self._threads, self._thread_count, work)

    async def infer(
        self, chunks: AsyncIterator[bytes], header_length: str | None, left: Left | None = None
    ) -> tuple[bytes, dict[str, str]]:
        """Body and headers of the response to one request of the Open Inference Protocol."""
        with self._room.body() as take:
            body = await self._read(chunks, take)
            with self._room.place():
                return await self._answer(self._infer(body, header_length), "response", left)

    async def _infer(self, body: bytes, header_length: str | None) -> tuple[bytes, dict[str, str]]:
        if self._batcher is None:
            request, outputs = await self._in_thread(self._parse_and_infer, body, header_length)
        else:
            request = await self._in_thread(self._parse, body, header_length)
            outputs = await asyncio.wrap_future(self._batcher.submit(request.batch))
        return await self._in_thread(self._render, request, outputs)

    def _parse_and_infer(self, body: bytes, header_length: str | None) -> tuple[InferRequest, NDArray[np.float32]]:
        """On all cores where it has them to itself, or brings images for all of them."""
        request = self._parse(body, header_length)
        alone = len(request.batch) > 1 or not self._room.is_shared()
        return request, self._infer_by(self.classifier if alone or self._crowd is None else self._crowd, request.batch)

    def _parse(self, body: bytes, header_length: str | None) -> InferRequest:
        return parse_request(body, header_length, self.manifest, self.limits.max_batch)

    def _render(self, request: InferRequest, outputs: NDArray[np.float32]) -> tuple[bytes, dict[str, str]]:
        self.monitor.count_tensors(request.batch, outputs)
        logits = np.ascontiguousarray(outputs[:, : len(self.manifest.labels)])
        return render_response(self.name, self.manifest, request, logits)

    async def predict(
        self, chunks: AsyncIterator[bytes], source: str, top: int, left: Left | None = None
    ) -> Prediction:
        """The prediction for one image file. Raises ImageError where it is none."""
        with self._room.body() as take:
            body = await self._read(chunks, take)
            with self._room.place():
                return await self._answer(self._predict(body, source, top), "response", left)

    async def _predict(self, body: bytes, source: str, top: int) -> Prediction:
        if self._batcher is None:
            image, outputs = await asyncio.wrap_future(self._waiting.submit(body))
        else:
            image = await self._in_thread(self._see, body)
            outputs = await asyncio.wrap_future(self._batcher.submit(image.batch))
        return self._decide(image, outputs, body, source, top)  # not in a thread: who waits no more is not counted

    def _see_and_infer(self, bodies: list[bytes]) -> Iterator[tuple[_Seen, NDArray[np.float32]] | Exception]:
        """Each image with its outputs, (1, …), in order; an image that can't be read costs the others nothing."""
        images = [self._see_or_error(body) for body in bodies]
        seen = [image for image in images if isinstance(image, _Seen)]
        classifier = self._crowd if self._crowd is not None and self._room.is_shared() else self.classifier
        outputs = iter(self._infer_by(classifier, np.concatenate([image.batch for image in seen])) if seen else ())
        for image in images:
            yield (image, next(outputs)[np.newaxis]) if isinstance(image, _Seen) else image

    def _see_or_error(self, body: bytes) -> _Seen | Exception:
        try:
            return self._see(body)
        except Exception as error:  # whatever it is: it is this request's response
            return error

    def _see(self, body: bytes) -> _Seen:
        pixels, notes = self._load(body)
        return _Seen(to_input(pixels[np.newaxis], self.manifest.normalization), notes, self.monitor.looks_of(pixels))

    def _decide(self, image: _Seen, outputs: NDArray[np.float32], body: bytes, source: str, top: int) -> Prediction:
        prediction = self.classifier.decide(source, outputs[0], image.notes, top, self.threshold)
        if prediction.error is not None:
            raise BackendError(prediction.error)
        self.monitor.count(image.looks, prediction, body)
        return prediction

    async def explain(self, chunks: AsyncIterator[bytes], label: str | None, left: Left | None = None) -> bytes:
        """A PNG of the image with what the prediction rests on; `label`: the class to explain, None: the best.

        One at a time, since each puts hundreds of images through the engine. Raises ImageError where it is no image.
        """
        with self._room.body() as take:
            body = await self._read(chunks, take)
            with self._room.place(), self._room.map() as going_on:
                loop = asyncio.get_running_loop()
                drawn = loop.run_in_executor(self._map_thread, self._explain, body, label, going_on)
                return await self._answer(drawn, "map", left)

    def _explain(self, body: bytes, label: str | None, going_on: Callable[[], None]) -> bytes:
        if label is not None and label not in self.manifest.labels:
            raise UsageError(f"no class {label!r:.100}; GET /v2/models/{self.name} lists them")
        pixels, _ = self._load(body)
        classifier = self._crowd or self.classifier  # of several streams a map takes one
        best = int(classifier.logits(pixels[np.newaxis])[0].argmax())
        number = best if label is None else self.manifest.labels.index(label)
        maps = saliency_maps(classifier.scores, pixels, (number,), advance=lambda images: going_on())
        return png(overlay(pixels, maps[0]))

    def _load(self, body: bytes) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        return self._pixels.load(body, limits=self._image_limits)

    def _infer_by(self, classifier: Classifier, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        start = time.perf_counter()
        try:
            outputs = classifier.outputs_of(batch)
        except Exception as error:  # whatever an engine raises: it is the response, and no end
            raise engine_fault(error) from error
        self.metrics.count_batch(len(outputs), time.perf_counter() - start)
        return outputs

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)

    async def _answer(self, work: Awaitable[T], what: str, left: Left | None) -> T:
        """What `work` gives, in time, to a client that waits for it. Raises Refused, and what is not begun never is."""
        if left is None:
            return await self._in_time(work, what, 504)
        going_on, gone = asyncio.ensure_future(work), asyncio.ensure_future(left())
        try:
            first = asyncio.wait({going_on, gone}, return_when=asyncio.FIRST_COMPLETED)
            await self._in_time(first, what, 504)
            if not going_on.done():
                raise Refused(499, "the client left")
            return going_on.result()
        finally:
            going_on.cancel()
            gone.cancel()

    async def _in_time(self, work: Awaitable[T], what: str, status: int) -> T:
        try:
            return await asyncio.wait_for(work, self.limits.timeout_s)
        except asyncio.TimeoutError:  # the builtin TimeoutError from Python 3.11 on
            raise Refused(status, f"no {what} within {self.limits.timeout_s:g} s", closes=status == 408) from None

    async def _read(self, chunks: AsyncIterator[bytes], take: Callable[[int], None]) -> bytes:
        return await self._in_time(self._read_all(chunks, take), "whole body", 408)

    async def _read_all(self, chunks: AsyncIterator[bytes], take: Callable[[int], None]) -> bytes:
        kept: list[bytes] = []  # one growing array per body would leave the heap in holes
        found, refused = 0, None
        async for chunk in chunks:
            found += len(chunk)
            if refused is None:
                try:
                    take(len(chunk))
                    kept.append(chunk)
                except Refused as error:
                    refused = error
                    kept.clear()
            elif found > _DRAINED_BODIES * self.limits.body_bytes:
                break
        if refused is not None:
            raise refused
        return b"".join(kept)

    def close(self) -> None:
        """Ends the threads; the classifiers are the caller's."""
        if self._batcher is not None:
            self._batcher.close()
        self.monitor.close()
        for threads in (self._map_thread, self._threads):
            threads.shutdown(cancel_futures=True)
