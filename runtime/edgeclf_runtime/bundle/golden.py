"""What a manifest records of its golden items: images, texts, probes, and the outputs that they must give."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GoldenImage:
    """A real image, the pixels it must become (lossless) and their hash: decoding and engine are evaluated apart."""

    image: str
    pixels: str
    pixels_sha256: str


@dataclass(frozen=True, slots=True)
class Probe:
    """A small synthetic image that shows what photographs don't, and the hash of the pixels that it must become.

    `shows` names it for messages: "a transparent background", "values of 16 bits".
    """

    image: str
    pixels_sha256: str
    shows: str


@dataclass(frozen=True, slots=True)
class Golden:
    """Golden images and, in the .npy file `outputs`, the reference's outputs for them in the same order.

    Of a text encoder: golden `texts`, and the .npy file of the `tokens` that they must become. `probes` are only
    decoded, never run.
    """

    images: tuple[GoldenImage, ...]
    outputs: str
    texts: tuple[str, ...] = ()
    tokens: str | None = None
    probes: tuple[Probe, ...] = ()


@dataclass(frozen=True, slots=True)
class OwnOutputs:
    """What the finished model itself gave for the golden items, on the machine that made the bundle.

    Attributes
    ----------
    outputs
        .npy file of its outputs, in the order of the golden items.
    predictions
        .json file of the same as a user sees them (`own_outputs.py`); None: of an encoder.
    machine
        What decides how an engine rounds: engine, version, device, processor and its features.
    compute_precision
        What the engine computed in.
    """

    outputs: str
    predictions: str | None
    machine: dict[str, str]
    compute_precision: str
