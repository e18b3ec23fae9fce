"""A JSON line on standard error for each request of a service, written by a thread: no slow reader delays responses."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from typing import Any

from edgeclf_runtime.machine.facts import now_utc

_PROBES = ("/v2/health/live", "/v2/health/ready", "/metrics")
_LONGEST_PATH = 200
_CLIENT_LEFT = 499  # nginx's: no response was begun

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


@contextmanager
def request_log() -> Iterator[logging.Logger]:
    """A logger whose lines a thread writes to standard error; at the end of the block all of them are."""
    queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
    listener = QueueListener(queue, logging.StreamHandler())
    handler, log = QueueHandler(queue), logging.getLogger("edgeclf.requests")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    listener.start()
    try:
        yield log
    finally:
        log.removeHandler(handler)
        listener.stop()


class LoggedApp:
    """An ASGI application with a line for each request: when, who, what, the status, milliseconds, bytes sent.

    Queries and bodies are not logged: a query may name the image.
    """

    def __init__(self, app: App, log: logging.Logger) -> None:
        self._app, self._log = app, log

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        start, status, sent = time.perf_counter(), _CLIENT_LEFT, 0

        async def noted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            line = {
                "time": now_utc(),
                "client": (scope.get("client") or ("",))[0],
                "method": scope["method"],
                "path": scope["path"][:_LONGEST_PATH],
                "status": status,
                "ms": round(1000 * (time.perf_counter() - start), 2),
                "bytes": sent,
            }
            self._log.info(json.dumps(line))
