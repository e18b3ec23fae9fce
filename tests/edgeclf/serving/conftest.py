"""A service in a process of its own, on a free port of the loopback, and a client for it."""

from __future__ import annotations

import errno
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray

from edgeclf_runtime.bundle.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Running:
    """A service that listens. `errors` is where its standard error goes."""

    process: subprocess.Popen[bytes]
    port: int
    model: str
    errors: Path

    def send(self, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """GET, or POST of `body`; a header's name is written with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET" if body is None else "POST", path, body, named)
            found = connection.getresponse()
            return Reply(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())
        finally:
            connection.close()

    def infer(self, batch: NDArray[np.uint8], **more: Any) -> Reply:
        return self.send(f"/v2/models/{self.model}/infer", tensor_request(batch, **more))

    def raw(self, data: bytes, *, ends: bool = True) -> bytes:
        """All that comes back for bytes that may be no HTTP."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            try:
                connection.sendall(data)
                if ends:
                    connection.shutdown(socket.SHUT_WR)
                found = b""
                while block := connection.recv(65536):
                    found += block
            except OSError as error:
                if error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):  # it hung up meanwhile
                    return b""
                raise
            return found

    def connections(self) -> list[str]:
        """The service's open connections, as the kernel lists them: its port, established."""
        rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
        own = f":{self.port:04X}"
        return [row for row in rows if row.split()[1].endswith(own) and row.split()[3] == "01"]

    def memory_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


def tensor_request(batch: NDArray[np.uint8], **more: Any) -> bytes:
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": list(batch.shape), "data": batch.ravel().tolist()}
    return json.dumps({"inputs": [tensor], **more}).encode()


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function (bundle, options) -> a running service; each has to end with 0 on SIGTERM."""
    running: list[Running] = []

    def begin(bundle: Bundle, *options: str) -> Running:
        descriptor, errors = tempfile.mkstemp(dir=tmp_path, suffix=".stderr")
        command = [sys.executable, "-m", "edgeclf", "serve", str(bundle.path), "--port", "0", "--json", *options]
        environment = {**os.environ, "NO_COLOR": "1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=descriptor, env=environment)
        os.close(descriptor)
        assert process.stdout is not None
        guard = threading.Timer(60, process.kill)
        guard.start()
        about = b""
        while not about.endswith(b"\n}\n"):
            line = process.stdout.readline()
            assert line, Path(errors).read_text()
            about += line
        guard.cancel()
        found = json.loads(about)
        running.append(Running(process, urlsplit(found["url"]).port or 0, found["model"], Path(errors)))
        return running[-1]

    yield begin
    for each in running:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGTERM)
            try:
                each.process.wait(60)
            finally:
                each.process.kill()
            assert each.process.returncode == 0, each.errors.read_text()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny.build(tmp_path / "tiny")
