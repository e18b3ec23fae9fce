"""HTTP/1.1 on one connection, bounded in time and memory, whoever the client is."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from http import HTTPStatus
from typing import Any

from edgeclf.serving.app import refusal
from edgeclf.serving.limits import Refused, ServiceLimits

_MOST_HEAD_BYTES = 1 << 16  # of what stands between bodies: target and headers, lengths of chunks, trailers
_PIECE_BYTES = 1 << 12  # pipelined requests begin in pieces: each takes a hundred times its shortest form


def bounded_protocol(limits: ServiceLimits) -> type[asyncio.Protocol]:
    """uvicorn's HTTP/1.1 on httptools, bounded: alone it would wait and read for ever, and hold all that is pipelined.

    A client has `limits.timeout_s` for its headers, for the rest of a body whose response was sent before it was read,
    and for reading a response. What is refused here gets a JSON response, as from the routes.
    """
    import httptools
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    most = limits.max_connections
    full = refusal(Refused(503, f"{most} connections are open; try again (--max-connections {most})", closes=True))

    class BoundedProtocol(HttpToolsProtocol):
        _request_due: asyncio.TimerHandle | None = None
        _reading_due: asyncio.TimerHandle | None = None
        _unparsed = memoryview(b"")
        _head_bytes = 0
        _in_body = False
        _refused = False

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._requests: deque[Any] = deque()  # uvicorn's, without their response so far

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                self.app = full
            self._watch()

        def data_received(self, data: bytes) -> None:
            if self._refused:
                return
            self._unparsed = memoryview(bytes(self._unparsed) + data if self._unparsed else data)
            self._parse()
            if self._unparsed and not self.transport.is_closing():
                self.flow.pause_reading()  # once more: who waits for a client's leaving reads on

        def on_response_complete(self) -> None:
            self._requests.popleft()
            super().on_response_complete()
            if self._unparsed:
                self._parse()

        def _parse(self) -> None:
            """Parses on until a request has to wait for the response of the one before it."""
            while self._unparsed and not (self.pipeline or self._refused or self.transport.is_closing()):
                piece, self._unparsed = self._unparsed[:_PIECE_BYTES], self._unparsed[_PIECE_BYTES:]
                self._head_bytes += len(piece)
                self._unset_keepalive_if_required()
                self._feed(piece)
                if self._head_bytes > _MOST_HEAD_BYTES:
                    self._refuse(431, f"wanted headers of at most {_MOST_HEAD_BYTES:,} bytes")
            self._watch()

        def _feed(self, data: bytes | memoryview) -> None:
            """Has the parser read these bytes. A request that offers another protocol is read anew without the offer.

            Else httptools takes none of its body. Java's HttpClient and `curl --http2` offer HTTP/2 with their body.
            """
            while data:
                try:
                    return self.parser.feed_data(data)
                except httptools.HttpParserUpgrade as offer:
                    if self.parser.get_method() == b"CONNECT":
                        return self._refuse(405, "wanted GET, HEAD or POST, found CONNECT")
                    data = self._head_without_offer() + bytes(data[offer.args[0] :])
                    self.parser = self._new_parser()  # the old one reads no more where the request was the last
                except httptools.HttpParserError:
                    return self._refuse(400, "the request is no HTTP/1.1")

        def _new_parser(self) -> httptools.HttpRequestParser:
            parser = httptools.HttpRequestParser(self)
            # as uvicorn has it: what follows a last request is passed over, and no error that would cut its response
            parser.set_dangerous_leniencies(lenient_data_after_close=True)
            return parser

        def _head_without_offer(self) -> bytes:
            first = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
            kept = [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
            return b"\r\n".join((first, *kept, b"", b""))

        def on_headers_complete(self) -> None:
            if not self.parser.should_upgrade():
                super().on_headers_complete()
                self._in_body = True
                self._requests.append(self.cycle)

        def on_body(self, body: bytes) -> None:
            self._head_bytes = 0
            super().on_body(body)

        def on_message_complete(self) -> None:
            if not self.parser.should_upgrade():
                self._head_bytes, self._in_body = 0, False
                super().on_message_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            for due in (self._request_due, self._reading_due):
                if due is not None:
                    due.cancel()
            super().connection_lost(exc)
            for request in self._requests:  # uvicorn tells the last one alone
                request.disconnected = True
                request.message_event.set()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._reading_due = self.loop.call_later(limits.timeout_s, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._reading_due is not None:
                self._reading_due.cancel()

        def _refuse(self, status: int, reason: str) -> None:
            """Ends the connection, with a response where none is under way."""
            if self._refused:
                return
            self._refused = True
            cycle = self.cycle
            if cycle is not None and not cycle.response_complete and (self.pipeline or not cycle.more_body):
                cycle.keep_alive = False  # requests that came whole have their responses first
                return
            if cycle is None or not (cycle.response_started and self._in_body):  # that request had its response
                body = json.dumps({"error": reason})
                head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "content-type: application/json"]
                head += [f"content-length: {len(body)}", "connection: close"]
                self.transport.write("\r\n".join((*head, "", body)).encode())
            self.transport.close()

        def _watch(self) -> None:
            """Bounds the time without a request that is being answered: that one has bounds of its own."""
            waits = self.cycle is None or self.cycle.response_complete
            if waits and self._request_due is None:
                self._request_due = self.loop.call_later(limits.timeout_s, self.transport.close)
            elif not waits and self._request_due is not None:
                self._request_due.cancel()
                self._request_due = None

    return BoundedProtocol
