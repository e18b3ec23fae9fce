"""The server under a service: its socket, uvicorn's settings, and an end that lets running requests finish."""

from __future__ import annotations

import ipaddress
import math
import os
import socket
from contextlib import nullcontext
from typing import Any

from edgeclf.serving.app import build_app
from edgeclf.serving.http_connection import bounded_protocol
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
    # connections inherit it; asyncio sets it on sockets of its own only, and responses would come 40 ms late
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
        http=bounded_protocol(limits),
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
