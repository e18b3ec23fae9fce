"""`edgeclf serve`: a bundle behind HTTP."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import say, write_json
from edgeclf.verbs.shared.monitoring import Monitoring, open_collector, say_collected
from edgeclf.verbs.shared.monitoring_options import Collect, CollectImages, CollectMegabytes, CollectWith
from edgeclf.verbs.shared.opening import (
    check_threshold,
    open_bundle,
    require_no_failed_proof,
    say_remarks,
    session_options,
)
from edgeclf.verbs.shared.options import (
    OWN_DEVICE,
    AllowFailedProof,
    BundlePath,
    ComputePrecision,
    Device,
    RebuildIfStale,
    Threads,
    need,
    shell_word,
)
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf.serving.service import Service
    from edgeclf_runtime.backends.engine import SessionOptions
    from edgeclf_runtime.classifier import Classifier

_MAX_DELAY_MS = 2.0


def serve(
    bundle: BundlePath,
    host: Annotated[
        str,
        typer.Option(metavar="NAME", help="Address to listen on; 0.0.0.0 accepts requests from other machines, too."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port to listen on; 0: any free one.")
    ] = 8000,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Model name in /v2/models.", show_default="the bundle's")
    ] = None,
    streams: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Number of requests, or small batches of requests that wait, that are predicted at the same time; "
            "they share the threads. 1: dynamic batching, all images that wait go through the engine together.",
            show_default="one per thread on a CPU, else 1",
        ),
    ] = None,
    max_batch: Annotated[
        int,
        typer.Option(
            min=1, max=1024, metavar="N", help="Largest batch size, and largest number of images in one request."
        ),
    ] = 8,
    max_delay_ms: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=10_000,
            metavar="MS",
            help="Longest time that an image waits for others to share its batch, in milliseconds; makes --streams 1.",
            show_default="2 where images are batched",
        ),
    ] = None,
    max_queue: Annotated[
        int, typer.Option(min=1, metavar="N", help="Largest number of waiting requests; more get status 503.")
    ] = 128,
    max_connections: Annotated[int, typer.Option(min=1, metavar="N", help="Largest number of open connections.")] = 512,
    max_megabytes: Annotated[
        float, typer.Option(min=0.001, metavar="N", help="Largest accepted request body, in megabytes.")
    ] = 16,
    max_megapixels: Annotated[
        float, typer.Option(min=0.0001, metavar="N", help="Largest accepted image, in megapixels.")
    ] = 64,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=3600,
            metavar="SECONDS",
            help="Timeout of reading a request's headers, of its body, and of its response.",
        ),
    ] = 30.0,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help='Probability below which the prediction of /predict is "unknown"; with several labels an image, from '
            "which on each is predicted.",
            show_default="as the bundle says",
        ),
    ] = None,
    request_log: Annotated[
        bool, typer.Option(help="Log each request as a JSON line on standard error, except probes and /metrics.")
    ] = True,
    page: Annotated[
        bool, typer.Option(help="Serve a page at / to try images on, and the maps that it shows (/explain).")
    ] = True,
    collect: Collect = None,
    collect_images: CollectImages = 1000,
    collect_megabytes: CollectMegabytes = 500,
    collect_with: CollectWith = None,
    device: Device = OWN_DEVICE,
    threads: Threads = None,
    compute_precision: ComputePrecision = None,
    rebuild_if_stale: RebuildIfStale = False,
    allow_failed_proof: AllowFailedProof = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the URL as one JSON document on stdout.")] = False,
) -> None:
    """Serve a bundle over HTTP: image files and tensors.

    Open its URL in a browser to try it: drop an image, or take a photograph. POST /predict takes an image file as its
    body. /v2 is the Open Inference Protocol (KServe v2), /v2/health/live and
    /v2/health/ready are for probes, /metrics for Prometheus, /summary for `edgeclf drift`. Each request leaves a JSON
    line on standard error; --no-request-log leaves it out. There is no password and no TLS: beyond one machine, put a
    proxy in front. SIGTERM or Ctrl-C lets running requests finish and ends with exit code 0. Exit code 1: the latest
    verification of this bundle on this machine failed; --allow-failed-proof overrides that. It needs the extra "serve".

    \b
    Examples:
      edgeclf serve bundles/cats-onnx --threads 2
      edgeclf serve bundles/cats-onnx --threshold 0.8 2>> requests.jsonl
      curl --data-binary @cat.jpg http://127.0.0.1:8000/predict?top=3
    """
    from PIL import Image

    from edgeclf.serving.limits import ServiceLimits
    from edgeclf.serving.server import is_loopback, listen, run_service, url_of
    from edgeclf.serving.service import Service
    from edgeclf_runtime.classifier import Classifier
    from edgeclf_runtime.images.limits import Limits

    need("serve", "starlette", "uvicorn", "httptools", "prometheus_client")
    if name is not None and (not name or "/" in name):
        raise UsageError(f"--name is one part of a URL's path, without a slash, found {name!r}")
    Image.MAX_IMAGE_PIXELS = None  # our own limits are stricter, and options
    options = session_options(device, threads, compute_precision)
    if streams is not None and streams > options.thread_count:
        raise UsageError(f"--streams share the threads, so at most {options.thread_count} here, found {streams}")
    if max_delay_ms is None:
        max_delay_ms = _MAX_DELAY_MS
    elif streams is None:
        streams = 1
    elif streams > 1:
        raise UsageError(
            f"--max-delay-ms is for dynamic batching, with --streams {streams} nothing waits; leave one out"
        )
    limits = ServiceLimits(
        max_batch, max_delay_ms / 1000, max_queue, max_megabytes, max_megapixels, timeout, max_connections
    )
    kept = Monitoring(collect, collect_images, collect_megabytes, collect_with)
    with listen(host, port) as listening, ExitStack() as stack:
        opened = open_bundle(bundle, options, rebuild_if_stale=rebuild_if_stale)
        with Classifier.open(opened, options) as classifier:
            require_no_failed_proof(classifier, unproven=allow_failed_proof)
            say_remarks(classifier.session.facts)
            check_threshold(threshold, opened.manifest.scores)
            image_limits = Limits(max_megapixels, max_megabytes)
            collector = open_collector(stack, classifier, kept, options, image_limits, threshold)
            crowd = _open_crowd(classifier, options, streams)
            if crowd is not None:
                stack.enter_context(crowd)
            service = Service(classifier, name or opened.name, limits, threshold, collector, crowd)
            try:
                service.warm_up()
                url = url_of(listening)
                if not is_loopback(listening):
                    say(f"{url} is open to other machines, without password or TLS", style="yellow")
                if as_json:
                    write_json("serve", {"url": url, "model": service.name, "digest": opened.digest})
                say(_how_it_serves(service, crowd), style="dim")
                say(f"listening on {url}, model {service.name}; Ctrl-C ends it", style="dim")
                if page:
                    say(f"try it in a browser: {url}", style="dim")
                say(f"next: curl --data-binary @IMAGE {shell_word(url + '/predict')}", style="dim")
                run_service(service, listening, log_requests=request_log, page=page)
            finally:
                service.close()
                if collector is not None and collect is not None:
                    say_collected(collector, collect)
    say("stopped", style="dim")


def _how_it_serves(service: Service, crowd: Classifier | None) -> str:
    if crowd is not None:
        each = "a request" if service.at_once == 1 else f"up to {service.at_once} requests that wait"
        each += f" ({service.refused})" if service.refused else ""
        return f"{crowd.session.streams} threads predict at the same time, each {each}"
    most, delay_ms = service.limits.max_batch, service.limits.max_delay_s * 1000
    return f"images that wait go through together, up to {most}, after {delay_ms:g} ms at most"


def _open_crowd(classifier: Classifier, options: SessionOptions, streams: int | None) -> Classifier | None:
    """The same bundle with a stream for each of several requests; None: those that wait are batched, as for GPUs."""
    from edgeclf_runtime.backends.engine import is_cpu
    from edgeclf_runtime.classifier import Classifier

    if streams is None:
        streams = options.thread_count if is_cpu(classifier.session.facts["device"]) else 1
    if streams == 1:
        return None
    return Classifier.open(classifier.bundle, replace(options, hint="throughput", streams=streams))
