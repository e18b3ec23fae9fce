"""The server under a service: its socket, uvicorn's settings, and an end that lets running requests finish."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import math
import os
import socket
from contextlib import nullcontext
from typing import Any

from edgeclf.serving.app import build_app, refusal
from edgeclf.serving.limits import Refused, ServiceLimits
from edgeclf.serving.request_log import LoggedApp, request_log
from edgeclf.serving.service import Service
from edgeclf_runtime.errors import UsageError

_BACKLOG = 1024  # connections that wait to be taken; the kernel has a limit of its own


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; clients wait on it until the service runs. Raises UsageError where it is not available."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        # create_server repeats the address in its message, and names that are not found have numbers of their own
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        advice = "give another --host or --port"
        raise UsageError(f"can't listen on {host}, port {port} ({reason}); {advice}") from error
    # connections inherit it; asyncio does so by itself for sockets of its own only, and responses would come 40 ms late
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def url_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listening: socket.socket) -> bool:
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def run_service(service: Service, listening: socket.socket, *, log_requests: bool = False, page: bool = True) -> None:
    """Serves requests until SIGTERM or SIGINT; then those that are under way are finished, and it returns."""
    with request_log() if log_requests else nullcontext() as log:
        app = build_app(service, page=page)
        _run(service, listening, app if log is None else LoggedApp(app, log))


def _run(service: Service, listening: socket.socket, app: Any) -> None:
    import uvicorn

    limits = service.limits
    config = uvicorn.Config(
        app,
        http=_patient_protocol(limits),
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # uvicorn would write a line for every request that is no HTTP
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(2 * limits.timeout_s) + 1,
    )
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        if not server.should_exit:  # else the signal that uvicorn has served, sent once more
            raise


def _patient_protocol(limits: ServiceLimits) -> type[asyncio.Protocol]:
    """uvicorn's HTTP/1.1 on h11, bounded: alone it would wait for ever for a request and for its response's reader.

    What it refuses by itself gets a JSON response, as from the routes.
    """
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    most = limits.max_connections
    full = refusal(Refused(503, f"{most} connections are open; try again (--max-connections {most})", closes=True))

    class PatientProtocol(H11Protocol):
        _request_due: asyncio.TimerHandle | None = None
        _reading_due: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                self.app = full
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            for due in (self._request_due, self._reading_due):
                if due is not None:
                    due.cancel()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._reading_due = self.loop.call_later(limits.timeout_s, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._reading_due is not None:
                self._reading_due.cancel()

        def send_400_response(self, msg: str) -> None:
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # else the request had its response
                body = json.dumps({"error": "the request is no HTTP/1.1"}).encode()
                kind, length = ("Content-Type", "application/json"), ("Content-Length", str(len(body)))
                head = h11.Response(status_code=400, headers=[kind, length, ("Connection", "close")])
                for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

        def _watch(self) -> None:
            """Bounds the time for headers, and for the rest of a body whose response was sent before it was read."""
            waits = self.conn.their_state is h11.IDLE or self.conn.our_state is h11.DONE
            if waits and self._request_due is None:
                self._request_due = self.loop.call_later(limits.timeout_s, self.transport.close)
            elif not waits and self._request_due is not None:
                self._request_due.cancel()
                self._request_due = None

    return PatientProtocol
