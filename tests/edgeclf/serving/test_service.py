"""A service from within: places, bytes and time are bounded whatever the engine does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray

from edgeclf.serving.limits import Refused, Room, ServiceLimits
from edgeclf.serving.service import Service
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.batch_size import BatchChoice
from edgeclf_runtime.errors import BackendError, ImageError, UsageError

pytest.importorskip("prometheus_client")
BODY = tiny.encoded(tiny.images(1)[0], "PNG")
Make = Callable[..., Service]


class Gate:
    """Stands before the engine of a classifier."""

    streams = 2

    def __init__(self) -> None:
        self.go = threading.Event()
        self.outputs: Any = None
        self.batches: list[int] = []

    def __call__(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        self.batches.append(len(batch))
        assert self.go.wait(30)
        if isinstance(self.outputs, Exception):
            raise self.outputs
        return np.full((len(batch), 3), self.outputs, dtype=np.float32)

    def close(self) -> None:
        self.go.set()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture(params=["batched", "streams"])
def make(bundle: Bundle, gate: Gate, request: pytest.FixtureRequest) -> Iterator[Make]:
    """A function (limits) -> a service that batches what waits, and one that predicts each request in a thread."""
    made: list[Service] = []
    with Classifier.open(bundle) as classifier, Classifier.open(bundle) as crowd:

        def build(**limits: Any) -> Service:
            classifier.session = crowd.session = gate  # type: ignore[assignment]
            streams = {"crowd": crowd} if request.param == "streams" else {}
            made.append(Service(classifier, "tiny", ServiceLimits(**limits), **streams))
            return made[-1]

        yield build
        gate.go.set()
        for service in made:
            service.close()


async def sent(*chunks: bytes, then_wait_s: float = 0.0) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    await asyncio.sleep(then_wait_s)


async def refusal(work: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as refused:
        await work
    return refused.value


def test_the_request_beyond_the_queue_gets_503_and_those_within_their_response(make: Make, gate: Gate) -> None:
    gate.outputs = 1.0

    async def crowd() -> None:
        service = make(max_queue=3)
        waiting = [asyncio.ensure_future(service.predict(sent(BODY), str(number), 1)) for number in range(3)]
        await asyncio.sleep(0.2)
        refused = await refusal(service.predict(sent(BODY), "late", 1))
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        gate.go.set()
        assert [prediction.source for prediction in await asyncio.gather(*waiting)] == ["0", "1", "2"]
        assert (await service.predict(sent(BODY), "later", 1)).source == "later"

    asyncio.run(crowd())


def test_a_prediction_that_takes_too_long_is_given_up_and_its_place_is_free(
    make: Make, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.outputs = 1.0
    counted = []

    async def impatient() -> None:
        service = make(max_queue=1, timeout_s=0.2)
        monkeypatch.setattr(service.monitor, "count", lambda looks, found, body: counted.append(found.source))
        assert (await refusal(service.predict(sent(BODY), "slow", 1))).status == 504
        gate.go.set()
        assert (await service.predict(sent(BODY), "next", 1)).source == "next"
        service.close()  # what still runs ends before it returns
        assert counted == ["next"]

    asyncio.run(impatient())


@pytest.mark.parametrize("make", ["streams"], indirect=True)
def test_a_map_leaves_all_threads_to_the_predictions(make: Make, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    gate.outputs, map_may_end = 1.0, threading.Event()
    gate.go.set()
    together = threading.Barrier(2)

    def endless(*arguments: Any, **options: Any) -> list[NDArray[np.float32]]:
        assert map_may_end.wait(30)
        return [np.zeros((tiny.SIDE, tiny.SIDE), np.float32)]

    async def crowded() -> None:
        service = make()
        mapped = asyncio.ensure_future(service.explain(sent(BODY), None))
        await asyncio.sleep(0.1)
        see = service._see
        monkeypatch.setattr(service, "_see", lambda body: (together.wait(10), see(body))[1])
        found = await asyncio.gather(*(service.predict(sent(BODY), str(number), 1) for number in range(2)))
        assert [prediction.source for prediction in found] == ["0", "1"] and not mapped.done()
        map_may_end.set()
        assert (await mapped).startswith(b"\x89PNG")

    monkeypatch.setattr("edgeclf.serving.service.saliency_maps", endless)
    asyncio.run(crowded())


def test_a_body_that_takes_too_long_is_given_up(make: Make) -> None:
    async def slow() -> None:
        refused = await refusal(make(timeout_s=0.2).predict(sent(BODY[:50], then_wait_s=30), "slow", 1))
        assert (refused.status, refused.headers) == (408, {"Connection": "close"})

    asyncio.run(slow())


def test_a_body_beyond_the_limit_is_read_to_a_bound_and_not_kept(make: Make) -> None:
    async def large() -> None:
        service = make(max_megabytes=0.01)
        taken = []

        async def endless() -> AsyncIterator[bytes]:
            while True:
                taken.append(1)
                yield bytes(1000)

        refused = await refusal(service.predict(endless(), "large", 1))
        assert (refused.status, refused.headers) == (413, {"Connection": "close"})
        assert len(taken) == 41
        assert service._room.bytes == 0

    asyncio.run(large())


def test_bodies_of_all_requests_together_are_bounded() -> None:
    room = Room(ServiceLimits(max_megabytes=1))
    with ExitStack() as bodies:
        for _ in range(16):
            bodies.enter_context(room.body())(1_000_000)
        with room.body() as more, pytest.raises(Refused) as refused:
            more(1)
        assert (refused.value.status, room.bytes) == (503, 16_000_000)
    with room.body() as take:
        take(1_000_000)
        with pytest.raises(Refused) as refused:
            take(1)
        assert (refused.value.status, room.bytes) == (413, 0)


def test_a_service_is_shared_a_while_longer_than_two_requests_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    room = Room(ServiceLimits())
    with room.place():
        assert not room.is_shared()
        with room.place():
            now += 60
            assert room.is_shared()
        now += 0.05  # the other client reads its response
        assert room.is_shared()
        now += 0.1
        assert not room.is_shared()


def test_a_body_that_finds_no_room_is_read_to_its_end_and_not_kept(make: Make) -> None:
    async def crowded() -> None:
        service = make(max_megabytes=0.01)
        service._room.bytes = 160_000
        rest = sent(bytes(1000), bytes(1000), bytes(1000))
        assert (
            await refusal(service.predict(rest, "late", 1))
        ).status == 503  # a client in the midst of it sees no 503
        assert service._room.bytes == 160_000
        assert [chunk async for chunk in rest] == []

    asyncio.run(crowded())


@pytest.mark.parametrize("outputs", [RuntimeError("no luck"), MemoryError(), float("nan")])
def test_a_fault_of_the_engine_is_one_response_and_not_the_end(outputs: Any, make: Make, gate: Gate) -> None:
    gate.outputs = outputs
    gate.go.set()

    async def unlucky() -> None:
        service = make()
        with pytest.raises(BackendError):
            await service.predict(sent(BODY), "unlucky", 1)
        gate.outputs = 1.0
        assert (await service.predict(sent(BODY), "next", 1)).label == tiny.LABELS[0]

    asyncio.run(unlucky())


def test_a_request_alone_has_all_cores_and_several_a_stream_each(bundle: Bundle) -> None:
    cores, stream = Gate(), Gate()
    cores.outputs, stream.outputs = (9.0, 0.0, 0.0), (0.0, 9.0, 0.0)
    with Classifier.open(bundle) as classifier, Classifier.open(bundle) as crowd:
        classifier.session, crowd.session = cores, stream  # type: ignore[assignment]
        service = Service(classifier, "tiny", ServiceLimits(), crowd=crowd)

        async def answers(requests: int) -> list[str | None]:
            found = await asyncio.gather(*(service.predict(sent(BODY), "x", 1) for _ in range(requests)))
            return [each.label for each in found]

        async def load() -> None:
            cores.go.set()
            assert await answers(1) == [tiny.LABELS[0]]
            waiting = [asyncio.ensure_future(service.predict(sent(BODY), "x", 1)) for _ in range(4)]
            await asyncio.sleep(0.2)  # two of them are before the engine
            stream.go.set()
            first, second, *rest = [each.label for each in await asyncio.gather(*waiting)]
            assert {first, second} == {tiny.LABELS[1]} and len(rest) == 2
            await asyncio.sleep(0.2)  # no client sends its next request
            assert await answers(1) == [tiny.LABELS[0]]

        try:
            asyncio.run(load())
        finally:
            service.close()


def test_clients_that_leave_free_their_place_and_what_was_not_begun_for_them_never_is(make: Make, gate: Gate) -> None:
    gate.outputs = 1.0

    async def leaving() -> None:
        service, leave = make(max_queue=4), asyncio.Event()
        held = []
        for _ in range(2):
            held.append(asyncio.ensure_future(service.predict(sent(BODY), "held", 1)))
            await asyncio.sleep(0.1)
        waiting = [refusal(service.predict(sent(BODY), "left", 1, leave.wait)) for _ in range(2)]
        left = asyncio.gather(*waiting)
        await asyncio.sleep(0.1)
        leave.set()
        assert [each.status for each in await left] == [499, 499]
        assert service._room.requests == 2
        later = asyncio.ensure_future(service.predict(sent(BODY), "later", 1, asyncio.Event().wait))
        await asyncio.sleep(0.1)
        gate.go.set()
        assert [each.source for each in await asyncio.gather(*held, later)] == ["held", "held", "later"]
        assert sum(gate.batches) == 3

    asyncio.run(leaving())


@pytest.mark.parametrize("make", ["streams"], indirect=True)
def test_requests_that_wait_go_through_together_and_one_that_is_no_image_costs_the_others_nothing(
    make: Make, gate: Gate
) -> None:
    gate.outputs = 1.0

    async def crowded() -> None:
        service = make()
        service._waiting.most = 4
        held = []
        for _ in range(2):
            held.append(asyncio.ensure_future(service.predict(sent(BODY), "held", 1)))
            await asyncio.sleep(0.1)  # now a thread is before the engine
        bodies = {"first": BODY, "odd": b"no image", "second": BODY, "third": BODY, "fourth": BODY}
        waiting = [service.predict(sent(body), name, 1) for name, body in bodies.items()]
        found = asyncio.gather(*held, *waiting, return_exceptions=True)
        await asyncio.sleep(0.2)
        gate.go.set()
        _, _, first, odd, *rest = await found
        assert [each.source for each in (first, *rest)] == ["first", "second", "third", "fourth"]
        assert isinstance(odd, ImageError) and sorted(gate.batches) == [1, 1, 1, 3]

    asyncio.run(crowded())


@pytest.mark.parametrize(("max_batch", "most"), [(8, 4), (3, 1)])
def test_threads_take_several_requests_where_that_is_not_slower(
    bundle: Bundle, max_batch: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = []

    def choose(*_: Any, largest: int) -> BatchChoice:
        chosen.append(largest)
        return BatchChoice(4 if largest == 4 else 1)

    monkeypatch.setattr("edgeclf.serving.service.choose_batch_size", choose)
    options = SessionOptions(hint="throughput", streams=1)
    with Classifier.open(bundle) as classifier, Classifier.open(bundle, options) as crowd:
        service = Service(classifier, "tiny", ServiceLimits(max_batch=max_batch), crowd=crowd)
        service.warm_up()
        service.close()
    assert (service.at_once, chosen) == (most, [4] if most == 4 else [])


def test_images_have_limits_of_their_own(make: Make) -> None:
    async def large() -> None:
        with pytest.raises(ImageError, match="megapixels, over the limit"):
            await make(max_megapixels=0.001).predict(sent(BODY), "large", 1)

    asyncio.run(large())


@pytest.mark.parametrize(
    "limits",
    [{"max_batch": 0}, {"max_queue": 0}, {"timeout_s": 0}, {"timeout_s": float("inf")}, {"max_delay_s": -1}],
)
def test_invalid_limits_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ServiceLimits(**limits)
