"""Torch modules as a source: any `nn.Module` from normalised images to logits."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.exportable import Exportable, Training
from edgeclf_export.graph.onnx_graph import EMBEDDINGS_NAME, INPUT_NAME, OUTPUT_NAME, finish_graph
from edgeclf_runtime.backends.torch_head import head_of, run_with_features
from edgeclf_runtime.backends.torch_module import Builder, with_normalization
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.bundle.manifest import Normalization, Reference
from edgeclf_runtime.errors import DataError, UsageError, one_line
from edgeclf_runtime.images.pixels import Pixels

if TYPE_CHECKING:
    import torch

ReferenceInput = Callable[[NDArray[np.uint8]], "torch.Tensor"]  # (N, H, W, 3) -> (N, 3, H, W) normalised float32


def exportable_from_module(
    module: torch.nn.Module,
    *,
    labels: tuple[str, ...],
    pixels: Pixels,
    normalization: Normalization,
    backbone: str,
    weights: str,
    reference: Reference,
    builder: Builder | None = None,
    deploy: Callable[[torch.nn.Module], torch.nn.Module] = lambda module: module,
    pixel_reference: Callable[..., NDArray[np.uint8]] | None = None,
    scores: Literal["softmax", "sigmoid"] = "softmax",
    embedding_width: int | None = None,
    training: Training | None = None,
    proof_files: tuple[Path, ...] = (),
    reference_input: ReferenceInput | None = None,
) -> Exportable:
    """A module (N, 3, H, W) normalised float32 -> (N, classes) logits, as the exporter takes it.

    `reference_input` prepares the reference's images, by default torchvision with `normalization`. It shares no code
    with the normalisation in the graph, so that a fault there is found.

    With `embedding_width` an encoder: no labels, and embeddings in place of logits.

    `deploy` gives the module that goes into the ONNX file; the reference, and the pytorch target, stay as trained.
    Raises UsageError where the module gives anything else for a batch of two images.
    """
    module = module.eval()
    output = OUTPUT_NAME if embedding_width is None else EMBEDDINGS_NAME
    _check_output(module, pixels, embedding_width or len(labels), output)

    prepare = reference_input or normalized_by_torchvision(normalization)

    def make_module(form: str) -> torch.nn.Module:
        return _whole(deploy(module), normalization, form)

    return Exportable(
        backbone=backbone,
        weights=weights,
        labels=labels,
        pixels=pixels,
        normalization=normalization,
        reference=reference,
        run_reference=lambda batch: _run(module, prepare, batch),
        run_features=lambda batch: _run_features(module, prepare, batch),
        make_onnx=lambda form, opset: _to_onnx(make_module(form), pixels, form, opset, output),
        make_module=make_module,
        builder=builder,
        state=module.state_dict() if builder is not None else None,
        pixel_reference=pixel_reference,
        scores=scores,
        embedding_width=embedding_width,
        training=training,
        proof_files=proof_files,
    )


def _check_output(module: torch.nn.Module, pixels: Pixels, width: int, what: str) -> None:
    import torch

    shape = (2, 3, *pixels.crop_px)
    with torch.inference_mode():
        try:
            output = module(torch.zeros(shape))
        except (RuntimeError, AssertionError, ValueError, TypeError, LookupError) as error:
            raise UsageError(f"the module fails on two images, {shape} float32: {one_line(error)}") from error
    if not isinstance(output, torch.Tensor):
        raise UsageError(f"wanted {what} (2, {width}) as one tensor, the module gave a {type(output).__name__}")
    if output.shape != (2, width):
        found = tuple(output.shape)
        labels = f" and {width} labels" if what == OUTPUT_NAME else ""
        raise UsageError(f"wanted {what} (2, {width}) for two images{labels}, the module gave {found}")


def normalized_by_torchvision(normalization: Normalization) -> ReferenceInput:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32, by torchvision's own scaling and normalisation."""

    def prepare(pixels: NDArray[np.uint8]) -> torch.Tensor:
        import torch

        guard_torchvision()
        from torchvision.transforms import functional

        scaled = functional.convert_image_dtype(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.float32)
        normalized: torch.Tensor = functional.normalize(scaled, list(normalization.mean), list(normalization.std))
        return normalized

    return prepare


def _run(
    module: Callable[[torch.Tensor], torch.Tensor],
    prepare: ReferenceInput,
    pixels: NDArray[np.uint8],
    batch_size: int = 8,
) -> NDArray[np.float32]:
    import torch

    outputs = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch_size):
            outputs.append(module(prepare(pixels[start : start + batch_size])).float().numpy())
    return np.concatenate(outputs)


def _run_features(module: torch.nn.Module, prepare: ReferenceInput, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the module's head takes, (N, width)."""
    head = head_of(module, prepare(pixels[:1]))

    def features(batch: torch.Tensor) -> torch.Tensor:
        return run_with_features(module, head, batch)[1]

    return _run(features, prepare, pixels)


def _whole(module: torch.nn.Module, normalization: Normalization, form: str) -> torch.nn.Module:
    """The module behind its pixel contract: what goes into an engine's files."""
    import torch

    class Contiguous(torch.nn.Module):
        """Copies permuted pixels, which are channels-last: torch's pooling would trace a strided copy (a Gather)."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.contiguous()

    if form != "uint8-nhwc":
        return module
    return with_normalization(torch.nn.Sequential(Contiguous(), module), normalization)


def _to_onnx(whole: torch.nn.Module, pixels: Pixels, form: str, opset: int, output: str) -> bytes:
    import torch

    height, width = pixels.crop_px
    if form == "uint8-nhwc":
        sample = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
    else:
        sample = torch.zeros(2, 3, height, width)
    return to_onnx(whole, sample, opset, input_name=INPUT_NAME, output_name=output)


def to_onnx(module: torch.nn.Module, sample: torch.Tensor, opset: int, *, input_name: str, output_name: str) -> bytes:
    """Through torch's dynamo exporter, with a batch that varies; a sample of one item would freeze it to 1."""
    import torch

    with _quiet():
        try:
            program = torch.onnx.export(
                module,
                (sample,),
                dynamo=True,
                dynamic_shapes=({0: "batch"},),
                opset_version=opset,
                input_names=[input_name],
                output_names=[output_name],
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise DataError(f"torch can't export this module to ONNX opset {opset}: {_reason(error)}") from error
    assert program is not None  # dynamo=True returns the program
    return finish_graph(program.model_proto)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's progress and its own deprecation warnings; errors are raised, not printed."""
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in ("torch.onnx", "onnxscript")}
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in loggers.items():
            logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """The first cause in torch's chain of errors; the others name its own steps, with lines of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(error, 300)
