"""The network whose weights learned to bear rounding: one float graph, which every target quantizes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.graph.editing import constants_of, cut_to
from edgeclf_export.quantize.activation_ranges import open_quietly, run_logits
from edgeclf_export.quantize.bias_correction import bias_shifts, correct_biases, shifted
from edgeclf_export.quantize.calibrated_network import CalibratedNetwork
from edgeclf_export.quantize.calibration import choose, digest, load_pixels
from edgeclf_export.quantize.learning.learn import BATCH, Lesson, Session, learn
from edgeclf_export.quantize.learning.operators import NoTorchForm
from edgeclf_export.quantize.learning.state import LearningState
from edgeclf_export.quantize.learning.torch_graph import TorchGraph
from edgeclf_export.quantize.sensitivity import divergence
from edgeclf_export.targets import ort_quantizer
from edgeclf_export.targets.quantizer import Ranges
from edgeclf_export.targets.target import ExportGraph
from edgeclf_runtime.bundle.manifest import to_input
from edgeclf_runtime.errors import BackendError
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.progress import Progress

_ALIKE = 0.01  # mean KL divergence in nats; where a sum is rounded otherwise, next to nothing
_MOST_BYTES = 2**30  # of pixels in memory: 7,100 images of 224 px, all of them at 64 px in most cases
_STEP_BYTES = 2**31  # that a step may take: one of 32 images of 224 px takes 5 to 8 GB
_UNSEEN, _MOST_UNSEEN = 5, 256  # one image of so many is not learned from, but shows whether learning helped


@dataclass(frozen=True)
class LearningOptions:
    """How long the weights may learn, from which images, and the file that keeps what they learned meanwhile."""

    minutes: float
    images: tuple[LabelledImage, ...]
    seed: int
    file: Path
    resume: bool


@dataclass(frozen=True)
class LearnedNetwork:
    """What quantizers take (`Network`): the learned weights, with the ranges of the float network, their teacher.

    The ranges stay, since the weights learned within them.
    """

    teacher: CalibratedNetwork
    export_graph: ExportGraph

    @property
    def inputs(self) -> NDArray[np.generic]:
        return self.teacher.inputs

    def ranges(self, method: str) -> Ranges:
        return self.teacher.ranges(method)

    def with_biases_corrected(self, quantized: bytes) -> bytes:
        return correct_biases(self.teacher.export_graph.onnx, quantized, self.inputs)


@dataclass(frozen=True)
class _Learned:
    """The float graph that learning began with, what was learned within which ranges, and images it did not see."""

    start: bytes
    state: LearningState
    ranges: Ranges
    unseen: Lesson


@dataclass(frozen=True)
class Learning:
    """Learning of one export: done at the first target that needs it, for all of them."""

    teacher: CalibratedNetwork
    options: LearningOptions
    progress: Progress

    @contextmanager
    def keeping_what_is_learned(self) -> Iterator[None]:
        """The export that it is done for: it ends with all its bundles, or the file stays, and a warning says so.

        So nothing is learned twice after an interruption, an error, or a target that does not pass the accuracy gate.
        """
        try:
            yield
        except BaseException:
            if "_learned" in vars(self):  # an interruption before is reported where weights learn
                self.progress.warn(
                    f"what was learned is kept in {self.options.file}: the same command with --resume goes on there, "
                    "also with more minutes (and with --force, if a bundle is there already), without it learning "
                    "starts anew"
                )
            raise
        if "_learned" in vars(self):
            self.options.file.unlink(missing_ok=True)

    @cached_property
    def network(self) -> LearnedNetwork:
        """Learns now. Raises BackendError where the graph can't be learned through, or that did not help."""
        export_graph = self.teacher.export_graph
        learned = self._nearest()
        exportable = replace(export_graph.exportable, make_onnx=lambda form, opset: learned)
        return LearnedNetwork(self.teacher, replace(export_graph, exportable=exportable))

    @cached_property
    def _learned(self) -> _Learned:
        import torch

        export_graph = self.teacher.export_graph
        if (batch := export_graph.exportable.batch) is not None:
            raise BackendError(f"weights can't learn: the graph is fixed to batches of {batch}")
        float_graph = export_graph.onnx
        ranges = self.teacher.ranges("min-max")  # that cuts nothing off, so that every value has a slope
        quantized = ort_quantizer.quantize(float_graph, ranges)
        start = shifted(float_graph, bias_shifts(float_graph, quantized, self.teacher.inputs))
        student = _student(ort_quantizer.quantize(start, ranges), start, self.teacher.inputs)
        images = self._images()
        layers = _layers(float_graph, student.taught) if student.taught else None
        unseen = min(len(images) // _UNSEEN, _MOST_UNSEEN)
        lesson = self._lesson(images, unseen)
        key = hashlib.sha256(b"".join([float_graph, quantized, digest(images).encode()])).hexdigest()
        in_memory = _STEP_BYTES // student.bytes_per_image(torch.from_numpy(self.teacher.inputs[:1]))
        batch = min(BATCH, len(images) - unseen, max(1, in_memory))
        options = self.options
        session = Session(options.minutes, options.seed, options.file, key, batch, resume=options.resume)
        state = learn(student, replace(lesson.part(unseen, None), layers=layers), session, self.progress)
        self.progress.note(f"learned {state.steps:,} steps of batch size {batch} in {state.seconds / 60:.1f} min")
        return _Learned(start, state, ranges, lesson.part(0, unseen))

    def _lesson(self, images: tuple[LabelledImage, ...], unseen: int) -> Lesson:
        """The images as the graph takes them, and what the float network predicts; announces what is to come."""
        export_graph, options = self.teacher.export_graph, self.options
        self.progress.note(
            f"learning through Q/DQ takes {options.minutes:g} min, on {len(images) - unseen} of {len(options.images)} "
            f"images that evaluate nothing; {unseen} more show whether it helped. The float network is the teacher. "
            "Ctrl-C stops it, --resume goes on"
        )
        self.progress.step("running the float network on the images to learn from")
        contract = export_graph.exportable.contract(export_graph.form)
        if contract.pixels is None:
            raise ValueError("an encoder of texts has no images to learn from")
        inputs = to_input(load_pixels(images, contract.pixels, "the images to learn from"), contract.normalization)
        return Lesson(inputs, run_logits(export_graph.onnx, inputs), self.teacher.multi_label)

    def _nearest(self) -> bytes:
        """What was learned, with its biases as they are or corrected again, whichever is nearer to the teacher.

        Biases learn with the weights, and may balance more than the means of channels. Raises BackendError where the
        graph that learning began with is nearer, on images that were not learned from.
        """
        learned, teacher = self._learned, self.teacher.export_graph.onnx
        plain = with_weights(learned.start, learned.state)
        shifts = bias_shifts(teacher, ort_quantizer.quantize(plain, learned.ranges), self.teacher.inputs)
        distance, graph = min((self._distance(each), each) for each in (plain, shifted(plain, shifts)))
        before = self._distance(learned.start)
        change = f"{before:.2g} to {distance:.2g} nats on {len(learned.unseen.inputs)} images it did not see"
        if not distance < before:  # NaN, too
            raise BackendError(
                f"learning did not help: the mean KL divergence from the float network went from {change}"
            )
        self.progress.note(f"learning changed the mean KL divergence from the float network from {change}")
        return graph

    def _distance(self, graph: bytes) -> float:
        """Mean divergence of a graph's predictions from the teacher's, in nats, when it is quantized."""
        unseen = self._learned.unseen
        found = run_logits(ort_quantizer.quantize(graph, self._learned.ranges), unseen.inputs)
        return divergence(unseen.teacher, found, multi_label=self.teacher.multi_label)

    def _images(self) -> tuple[LabelledImage, ...]:
        """All of them, or as many as fit into memory, class by class in turn; those that calibrated come last.

        The first ones show whether learning helped: ranges and biases were fitted to those that calibrated. Raises
        BackendError where they are too few to hold some back.
        """
        one = self.teacher.calibration.pixels[0].nbytes
        images = choose(self.options.images, max(BATCH, _MOST_BYTES // one), self.options.seed)
        if len(images) < _UNSEEN:
            raise BackendError(f"weights can't learn from fewer than {_UNSEEN} images, found {len(images)}")
        calibrated = self.teacher.calibration.hashes
        return tuple(sorted(images, key=lambda image: image.sha256 in calibrated))


def _student(quantized: bytes, float_graph: bytes, inputs: NDArray[np.generic]) -> TorchGraph:
    """The Q/DQ graph as a torch module. Raises BackendError where torch computes something else, or can't."""
    import torch

    few = inputs[:BATCH]
    try:
        student = TorchGraph(quantized, float_graph)
        with torch.no_grad():
            found = student(torch.from_numpy(few)).numpy()
    except NoTorchForm as error:
        raise BackendError(f"weights can't learn: {error} has no form in torch here") from error
    wanted = run_logits(quantized, few)
    if (distance := divergence(wanted, found)) > _ALIKE:
        raise BackendError(f"weights can't learn: torch computes other logits than the engine ({distance:.2g} nats)")
    return student


def _layers(
    float_graph: bytes, names: Sequence[str]
) -> Callable[[NDArray[np.generic]], dict[str, NDArray[np.float32]]]:
    """Of inputs, these tensors of the float network."""
    import onnx

    session = open_quietly(
        cut_to(onnx.load_from_string(float_graph), names, onnx.TensorProto.FLOAT).SerializeToString()
    )
    entry = session.get_inputs()[0].name
    return lambda inputs: dict(zip(names, session.run(list(names), {entry: inputs}), strict=True))


def with_weights(float_graph: bytes, state: LearningState) -> bytes:
    """The float graph with the weights that were learned, under the same names."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(float_graph)
    constants = constants_of(model.graph)
    for name, value in state.weights.items():
        constants[name].CopyFrom(numpy_helper.from_array(value, name))
    return bytes(model.SerializeToString())
