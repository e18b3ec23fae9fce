"""A service under load: good, malformed, oversized, slow and concurrent requests; nothing lost, memory flat."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tiny

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.classifier import Classifier

for module in ("starlette", "uvicorn", "httptools", "prometheus_client"):
    pytest.importorskip(module)
Start = Callable[..., Any]
LIMITS = ("--max-megabytes", "0.2", "--max-queue", "64", "--timeout", "20", "--max-batch", "8")


class Load:
    """Kinds of requests, each with the check of its response. Connections are kept, as clients do."""

    def __init__(self, running: Any, bundle: Bundle) -> None:
        self._running = running
        self._local = threading.local()
        self._images = [tiny.encoded(each, "PNG") for each in tiny.images()]
        with Classifier.open(bundle) as classifier:
            self._labels = [each.label for each in classifier.predict(self._images)]
        self.found: Counter[str] = Counter()

    def __call__(self, number: int) -> None:
        kinds = (
            self.image,
            self.tensor,
            self.image,
            self.tensor,
            self.no_image,
            self.no_json,
            self.oversized,
            self.cut,
        )
        kind = kinds[number % len(kinds)]
        kind(number)
        self.found[kind.__name__] += 1

    def send(self, path: str, body: bytes) -> tuple[int, Any]:
        """Sends again where the service is full, as it advises."""
        while True:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self._running.port, timeout=60)
                self._local.connection = connection
            connection.request("POST", path, body)
            response = connection.getresponse()
            found = response.status, json.loads(response.read())
            if found[0] != 503:
                return found
            assert response.headers["Retry-After"] == "1"
            self.found["full"] += 1
            threading.Event().wait(0.05)

    def image(self, number: int) -> None:
        status, found = self.send(f"/predict?name={number}", self._images[number % 8])
        prediction = found["prediction"]
        assert (status, prediction["source"], prediction["label"]) == (200, str(number), self._labels[number % 8])

    def tensor(self, number: int) -> None:
        batch = tiny.random_pixels(1 + number % 8, seed=number)
        tensor = {"name": "pixels", "datatype": "UINT8", "shape": list(batch.shape), "data": batch.tolist()}
        body = json.dumps({"id": str(number), "inputs": [tensor]}).encode()
        status, found = self.send(f"/v2/models/{self._running.model}/infer", body)
        assert (status, found["id"]) == (200, str(number))
        logits = np.reshape(found["outputs"][0]["data"], (len(batch), 3))
        assert np.allclose(logits, tiny.reference_logits("reference", batch), atol=1e-3)

    def no_image(self, number: int) -> None:
        image = bytearray(self._images[number % 8])
        image[:8] = np.random.default_rng(number).bytes(8)
        assert self.send("/predict", bytes(image))[0] == 400

    def no_json(self, number: int) -> None:
        body = np.random.default_rng(number).bytes(1 + number % 3000)
        assert self.send(f"/v2/models/{self._running.model}/infer", body)[0] == 400

    def oversized(self, number: int) -> None:
        assert self.send("/predict", bytes(200_001 + number % 300_000))[0] == 413
        self._local.connection.close()

    def cut(self, number: int) -> None:
        """A client that leaves in the midst of its body, or sends what is no HTTP."""
        half = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n12345"
        response = self._running.raw(
            half if number % 16 < 8 else np.random.default_rng(number).bytes(200) + b"\r\n\r\n"
        )
        assert response == b"" or response.startswith(b"HTTP/1.1 4")


def press(load: Load, numbers: range, clients: int) -> None:
    with ThreadPoolExecutor(clients) as pool:
        for _ in pool.map(load, numbers):
            pass


@pytest.mark.parametrize("streams", ["2", pytest.param("1", marks=pytest.mark.check)])
def test_hundreds_of_requests_at_once_each_get_their_own_response(bundle: Bundle, streams: str, start: Start) -> None:
    running = start(bundle, *LIMITS, "--threads", "2", "--streams", streams)
    load = Load(running, bundle)
    press(load, range(400), clients=24)
    assert sum(load.found.values()) - load.found["full"] == 400
    assert running.process.poll() is None
    lines = running.send("/metrics").body.decode().splitlines()
    assert "edgeclf_waiting_requests 0.0" in lines
    for endpoint in ("predict", "infer"):
        assert f'edgeclf_requests_total{{endpoint="{endpoint}",status="200"}} 100.0' in lines


@pytest.mark.slow
def test_thousands_of_requests_with_slow_clients_among_them_leave_memory_flat(bundle: Bundle, start: Start) -> None:
    running = start(bundle, *LIMITS[:4], "--timeout", "3", "--max-batch", "8")
    load = Load(running, bundle)
    ended = threading.Event()

    def dawdle() -> None:
        while not ended.is_set():
            running.raw(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n12345", ends=False)

    dawdlers = [threading.Thread(target=dawdle) for _ in range(16)]
    for thread in dawdlers:
        thread.start()
    press(load, range(2000), clients=32)
    before = running.memory_mib()
    press(load, range(2000, 8000), clients=32)
    after = running.memory_mib()
    ended.set()
    for thread in dawdlers:
        thread.join()
    assert sum(load.found.values()) - load.found["full"] == 8000
    assert after - before < 8, (before, after)
    assert running.stop() == 0


def test_a_full_service_says_when_to_try_again(bundle: Bundle, start: Start) -> None:
    running = start(bundle, "--max-queue", "1")
    image = tiny.encoded(tiny.images(1)[0].resize((5000, 5000)))  # takes its time to decode
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda number: running.send("/predict", image), range(8)))
    statuses = Counter(response.status for response in responses)
    assert set(statuses) == {200, 503} and sum(statuses.values()) == 8
    assert all(response.headers["retry-after"] == "1" for response in responses if response.status == 503)
    assert running.send("/predict", image).status == 200
