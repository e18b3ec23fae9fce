"""What HTTP costs: requests/s and latency of `edgeclf serve` beside the bare classifier, with the same threads.

    python -m edgeclf_benchmarks.records.service BUNDLE... --image PHOTO -o benchmarks/results/service.json

Clients are threads of this process that send the next request as soon as the response is there, on open connections;
they use a part of the machine that a remote client would not. The bare classifier decodes and predicts the same file
at its best, without a client: one image after the other beside one client, else an endless row of them, with a stream
for each thread. The service runs as it comes, and with dynamic batching (--streams 1). All take turns; ratios are of
one round.
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
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from edgeclf_benchmarks.records.record import spread, write_record
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.decision import Prediction
from edgeclf_runtime.classifier import Classifier

Request = Callable[[], None]
_SERVICES = {"service": (), "service, batching": ("--streams", "1")}


class Taken(NamedTuple):
    """What one run with so many clients took; CPU time for each request of the service's process and of the clients."""

    rate: float
    latencies_ms: list[float]
    cpu_ms: float
    clients_cpu_ms: float


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
            raise RuntimeError(f"the service responded with status {response.status}")

    return send


def press(clients: list[Request], seconds: float) -> tuple[float, list[float], int]:
    """(requests/s, latencies in ms) of all clients together after a tenth of the time as warm-up, and all requests.

    An error of one of them is raised here.
    """
    begin = time.perf_counter() + seconds / 10
    end = begin + seconds

    def work(send: Request) -> tuple[list[float], int]:
        latencies, sent = [], 0
        while (start := time.perf_counter()) < end:
            send()
            sent += 1
            if start >= begin:
                latencies.append(1000 * (time.perf_counter() - start))
        return latencies, sent

    with ThreadPoolExecutor(len(clients)) as pool:
        found = list(pool.map(work, clients))
    together = [value for latencies, _ in found for value in latencies]
    return len(together) / (time.perf_counter() - begin), together, sum(sent for _, sent in found)


def bare(classifier: Classifier, body: bytes, seconds: float, *, alone: bool) -> tuple[float, float]:
    """Images/s of a classifier in this process, after a tenth of the time as warm-up, and CPU time an image in ms."""
    begin = time.perf_counter() + seconds / 10
    end, counted, images, used = begin + seconds, 0, 0, time.process_time()
    found = (next(classifier.predict(body, top=1)) for _ in repeat(None)) if alone else _row(classifier, body)
    for _ in found:
        now = time.perf_counter()
        counted, images = counted + (now >= begin), images + 1
        if now >= end:
            break
    return counted / (time.perf_counter() - begin), 1000 * (time.process_time() - used) / images


def _row(classifier: Classifier, body: bytes) -> Iterator[Prediction]:
    return classifier.predict(repeat(body), top=1)


def measure(bundle: str, body: bytes, threads: int, crowds: list[int], seconds: float, runs: int) -> dict[str, Any]:
    alone_took: dict[int, list[tuple[float, float]]] = {crowd: [] for crowd in crowds}
    taken: dict[tuple[str, int], list[Taken]] = {}
    with ExitStack() as stack:
        options = SessionOptions(threads=threads)
        alone = stack.enter_context(Classifier.open(bundle, options))
        many = stack.enter_context(Classifier.open(bundle, replace(options, hint="throughput")))
        services = {name: stack.enter_context(serving(bundle, threads, *more)) for name, more in _SERVICES.items()}
        for _ in range(runs):  # in turns, so that a change of the machine's speed affects all
            for crowd in crowds:
                one = crowd == 1
                alone_took[crowd].append(bare(alone if one else many, body, seconds, alone=one))
                for name, (port, process) in services.items():
                    clients = [client(port, body) for _ in range(crowd)]
                    taken.setdefault((name, crowd), []).append(_pressed(clients, seconds, process.pid))
    found: dict[str, Any] = {"bundle": Path(bundle).name, "threads": threads, "seconds_per_run": seconds}
    for crowd in crowds:
        rates, cpu_ms = map(list, zip(*alone_took[crowd], strict=True))
        figures = {"requests_per_s": spread(rates, 1), "cpu_ms_a_request": spread(cpu_ms, 2)}
        found[f"bare, beside {crowd} clients"] = figures
        for name in services:
            found[f"{name}, {crowd} clients"] = _figures(taken[name, crowd], rates)
    return found


def _pressed(clients: list[Request], seconds: float, process: int) -> Taken:
    before, own = _cpu_seconds(process), time.process_time()
    rate, latencies, sent = press(clients, seconds)
    own = time.process_time() - own
    return Taken(rate, latencies, 1000 * (_cpu_seconds(process) - before) / sent, 1000 * own / sent)


def _cpu_seconds(process: int) -> float:
    ticks = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _figures(found: list[Taken], bare_rates: list[float]) -> dict[str, Any]:
    return {
        "requests_per_s": spread([each.rate for each in found], 1),
        "beside_bare": spread([each.rate / rate for each, rate in zip(found, bare_rates, strict=True)], 3),
        "median_ms": spread([float(np.median(each.latencies_ms)) for each in found]),
        "p99_ms": spread([float(np.percentile(each.latencies_ms, 99)) for each in found]),
        "cpu_ms_a_request": spread([each.cpu_ms for each in found], 2),
        "cpu_ms_a_request_of_clients": spread([each.clients_cpu_ms for each in found], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE")
    parser.add_argument("--image", type=Path, required=True, metavar="PHOTO")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8, 32])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    body = given.image.read_bytes()
    found = [measure(bundle, body, given.threads, given.clients, given.seconds, given.runs) for bundle in given.bundles]
    print(json.dumps(found, indent=1))
    figures = {
        "image_bytes": len(body),
        "load_average": [round(each, 1) for each in os.getloadavg()],
        "cores": len(os.sched_getaffinity(0)),
        "bundles": found,
    }
    write_record(given.output, "edgeclf_benchmarks.records.service", figures)


if __name__ == "__main__":
    main()
