"""What HTTP and batching cost: requests/s and latency of `edgeclf serve` against the bare classifier at equal threads.

    python -m edgeclf_benchmarks.records.service BUNDLE... --image PHOTO -o benchmarks/results/service.json

Clients are threads of this process that send the next request as soon as the response is there, on open connections;
they use a part of the machine that a remote client would not. The bare classifier decodes and predicts the same file.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from edgeclf_benchmarks.records.record import spread, write_record
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.classifier import Classifier

Request = Callable[[], None]


@contextmanager
def serving(bundle: str, threads: int, *more: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The port of a service, and the process of its own that it runs in."""
    command = [sys.executable, "-m", "edgeclf", "serve", bundle, "--port", "0", "--threads", str(threads), "--json"]
    with tempfile.TemporaryFile() as notices:
        process = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=notices, text=True)
        try:
            assert process.stdout is not None  # it is a pipe
            text = ""
            while not text.endswith("\n}\n"):
                line = process.stdout.readline()
                if not line:
                    notices.seek(0)
                    raise SystemExit(f"edgeclf serve did not start: {notices.read().decode()}")
                text += line
            yield urlsplit(json.loads(text)["url"]).port or 0, process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def client(port: int, body: bytes) -> Request:
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def send() -> None:
        connection.request("POST", "/predict?top=1", body)
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise SystemExit(f"the service responded with status {response.status}")

    return send


def press(clients: list[Request], seconds: float) -> tuple[float, list[float]]:
    """(requests/s, latencies in ms) of all clients together, after a tenth of the time as warm-up."""
    latencies: list[list[float]] = [[] for _ in clients]
    begin = time.perf_counter() + seconds / 10
    end = begin + seconds

    def work(place: int) -> None:
        while (start := time.perf_counter()) < end:
            clients[place]()
            if start >= begin:
                latencies[place].append(1000 * (time.perf_counter() - start))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = [value for each in latencies for value in each]
    return len(together) / (time.perf_counter() - begin), together


def measure(bundle: str, body: bytes, threads: int, crowds: list[int], seconds: float, runs: int) -> dict[str, Any]:
    taken: dict[str, list[tuple[float, list[float]]]] = {}
    with Classifier.open(bundle, SessionOptions(threads=threads)) as classifier, serving(bundle, threads) as (port, _):

        def bare() -> None:
            next(iter(classifier.predict([body], top=1)))

        for _ in range(runs):  # in turns, so that a change of the machine's speed affects all
            for crowd in crowds:
                taken.setdefault(f"bare, {crowd} callers", []).append(press([bare] * crowd, seconds))
                clients = [client(port, body) for _ in range(crowd)]
                taken.setdefault(f"service, {crowd} clients", []).append(press(clients, seconds))
    return {
        "bundle": Path(bundle).name,
        "threads": threads,
        "seconds_per_run": seconds,
        **{name: _figures(found) for name, found in taken.items()},
    }


def _figures(found: list[tuple[float, list[float]]]) -> dict[str, Any]:
    return {
        "requests_per_s": spread([rate for rate, _ in found], 1),
        "median_ms": spread([float(np.median(latencies)) for _, latencies in found]),
        "p99_ms": spread([float(np.percentile(latencies, 99)) for _, latencies in found]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE")
    parser.add_argument("--image", type=Path, required=True, metavar="PHOTO")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    body = given.image.read_bytes()
    found = [measure(bundle, body, given.threads, given.clients, given.seconds, given.runs) for bundle in given.bundles]
    print(json.dumps(found, indent=1))
    figures = {"image_bytes": len(body), "cores": len(os.sched_getaffinity(0)), "bundles": found}
    write_record(given.output, "edgeclf_benchmarks.records.service", figures)


if __name__ == "__main__":
    main()
