"""Weights that timm and torchvision publish: downloaded once by their own clients, silently, with a timeout."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit
from urllib.request import getproxies

from edgeclf_export.sources.weights import PACKAGES, State
from edgeclf_runtime.errors import DataError, one_line

HUB = "https://huggingface.co"
_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_TIMEOUT_S = 5.0


def quiet_hub() -> None:
    """Turns off usage reports and progress bars of timm's hub client; call it before timm is imported."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def load_published(library: str, name: str, size: dict[str, int]) -> tuple[State, str]:
    """The published weights and their origin for the manifest; what is cached needs no network.

    `size` is {"img_size": pixels} for a timm model whose weights depend on it, else empty.

    Raises DataError, which has the ways without a network, where the download fails for any reason.
    """
    fetch = _from_timm if library == "timm" else _from_torchvision
    try:
        return fetch(name, size)
    except (OSError, RuntimeError, ValueError, LookupError, AttributeError, pickle.PickleError) as error:
        package, entry = next(iter(PACKAGES.items()))
        raise DataError(
            f"the published weights of {name} are not available ({one_line(error)}); give --weights FILE, "
            f"--weights random, or a package: --model {entry.backbone} --weights {package}"
        ) from error


def _from_timm(name: str, size: dict[str, int]) -> tuple[State, str]:
    import timm

    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if not (config.hf_hub_id or config.url):
        raise LookupError("timm publishes none for it")
    with impatient_hub(os.environ.get("HF_ENDPOINT", HUB) if config.hf_hub_id else config.url):
        module = timm.create_model(name, pretrained=True, **size)  # resamples a ViT's position embedding to its size
    return module.state_dict(), f"hub:{config.hf_hub_id or config.url}"


def _from_torchvision(name: str, size: dict[str, int]) -> tuple[State, str]:
    from torchvision import models

    published = models.get_model_weights(name).DEFAULT
    with impatient_hub(published.url), _without_pickle():
        module = models.get_model(name, weights=published)
    return module.state_dict(), f"hub:torchvision {published}"


@contextlib.contextmanager
def impatient_hub(url: str) -> Iterator[None]:
    """Within the block an unreachable hub fails silently in seconds, not after a minute of its client's retries."""
    from huggingface_hub import constants

    reachable = _can_reach(url)
    logger = logging.getLogger("huggingface_hub")
    before = logger.level, socket.getdefaulttimeout(), constants.HF_HUB_OFFLINE
    logger.setLevel(logging.ERROR)
    socket.setdefaulttimeout(2 * _TIMEOUT_S)
    constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE or not reachable
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # torch.hub announces its downloads there
            yield
    except (OSError, RuntimeError) as error:
        if reachable:
            raise
        raise OSError(f"{urlsplit(url).hostname} can't be reached, and they are not in its cache here") from error
    finally:
        logger.setLevel(before[0])
        socket.setdefaulttimeout(before[1])
        constants.HF_HUB_OFFLINE = before[2]


@contextlib.contextmanager
def _without_pickle() -> Iterator[None]:
    """Within the block torch reads tensors alone, though torchvision does not ask it to."""
    before = os.environ.get(_WEIGHTS_ONLY)
    os.environ[_WEIGHTS_ONLY] = "1"
    try:
        yield
    finally:
        os.environ.pop(_WEIGHTS_ONLY)
        if before is not None:
            os.environ[_WEIGHTS_ONLY] = before


def _can_reach(url: str) -> bool:
    """True where the host of `url` takes a connection, or a proxy is set up for it."""
    if getproxies().keys() & {"https", "all"}:
        return True
    place = urlsplit(url)
    reached: list[bool] = []

    def connect() -> None:
        with contextlib.suppress(OSError):
            socket.create_connection((place.hostname, place.port or 443), timeout=_TIMEOUT_S).close()
            reached.append(True)

    thread = threading.Thread(target=connect, daemon=True)  # resolving a name has no timeout of its own
    thread.start()
    thread.join(_TIMEOUT_S)
    return bool(reached)
