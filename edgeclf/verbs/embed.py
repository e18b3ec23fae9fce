"""`edgeclf embed`: images or texts become vectors in a .npz file, whose dot products are their similarities."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import Bars, say, suggest, write_json
from edgeclf.verbs.shared.opening import for_many, require_no_failed_proof, session_options
from edgeclf.verbs.shared.options import (
    OWN_DEVICE,
    AllowFailedProof,
    AsJson,
    BatchSize,
    BundlePath,
    Cache,
    ComputePrecision,
    Device,
    Force,
    MaxMegabytes,
    MaxMegapixels,
    PixelsMode,
    Streams,
    Threads,
    shell_word,
)
from edgeclf.wording import count
from edgeclf_runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from edgeclf_runtime.embedder import Embedder, Embedding


def embed(
    bundle: BundlePath,
    images: Annotated[
        list[str] | None, typer.Argument(metavar="IMAGES", help="Image files and folders, for an image encoder.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", metavar="TEXT", help="Text to embed, for a text encoder; repeatable.")
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option("--texts", metavar="FILE", help="File of texts to embed, one per line, for a text encoder."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="File for the embeddings, .npz.")
    ] = Path("embeddings.npz"),
    batch_size: BatchSize = 1,
    device: Device = OWN_DEVICE,
    threads: Threads = None,
    streams: Streams = None,
    pixels: PixelsMode = "exact",
    cache: Cache = None,
    max_megapixels: MaxMegapixels = 64,
    max_megabytes: MaxMegabytes = 64,
    compute_precision: ComputePrecision = None,
    allow_failed_proof: AllowFailedProof = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Compute embeddings of images or texts.

    The bundle is an encoder that `export --encoder` made.

    The file holds `embeddings` (N, dimension) of length 1, `sources` (paths or texts) and `space`, which names the
    weights: embeddings of the same space can be compared, and the dot product of two is their cosine similarity. An
    unreadable image gets one line on standard error and is left out; the exit code is then 3. Exit code 1: the latest
    verification of this bundle on this machine failed, and nothing was embedded; --allow-failed-proof overrides that.

    \b
    Examples:
      edgeclf embed bundles/ViT-B-32-image-onnx-fp32 photos/ -o photos.npz
      edgeclf embed bundles/ViT-B-32-text-onnx-fp32 --text "a dog on a beach" -o words.npz
    """
    from PIL import Image

    from edgeclf.verbs.shared.image_inputs import collect_images
    from edgeclf_runtime.bundle.atomic_write import writing
    from edgeclf_runtime.embedder import Embedder
    from edgeclf_runtime.images.limits import Limits

    Image.MAX_IMAGE_PIXELS = None  # our own limits are stricter, and options
    options, mode = (
        session_options(device, threads, compute_precision, streams=streams, cache=cache),
        pixels,
    )
    if output.suffix != ".npz":
        raise UsageError(f"--output wants a name that ends in .npz, found {output}")
    if os.path.lexists(output) and not force:
        raise UsageError(f"{output} exists; give --force to replace it, or another --output")
    sentences = _texts(text or [], texts)
    if bool(images) == bool(sentences):
        raise UsageError("name either images, or texts with --text and --texts")
    collected = collect_images(images or [])
    if not sentences and not collected.paths:
        raise DataError(f"no images found in {', '.join(collected.empty)}")
    options = for_many(options, len(collected.paths))
    with Embedder.open(bundle, options, limits=Limits(max_megapixels, max_megabytes), mode=mode) as embedder:
        require_no_failed_proof(embedder, unproven=allow_failed_proof)
        found = _embed_texts(embedder, sentences) if sentences else _embed_images(embedder, collected.paths, batch_size)
    good = [each for each in found if each.vector is not None]
    if not good:
        raise DataError(f"none of {count(len(found), 'image')} could be read")
    with writing(output, force=force) as draft:
        _save(draft, good, embedder.space)
    width = len(good[0].vector) if good[0].vector is not None else 0
    if as_json:
        write_json("embed", {"written": str(output), "sources": [e.source for e in good], "width": width})
    say(f"wrote {output}: {count(len(good), 'embedding')} of {width} numbers", style="dim")
    if len(good) < len(found):
        raise DataError(f"{len(found) - len(good)} of {count(len(found), 'image')} could not be read and are left out")
    suggest(f"edgeclf verify {shell_word(bundle)}")


def _texts(given: list[str], file: Path | None) -> list[str]:
    if file is None:
        return given
    try:
        lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: can't be read as UTF-8 text ({error}); wanted one text per line") from error
    if not lines:
        raise DataError(f"{file}: holds no text; wanted one text per line")
    return [*given, *lines]


def _embed_texts(embedder: Embedder, texts: list[str]) -> list[Embedding]:
    from edgeclf_runtime.embedder import Embedding

    return [Embedding(text, vector) for text, vector in zip(texts, embedder.embed_texts(texts), strict=True)]


def _embed_images(embedder: Embedder, paths: Sequence[str], batch_size: int) -> list[Embedding]:
    found = []
    for each in Bars().track(embedder.embed_images(paths, batch_size=batch_size), len(paths), "embed"):
        if each.error is not None:
            say(f"edgeclf: {each.source}: {each.error}", style="red")
        found.append(each)
    return found


def _save(path: Path, found: list[Embedding], space: str) -> None:
    import numpy as np

    vectors = np.stack([each.vector for each in found if each.vector is not None])
    sources = [os.fsencode(each.source).decode("utf-8", "replace") for each in found]
    with path.open("wb") as file:
        np.savez(file, embeddings=vectors, sources=np.array(sources), space=np.array(space))
