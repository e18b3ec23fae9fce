"""A service in a process of its own, on a free port of the loopback, and a client for it."""

from __future__ import annotations

import errno
import http.client
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray
from warm_process import Started, start_edgeclf

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
    """A service that listens; its standard error goes into the file `errors`."""

    process: Started
    port: int
    model: str

    @property
    def errors(self) -> Path:
        return self.process.stderr

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
        command = ["serve", str(bundle.path), "--port", "0", "--json", *options]
        process = start_edgeclf(command, cwd=tmp_path, NO_COLOR="1")
        about, deadline = "", time.monotonic() + 60
        while not about.endswith("\n}\n"):
            assert process.poll() is None and time.monotonic() < deadline, process.communicate(1)
            time.sleep(0.01)
            about = process.stdout.read_text() if process.stdout.exists() else ""
        found = json.loads(about)
        running.append(Running(process, urlsplit(found["url"]).port or 0, found["model"]))
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
