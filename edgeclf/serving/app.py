"""The routes of a service: /v2 is the Open Inference Protocol, /predict takes image files; metrics, summary, a page."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from edgeclf.console import document, say
from edgeclf.serving.inference_protocol import EXTENSIONS, HEADER_LENGTH, model_metadata
from edgeclf.serving.limits import Refused
from edgeclf.serving.page import try_page
from edgeclf.serving.service import Service
from edgeclf_runtime.errors import DataError, EdgeclfError, UsageError
from edgeclf_runtime.machine.facts import package_version

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

Handler = Callable[["Request"], Awaitable["Response"]]
_MOST_CLASSES = 1_000_000
_LONGEST_NAME = 1_000


def build_app(service: Service, *, page: bool = True) -> Starlette:
    """The ASGI application of `service`. `page`: with a page at / on which a person tries it, and its maps."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    routes = _Routes(service)
    model, version = "/v2/models/{name}", "/versions/{version}"
    listed = [
        Route("/v2", routes.server, methods=["GET"]),
        Route("/v2/", routes.server, methods=["GET"]),  # as the protocol's OpenAPI file has it
        Route("/v2/health/live", routes.live, methods=["GET"]),
        Route("/v2/health/ready", routes.ready, methods=["GET"]),
        Route("/predict", routes.counted("predict", routes.predict), methods=["POST"]),
        Route("/metrics", routes.metrics, methods=["GET"]),
        Route("/summary", routes.summary, methods=["GET"]),
    ]
    if page:
        listed += [
            Route("/", routes.page, methods=["GET"]),
            Route("/explain", routes.counted("explain", routes.explain), methods=["POST"]),
        ]
    for place in (model, model + version):
        listed += [
            Route(place, routes.counted("model", routes.model), methods=["GET"]),
            Route(f"{place}/ready", routes.counted("model", routes.model_ready), methods=["GET"]),
            Route(f"{place}/infer", routes.counted("infer", routes.infer), methods=["POST"]),
        ]
    faults: Any = {HTTPException: routes.no_route}
    app = Starlette(routes=listed, exception_handlers=faults)
    app.router.redirect_slashes = False  # it would send clients of a TLS proxy to http
    return app


def refusal(refused: Refused) -> Response:
    """The response to a request that is refused, wherever that was noticed."""
    return _json({"error": str(refused)}, refused.status, refused.headers)


class _Routes:
    """One method a route. Whatever comes from outside leaves as JSON in plain ASCII."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def counted(self, endpoint: str, handler: Handler) -> Handler:
        """`handler` with its errors as responses, counted and timed."""

        async def respond(request: Request) -> Response:
            start, status = time.perf_counter(), 500
            try:
                response = await _with_errors(handler, request)
                status = response.status_code
                return response
            finally:
                self._service.metrics.count_request(endpoint, status, time.perf_counter() - start)

        return respond

    async def server(self, request: Request) -> Response:
        about = {"name": "edgeclf", "version": package_version("edgeclf") or "unknown", "extensions": list(EXTENSIONS)}
        return _json(about)

    async def live(self, request: Request) -> Response:
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:
        return _json({"ready": True})  # the port opens to requests once the engine has run

    async def model(self, request: Request) -> Response:
        self._check_model(request)
        return _json(model_metadata(self._service.manifest, self._service.name, self._service.threshold))

    async def model_ready(self, request: Request) -> Response:
        self._check_model(request)
        return _json({"name": self._service.name, "ready": True})

    async def infer(self, request: Request) -> Response:
        from starlette.responses import Response

        self._check_model(request)
        _check_plain(request)
        header = request.headers.get(HEADER_LENGTH)
        body, headers = await self._service.infer(request.stream(), header, left=request.receive)
        return Response(body, headers=headers)

    async def predict(self, request: Request) -> Response:
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            raise Refused(415, "wanted the image file itself as the body, found a form; try curl --data-binary @FILE")
        _check_plain(request)
        _check_query(request, "name", "top")
        source = request.query_params.get("name", "image")[:_LONGEST_NAME]
        top = _top(request.query_params.get("top", "5"))
        prediction = await self._service.predict(request.stream(), source, top, left=request.receive)
        return _json(document("predict", {"prediction": prediction}))

    async def page(self, request: Request) -> Response:
        from starlette.responses import HTMLResponse

        page, policy = try_page(self._service.manifest, self._service.name, collects=self._service.monitor.collects)
        return HTMLResponse(page, headers={"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"})

    async def explain(self, request: Request) -> Response:
        from starlette.responses import Response

        _check_plain(request)
        _check_query(request, "label")
        label = request.query_params.get("label")
        picture = await self._service.explain(request.stream(), label, left=request.receive)
        return Response(picture, headers={"Content-Type": "image/png"})

    async def metrics(self, request: Request) -> Response:
        from starlette.responses import Response

        text, kind = self._service.metrics.text()
        return Response(text, headers={"Content-Type": kind})

    async def summary(self, request: Request) -> Response:
        from starlette.responses import Response

        found = self._service.monitor.summary()
        if found is None:
            reason = "the bundle keeps no summary of its validation images; `edgeclf export` makes one that does"
            return _json({"error": reason}, 404)
        return Response(found.to_bytes(), headers={"Content-Type": "application/json"})

    async def no_route(self, request: Request, error: Any) -> Response:
        place, headers = repr(request.url.path[:_LONGEST_NAME]), dict(error.headers or {})
        there = f"/predict, /metrics, /summary and /v2, with the model {self._service.name!r}"
        message = f"nothing is at {place}; there are {there}"
        if error.status_code == 405:
            allowed = " or ".join(sorted(headers.get("Allow", "").split(", ")))
            message = f"{place} takes {allowed}, found {request.method[:_LONGEST_NAME]}"
        return _json({"error": message}, error.status_code, headers)

    def _check_model(self, request: Request) -> None:
        name, version = request.path_params["name"], request.path_params.get("version", "1")
        if name != self._service.name or version != "1":
            found = f"{name[:_LONGEST_NAME]!r}, version {version[:_LONGEST_NAME]!r}"
            raise Refused(404, f"no model {found}; this service has {self._service.name!r}, version '1'")


async def _with_errors(handler: Handler, request: Request) -> Response:
    from starlette.requests import ClientDisconnect

    try:
        return await handler(request)
    except Refused as refused:
        return refusal(refused)
    except asyncio.CancelledError:  # by a second signal to end; whoever waits is told
        return refusal(Refused(503, "the service is ending", closes=True))
    except ClientDisconnect:
        return _json({"error": "the client left"}, 499)  # nobody reads it; the metrics count it
    except (UsageError, DataError) as error:
        return _json({"error": str(error)}, 400)
    except EdgeclfError as error:
        say(f"edgeclf: {error}", style="red")
        return _json({"error": str(error)}, 500)


def _check_plain(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise Refused(415, f"wanted a body as it is, found one in {encoding[:_LONGEST_NAME]!r}; send it uncompressed")


def _check_query(request: Request, *known: str) -> None:
    """Raises UsageError for a parameter that would be passed over, as a threshold, which is the service's own."""
    if unknown := sorted(set(request.query_params) - {*known}):
        raise UsageError(f"the query takes {' and '.join(known)}, found {unknown[0][:_LONGEST_NAME]!r}")


def _top(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:7]) <= _MOST_CLASSES):
        raise UsageError(f"top is a number from 1 on, found {text[:20]!r}")
    return int(text[:7])


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    from starlette.responses import Response

    text = json.dumps(value, allow_nan=False)
    return Response(text, status, headers={"Content-Type": "application/json", **(headers or {})})
