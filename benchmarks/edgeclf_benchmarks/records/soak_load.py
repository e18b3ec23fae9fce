"""What keeps `edgeclf serve` and `edgeclf predict --watch` busy: clients, some of them bad, and images that arrive."""

from __future__ import annotations

import http.client
import io
import itertools
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

_CLIENTS, _PAUSE_S, _ARRIVES_EVERY_S, _STAY = 4, 0.05, 0.2, 100
_TIMEOUT_S = 30.0


def photo(seed: int) -> bytes:
    """A JPEG of noise, each other than the last."""
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


@contextmanager
def clients(port: int) -> Iterator[Counter[str]]:
    """Threads that send images, damaged images, and requests whose responses they don't wait for; statuses, counted."""
    counted: Counter[str] = Counter()
    requests = (_image, _image, _image, _damaged, _leaves)

    def work(stop: threading.Event, place: int) -> None:
        for number in itertools.count(place):
            status = requests[number % len(requests)](port, number)
            counted[status] += 1
            if stop.wait(_PAUSE_S):
                return

    with _running([lambda stop, place=place: work(stop, place) for place in range(_CLIENTS)]):  # type: ignore[misc]
        yield counted


def _image(port: int, number: int) -> str:
    return _post(port, photo(number))


def _damaged(port: int, number: int) -> str:
    return _post(port, photo(number)[: 100 + number % 900])


def _leaves(port: int, number: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", "/predict", photo(number))
    finally:
        connection.close()
    return "left"


def _post(port: int, body: bytes) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", "/predict", body)
        response = connection.getresponse()
        response.read()
        return str(response.status)
    finally:
        connection.close()


@contextmanager
def arriving(folder: Path) -> Iterator[Counter[str]]:
    """A thread that puts images into `folder`, every tenth damaged, and takes the oldest away; how many, counted."""
    counted: Counter[str] = Counter()

    def work(stop: threading.Event) -> None:
        for number in itertools.count():
            content = photo(number)[: None if number % 10 else 300]
            hidden = folder / f".{number}"
            hidden.write_bytes(content)
            os.replace(hidden, folder / f"{number}.jpg")
            (folder / f"{number - _STAY}.jpg").unlink(missing_ok=True)
            counted["arrived"] += 1
            if stop.wait(_ARRIVES_EVERY_S):
                return

    with _running([work]):
        yield counted


@contextmanager
def _running(works: list[Callable[[threading.Event], None]]) -> Iterator[None]:
    """Threads that end with the block; the error of one of them is raised there."""
    stop, errors = threading.Event(), list[BaseException]()

    def run(work: Callable[[threading.Event], None]) -> None:
        try:
            work(stop)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
