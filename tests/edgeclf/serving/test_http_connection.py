"""HTTP/1.1 of `edgeclf serve` as clients send it: pipelined, with offers, too long, too slow, or none at all."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import tiny

from edgeclf_runtime.bundle.bundle import Bundle

for module in ("starlette", "uvicorn", "httptools", "prometheus_client"):
    pytest.importorskip(module)
Start = Callable[..., Any]
GET = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"


def image_file() -> bytes:
    return tiny.encoded(tiny.images()[0], "PNG")


def post(body: bytes, *headers: bytes) -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join((b"POST /predict HTTP/1.1", b"Host: a", length, *headers, b"", body))


def responses(data: bytes) -> list[int]:
    """The status of each response in what a connection sent."""
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


def test_pipelined_requests_are_answered_in_order(bundle: Bundle, start: Start) -> None:
    running, last = start(bundle), GET + b"Connection: close\r\n\r\n"
    found = running.raw((GET + b"\r\n") * 2000 + post(image_file()) + post(b"no image") + last, ends=False)
    assert responses(found) == [200] * 2001 + [400, 200]
    one_by_one = GET + b"\r\n" + post(b"no image") + last
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in one_by_one:
            connection.send(bytes((byte,)))
        assert responses(connection.makefile("rb").read()) == [200, 400, 200]


def test_offers_of_another_protocol_are_passed_over(bundle: Bundle, start: Start) -> None:
    """Java's HttpClient sends one with its first request."""
    running, image = start(bundle), image_file()
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")
    chunked = CHUNKED + b"\r\n".join((*offer, b"", b"%x" % len(image), image, b"0", b"", b""))
    get = GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    found = running.raw(post(image, *offer) + chunked + get * 3 + GET + b"Connection: close\r\n\r\n", ends=False)
    assert responses(found) == [200] * 6
    assert found.count(b'"prediction"') == 2
    closing = b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert responses(running.raw(GET + b"\r\n" + GET + closing, ends=False)) == [200, 200]
    assert responses(running.raw(b"GET /v2 HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", ends=False)) == [
        200
    ]
    assert responses(running.raw(post(image, *offer, b"Connection: close"), ends=False)) == [200]
    assert running.raw(CHUNKED + b"\r\n".join((*offer, b"", b"no chunk", b"")), ends=False).startswith(b"HTTP/1.1 400")
    assert running.raw(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", ends=False).startswith(b"HTTP/1.1 405")


def test_what_is_no_http_ends_the_connection_after_the_responses_before_it(bundle: Bundle, start: Start) -> None:
    running = start(bundle)
    no_http = running.raw(b"\x16\x03\x01 no HTTP\r\n\r\n")
    assert no_http.startswith(b"HTTP/1.1 400") and no_http.endswith(b'{"error": "the request is no HTTP/1.1"}')
    assert responses(running.raw(post(image_file()) * 2 + b"no HTTP\r\n\r\n", ends=False))[:2] == [200, 200]
    assert responses(running.raw(GET + b"\r\n" + b"GET /v\xff HTTP/1.1\r\nHost: a\r\n\r\n", ends=False))[0] == 200
    assert responses(running.raw(b"GET /v\xff HTTP/1.1\r\nHost: a\r\n\r\n", ends=False)) == [400]
    assert responses(running.raw(CHUNKED + b"\r\n5\r\nabcde\r\nno chunk\r\n", ends=False)) == [400]
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
        connection.sendall(b"POST /elsewhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert (response.status, b"nothing is at" in response.read()) == (404, True)
        connection.sendall(b"no chunk\r\n")
        assert connection.recv(65536) == b""  # its response came before
    assert "Traceback" not in running.errors.read_text()


def test_a_client_may_leave_before_the_responses_to_its_pipelined_requests(bundle: Bundle, start: Start) -> None:
    running = start(bundle)
    for wait_ms in range(20):
        with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
            connection.sendall(post(image_file()) * 20)
            time.sleep(wait_ms / 1000)
    for _ in range(150):
        if b"edgeclf_waiting_requests 0.0" in running.send("/metrics").body and not running.connections():
            break
        time.sleep(0.2)
    assert not running.connections()
    assert "Traceback" not in running.errors.read_text()


def test_what_stands_between_bodies_is_limited(bundle: Bundle, start: Start) -> None:
    running, much = start(bundle), b"a" * 80_000
    chunk = b"\r\n5\r\nabcde\r\n"
    too_long = [
        b"GET /" + much + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        GET + b"a: " + much + b"\r\n\r\n",
        GET + b"a: b\r\n" * 14_000 + b"\r\n",
        CHUNKED + chunk + b"0\r\n" + b"a: b\r\n" * 14_000 + b"\r\n",
        CHUNKED + b"\r\n5;" + much + b"\r\nabcde\r\n0\r\n\r\n",
    ]
    for request in too_long:
        found = running.raw(request, ends=False)
        assert found == b"" or (found.startswith(b"HTTP/1.1 431") and b"at most 65,536 bytes" in found)
    assert responses(running.raw(GET + b"a: " + much[:66_000], ends=False)) == [431]  # nothing is left unread
    assert responses(running.raw(GET + b"Connection: close\r\na: " + much[:60_000] + b"\r\n\r\n")) == [200]


def test_chunked_bodies_have_the_same_limit(bundle: Bundle, start: Start) -> None:
    running = start(bundle, "--max-megabytes", "0.1")
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert running.raw(head + chunk * 3 + b"0\r\n\r\n").startswith(b"HTTP/1.1 413")


def test_the_connection_beyond_the_limit_gets_503(bundle: Bundle, start: Start) -> None:
    running = start(bundle, "--max-connections", "2")
    held = [socket.create_connection(("127.0.0.1", running.port), timeout=60) for _ in range(2)]
    for connection in held:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    refused = running.send("/v2")
    assert (refused.status, refused.headers["retry-after"], refused.headers["connection"]) == (503, "1", "close")
    assert refused.json["error"] == "2 connections are open; try again (--max-connections 2)"
    for connection in held:
        connection.close()
    for _ in range(150):
        if running.send("/v2").status == 200:
            return
        time.sleep(0.2)
    pytest.fail("the connections stay taken")


def test_slow_clients_are_given_up_while_others_are_served(bundle: Bundle, start: Start) -> None:
    running = start(bundle, "--timeout", "1")
    begun = time.monotonic()
    found: dict[str, bytes] = {}
    halves = {
        "silent": b"",
        "headers": b"POST /predict HTTP/1.1\r\nHost",
        "body": b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n12345",
        "unread": b"POST /elsewhere HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n12345",
    }

    def dawdle(name: str) -> None:
        found[name] = running.raw(halves[name], ends=False)

    threads = [threading.Thread(target=dawdle, args=(name,)) for name in halves]
    for thread in threads:
        thread.start()
    assert running.send("/predict", image_file()).status == 200
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun < 30  # the client itself would wait for 60 s
    assert (found["silent"], found["headers"]) == (b"", b"")
    assert found["body"].startswith(b"HTTP/1.1 408")
    assert found["unread"].startswith(b"HTTP/1.1 404")


def test_a_client_that_reads_nothing_is_given_up(bundle: Bundle, start: Start) -> None:
    running = start(bundle, "--timeout", "1")
    sent_requests = 4000
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * sent_requests)
        for _ in range(150):
            if not running.connections():
                break
            time.sleep(0.2)
        assert not running.connections()
        found = 0
        with contextlib.suppress(ConnectionResetError):
            while block := connection.recv(1 << 20):
                found += block.count(b"HTTP/1.1 200")
    assert found < sent_requests
    assert running.send("/predict", image_file()).status == 200
