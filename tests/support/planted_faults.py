"""Faults planted in bundles whose hashes are right: which verb finds which? `docs/proof.md` has the table.

    python tests/support/planted_faults.py                      # all: 10 minutes, writes the table in docs/proof.md
    python tests/support/planted_faults.py "other background"   # writes that row alone
    python tests/support/planted_faults.py --litert             # of litert's bundles: the table in docs/litert.md

A fault is planted twice: in the exporter, which shall not publish such a bundle, and in a finished bundle, which
`verify` shall refuse on the device and `bench` shall not time.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import tiny
from numpy.typing import NDArray
from PIL import Image

from edgeclf_benchmarks.measuring.bench import _prove
from edgeclf_benchmarks.measuring.options import BenchOptions
from edgeclf_benchmarks.measuring.state import BenchState, line_up
from edgeclf_export.exportable import Exportable
from edgeclf_export.exporter import export
from edgeclf_export.options import ExportOptions
from edgeclf_export.proof import bundling
from edgeclf_export.proof.images import shipped_photographs
from edgeclf_export.proof.probes import write_probes
from edgeclf_export.quantize.calibrated_network import CalibratedNetwork
from edgeclf_export.quantize.calibration import load_calibration
from edgeclf_export.quantize.calibration_data import Int8Options
from edgeclf_export.sources import modules
from edgeclf_export.sources.modules import exportable_from_module
from edgeclf_export.targets import litert_convert
from edgeclf_export.targets.quantizer import Network, Quantizer, Recipe
from edgeclf_export.targets.registry import TARGETS
from edgeclf_export.targets.target import Built, ExportGraph
from edgeclf_export.targets.tensorrt.graph_session import open_graph
from edgeclf_runtime.backends import torch_module
from edgeclf_runtime.backends.hog_svm import read_svm
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest, Normalization, Reference, Thresholds
from edgeclf_runtime.bundle.proof import Proof, Tolerances
from edgeclf_runtime.bundle.quantization_report import AccuracyGate
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import BackendError, GateError
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.images.data_split import DataSplit, LabelledData
from edgeclf_runtime.images.labelled import SPLITS, LabelledImage, class_numbers
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.progress import SILENT

ROOT = Path(__file__).parents[2]
SIDE = 32
LABELS = ("astronaut", "chelsea", "china", "coffee")
PIXELS = Pixels("shorter", (36, 36), (SIDE, SIDE), "bicubic")
HALF = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_IMAGENET = (0.485, 0.456, 0.406)
_FORM, _OPSET = "uint8-nhwc", 18


class Case(NamedTuple):
    """A target and a precision."""

    target: str
    precision: str

    def __str__(self) -> str:
        return f"{self.target} {self.precision}"


CASES = tuple(
    Case(target, precision)
    for target, precisions in {
        "onnx": ("fp32", "fp16", "int8"),
        "openvino": ("fp32", "fp16", "bf16", "int8"),
        "litert": ("fp32", "fp16", "int8") if find_spec("litert_torch") else (),  # of the extra litert-export
        "pytorch": ("fp32", "fp16", "bf16"),
        "tensorrt": ("fp32", "fp16", "bf16", "int8"),
        "hog-svm": ("fp32",),
    }.items()
    for precision in precisions
)


@dataclass(frozen=True)
class Fault:
    """What is planted. `network`: in the graph; `manifest`: in what the bundle says; `claim`: in what it stores."""

    name: str
    network: Callable[[Any, Normalization], tuple[Any, Normalization]] | None = None
    manifest: Callable[[Manifest], Manifest] | None = None
    claim: bool = False
    wrapper: bool = False
    lenient: bool = False

    def fits(self, case: Case) -> bool:
        if case.target == "hog-svm":
            return self.name in _OF_SVM or self.manifest is not None
        if self.claim:
            return case.precision == self.name.removeprefix("fp32 for ") and case != ("openvino", "bf16")
        return not (self.name == "altered temperature" and case.target == "hog-svm")


# --- the faults ------------------------------------------------------------------------------------------------------


def _mean(mean: tuple[float, float, float]) -> Callable[[Any, Normalization], tuple[Any, Normalization]]:
    return lambda module, normalization: (module, replace(normalization, mean=mean))


def _in_weights(change: Callable[[Any], None]) -> Callable[[Any, Normalization], tuple[Any, Normalization]]:
    """A fault in the weights of a copy of the network."""

    def plant(module: Any, normalization: Normalization) -> tuple[Any, Normalization]:
        import torch

        changed = copy.deepcopy(module)
        with torch.no_grad():
            change(changed)
        return changed, normalization

    return plant


def _swap_colours(network: Any) -> None:
    """The first convolution with its input channels turned round: mean and std are the same for each."""
    weight = network.conv1[0].weight
    weight.copy_(weight.flip(1).clone())


def _swap_rows(network: Any) -> None:
    for values in (network.fc.weight, network.fc.bias):
        values.copy_(values[[1, 0, *range(2, len(LABELS))]].clone())


def _pixels(**changes: Any) -> Callable[[Manifest], Manifest]:
    return lambda manifest: replace(manifest, pixels=replace(manifest.pixels or PIXELS, **changes))


def _swap_labels(manifest: Manifest) -> Manifest:
    first, second, *others = manifest.labels
    return replace(manifest, labels=(second, first, *others))


FAULTS = (
    Fault("mean wrong by 0.001", network=_mean((0.501, 0.501, 0.501))),
    Fault("ImageNet's mean for the model's own", network=_mean(_IMAGENET)),
    Fault("red and blue swapped", network=_in_weights(_swap_colours)),
    Fault("halved head", network=_in_weights(lambda network: network.fc.weight.mul_(0.5))),
    Fault("zeroed bias", network=_in_weights(lambda network: network.fc.bias.zero_())),
    Fault("swapped rows of the head", network=_in_weights(_swap_rows)),
    Fault("wrapper of graph and PyTorch wrong", wrapper=True),
    Fault("fp32 for fp16", claim=True),
    Fault("fp32 for int8", claim=True),
    Fault("wrong interpolation", manifest=_pixels(interpolation="nearest")),
    Fault("other background", manifest=_pixels(background=(0, 0, 0))),
    Fault("other value range", manifest=_pixels(value_range=(0.0, 4095.0))),
    Fault("swapped labels", manifest=_swap_labels),
    Fault("altered temperature", manifest=lambda m: replace(m, temperature=1.3 * m.temperature)),
    Fault("altered threshold", manifest=lambda m: replace(m, thresholds=Thresholds(unknown_below=0.2))),
    Fault("sigmoid for softmax", manifest=lambda m: replace(m, scores="sigmoid")),
    Fault(
        "relaxed tolerances",
        manifest=lambda m: replace(m, tolerances=Tolerances(relative=10.0, cosine=-1.0, kl=100.0)),
        lenient=True,
    ),
)
_OF_SVM = ("halved head", "zeroed bias", "swapped rows of the head")
_START, _END = "<!-- planted faults -->\n", "<!-- end -->"
_HEAD = ("| planted | `export` publishes it | `verify` | `bench` |", "| --- | --- | --- | --- |")
WHY_NOT = {
    "swapped labels": "the labels of a run or of `--labels` are the only ones there are",
    "altered temperature": "the run's own temperature is the only one there is",
    "altered threshold": "the run's own thresholds are the only ones there are",
    "sigmoid for softmax": "the kind of scores is what the caller says",
    "relaxed tolerances": "no fault by itself: the proof goes by edgeclf's own table",
}


# --- a small trained network and its data ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Trained:
    """A network of timm's that tells patches of four photographs apart, and those patches."""

    module: Any
    data: LabelledData
    builder: torch_module.Builder
    made: dict[str, Exportable] = field(default_factory=dict)
    tflite: dict[int, bytes] = field(default_factory=dict)

    def converted(self, export_graph: ExportGraph) -> bytes:
        """What LiteRT's converter makes of it, a quarter of a minute each; made once for all precisions and verbs."""
        exportable = id(export_graph.exportable)
        if exportable not in self.tflite:
            self.tflite[exportable] = _sound_convert(export_graph)
        return self.tflite[exportable]

    def exportable(self, fault: Fault | None = None) -> Exportable:
        """The network with the fault in its graph and weights, and none in its reference. Made once for all targets."""
        name = fault.name if fault is not None and (fault.network is not None or fault.wrapper) else ""
        if name not in self.made:
            self.made[name] = self._with(fault)
        return self.made[name]

    def _with(self, fault: Fault | None) -> Exportable:
        if fault is None or fault.network is None:
            return self._as(self.module, HALF)
        sound = self.exportable()
        module, normalization = fault.network(self.module, HALF)
        faulty = self._as(module, normalization)
        return replace(
            sound,
            make_onnx=faulty.make_onnx,
            make_module=faulty.make_module,
            state=faulty.state,
            normalization=normalization,
        )

    def _as(self, module: Any, normalization: Normalization) -> Exportable:
        made = exportable_from_module(
            module,
            labels=LABELS,
            pixels=PIXELS,
            normalization=normalization,
            backbone="patches",
            weights="module",
            reference=Reference("pytorch", "patches"),
            builder=self.builder,
            proof_files=tuple(image.path for image in self.data.split.of("val")),
        )
        return replace(made, data=self.data, make_onnx=cache(made.make_onnx))


def train(folder: Path, *, patches: int = 40, steps: int = 40) -> Trained:
    """`patches` of each photograph for each split, and `steps` of training on one thread: a few seconds."""
    import torch

    data = _draw_patches(folder, patches)
    builder = torch_module.Builder("timm", "test_resnet", {"num_classes": len(LABELS)})
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    module = torch_module.build_module(builder).train()
    train = data.split.of("train")
    images = torch.from_numpy(np.stack([image.load(PIXELS) for image in train]))
    batch = (images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    labels = torch.from_numpy(class_numbers(train, LABELS))
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(batch), labels, label_smoothing=0.1).backward()
        optimizer.step()
    torch.set_num_threads(threads)
    return Trained(module.eval(), data, builder)


def _draw_patches(folder: Path, count: int) -> LabelledData:
    random = np.random.default_rng(0)
    files = {path.stem: path for path in shipped_photographs()}
    images: list[LabelledImage] = []
    for name in LABELS:
        picture = np.asarray(Image.open(files[name]).convert("RGB"))
        for split in SPLITS:
            for place in range(count):
                top, left = (int(random.integers(0, size - 72)) for size in picture.shape[:2])
                path = folder / split / name / f"{place}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture[top : top + 72, left : left + 72]).save(path)
                images.append(LabelledImage(path, f"{split}/{name}/{place}.png", (name,), hash_file(path), split=split))
    data = DataSplit(root=folder, classes=tuple(LABELS), images=tuple(images))
    return LabelledData(data, "run patches", lambda subject: "use no. 1")


# --- planted in the exporter -----------------------------------------------------------------------------------------


def export_case(trained: Trained, case: Case, output: Path, fault: Fault | None = None) -> Path:
    """The published bundle. Raises GateError where the exporter finds the fault."""
    if case.target == "hog-svm":
        folder = tiny.build(output / "hog-svm", "hog-svm").path
        manifest = Bundle.open(folder).manifest
        (folder / "golden/probe.png").unlink()
        probes = write_probes(folder / "golden", manifest.pixels or PIXELS)  # as `baseline` writes them
        return tiny.reseal(folder, golden=replace(manifest.golden, probes=probes)).path
    options = ExportOptions(
        (case.target,), case.precision, output=output, name="patches", int8=Int8Options(gate=AccuracyGate(points=5.0))
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch("edgeclf_export.targets.tensorrt.target.import_rtx", lambda: None))
        stack.enter_context(mock.patch.object(litert_convert, "_convert", trained.converted))
        if fault is not None:
            _plant_in_exporter(fault, case, stack)
        (made, *_) = export(trained.exportable(fault), options)
    return made.path


def _plant_in_exporter(fault: Fault, case: Case, stack: contextlib.ExitStack) -> None:
    if fault.wrapper:
        for place in (modules, torch_module):
            stack.enter_context(mock.patch.object(place, "with_normalization", _wrong_wrapper))
    if fault.manifest is not None:
        describe, change = bundling.describe, fault.manifest
        for place in ("edgeclf_export.proof.bundling", "edgeclf_export.quantize.trial"):
            stack.enter_context(mock.patch(f"{place}.describe", lambda *given: change(describe(*given))))
    if fault.claim:
        target = TARGETS[case.target]

        def pretend(hub: ExportGraph, precision: str, folder: Path) -> Built:
            built = target.build(hub, "fp32", folder)
            computed = precision if target.audit is None else built.compute_precision
            return replace(built, weights_precision=precision, compute_precision=computed)

        def pretend_int8(network: Network, recipe: Recipe, folder: Path) -> Built:
            return replace(
                target.build(network.export_graph, "fp32", folder), weights_precision="int8", compute_precision="int8"
            )

        lying = replace(target, build=pretend)
        if case.precision == "int8":
            lying = replace(target, quantizer=replace(_quantizer(case), write=pretend_int8))
        stack.enter_context(mock.patch.dict(TARGETS, {case.target: lying}))


def _quantizer(case: Case) -> Quantizer:
    quantizer = TARGETS[case.target].quantizer
    assert quantizer is not None
    return quantizer


_sound_convert = litert_convert._convert
_sound_wrapper = torch_module.with_normalization


def _wrong_wrapper(module: Any, normalization: Normalization | None, precision: str = "fp32") -> Any:
    if normalization is not None:
        normalization = replace(normalization, mean=(0.45, 0.45, 0.45))
    return _sound_wrapper(module, normalization, precision)


# --- planted in a finished bundle ------------------------------------------------------------------------------------


def make_faulty(trained: Trained, case: Case, sound: Path, fault: Fault, place: Path) -> Bundle:
    """A copy of the sound bundle with the fault in it and right hashes."""
    shutil.copytree(sound, place)
    manifest = Bundle.open(place).manifest
    if fault.manifest is not None:
        return tiny.reseal(place, **_changes(manifest, fault.manifest(manifest)))
    if case.target == "hog-svm":
        (place / "model.npz").write_bytes(_faulty_svm((place / "model.npz").read_bytes(), fault.name))
        return tiny.reseal(place)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch("edgeclf_export.targets.tensorrt.target.import_rtx", lambda: None))
        stack.enter_context(mock.patch.object(litert_convert, "_convert", trained.converted))
        if fault.wrapper:  # of a finished bundle this is a graph with another mean
            fault = replace(fault, name="mean of 0.45", network=_mean((0.45, 0.45, 0.45)))
        with tempfile.TemporaryDirectory() as scratch:
            _write_model(trained, case, manifest, fault, Path(scratch))
            for file in Path(scratch).iterdir():
                shutil.copyfile(file, place / file.name)
    if case.target == "pytorch":  # its wrapper takes the mean from the manifest
        return tiny.reseal(place, normalization=trained.exportable(fault).normalization)
    return tiny.reseal(place)


def _write_model(trained: Trained, case: Case, manifest: Manifest, fault: Fault, folder: Path) -> None:
    hub = ExportGraph(trained.exportable(fault), _FORM, _OPSET)
    if fault.claim or case.precision != "int8":
        TARGETS[case.target].build(hub, "fp32" if fault.claim else case.precision, folder)
        return
    ladder = manifest.ladder
    assert ladder is not None
    words = ladder.chosen.removeprefix("int8 ").split(" + ")
    data = trained.data
    judges = {image.sha256 for image in (*data.split.of("val"), *data.split.of("test"))}
    calibration = load_calibration(data.split.of("train"), judges, PIXELS, called="training images of run patches")
    _quantizer(case).write(CalibratedNetwork(hub, calibration), Recipe(words[0], "bias" in words), folder)


def _changes(before: Manifest, after: Manifest) -> dict[str, Any]:
    names = ("labels", "scores", "temperature", "thresholds", "pixels", "tolerances")
    return {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}


def _faulty_svm(data: bytes, name: str) -> bytes:
    svm = read_svm(data)
    if name == "halved head":
        return replace(svm, dual_coefficients=svm.dual_coefficients * 0.5).to_bytes()
    if name == "zeroed bias":
        return replace(svm, intercepts=np.zeros_like(svm.intercepts)).to_bytes()
    rows: NDArray[np.float64] = svm.dual_coefficients[::-1].copy()
    return replace(svm, dual_coefficients=rows).to_bytes()


def verify_case(bundle: Bundle) -> Proof:
    """As `edgeclf verify` does; of a portable bundle its graph, since no engine runs here."""
    if bundle.manifest.state == "portable":
        return verify(bundle, open_bundle=lambda given, _: open_graph(given))
    return verify(bundle)


def found_by_verify(bundle: Bundle, fault: Fault) -> bool:
    try:
        proof = verify_case(bundle)
    except BackendError as error:  # an engine that reads back what it computes in does not even open it
        return "its manifest says" in str(error)
    return bool(proof.notes) if fault.lenient else proof.verdict == "fail"


def found_by_bench(bundle: Bundle, fault: Fault) -> bool:
    """Whether `bench` leaves the row out of its timing."""
    options = BenchOptions(plain_loop=False)
    parts, _ = line_up([bundle], None, options)
    state = BenchState(options, parts, parts[0], None, mock.Mock(), 0.0)
    with tempfile.TemporaryDirectory() as proofs, mock.patch.object(Bundle, "sidecar", Path(proofs)):
        try:
            _prove(state, SILENT)
        except GateError:
            return True
        except BackendError as error:
            return "its manifest says" in str(error)
    proof = parts[0].proof
    return bool(fault.lenient and proof and proof.notes)


# --- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """Which verbs found one fault in one case; None: not planted there."""

    case: Case
    export: bool | None
    verify: bool
    bench: bool | None


def try_fault(trained: Trained, fault: Fault, sound: dict[Case, Path], folder: Path) -> Iterator[Found]:
    for case, bundle in sound.items():
        if not fault.fits(case):
            continue
        place = folder / f"{fault.name}-{case}".replace(" ", "-")
        exported: bool | None = None
        if case.target != "hog-svm":
            try:
                exported = bool(Bundle.open(export_case(trained, case, place / "exported", fault)).path is None)
            except GateError:
                exported = True
        faulty = make_faulty(trained, case, bundle, fault, place / "faulty")
        portable = faulty.manifest.state == "portable"
        yield Found(case, exported, found_by_verify(faulty, fault), None if portable else found_by_bench(faulty, fault))


def row(fault: str, found: list[Found]) -> str:
    """One line of the table."""
    cells = [_cell({each.case: getattr(each, verb) for each in found}) for verb in ("export", "verify", "bench")]
    if fault in WHY_NOT and cells[0].startswith("nothing"):
        cells[0] = f"yes: {WHY_NOT[fault]}"
    elif cells[0].startswith("found"):
        cells[0] = f"no: {cells[0]}"
    return f"| {fault} | {' | '.join(cells)} |"


def write_rows(page: Path, rows: dict[str, str]) -> None:
    """Puts the rows into the table of the page, in the order of FAULTS; others stay as they are."""
    before, rest = page.read_text(encoding="utf-8").split(_START)
    old, after = rest.split(_END)
    known = {line.split(" | ")[0].removeprefix("| "): line for line in old.splitlines()[2:]} | rows
    lines = [*_HEAD, *(known[fault.name] for fault in FAULTS if fault.name in known)]
    page.write_text(f"{before}{_START}{chr(10).join(lines)}\n{_END}{after}", encoding="utf-8")


def _cell(outcomes: dict[Case, bool | None]) -> str:
    known = {case: hit for case, hit in outcomes.items() if hit is not None}
    hits = [case for case, hit in known.items() if hit]
    if not known:
        return "–"
    if len(hits) == len(known):
        return f"found, {len(known)} of {len(known)}"
    if not hits:
        return f"nothing, 0 of {len(known)}"
    return f"found, but for {', '.join(str(case) for case, hit in known.items() if not hit)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", default=[fault.name for fault in FAULTS], metavar="FAULT")
    parser.add_argument("--litert", action="store_true", help="its bundles alone; needs litert-export")
    given = parser.parse_args()
    cases = [case for case in CASES if (case.target == "litert") == given.litert]
    page = ROOT / "docs" / ("litert.md" if given.litert else "proof.md")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        trained = train(folder / "patches")
        sound = {}
        for case in cases:
            sound[case] = export_case(trained, case, folder / "sound" / str(case).replace(" ", "-"))
            print(f"sound: {case}: {verify_case(Bundle.open(sound[case])).verdict}", file=sys.stderr)
        for fault in (fault for fault in FAULTS if fault.name in given.faults):
            found = list(try_fault(trained, fault, sound, folder))
            print(row(fault.name, found), *found, sep="\n  ", file=sys.stderr)
            write_rows(page, {fault.name: row(fault.name, found)})


if __name__ == "__main__":
    main()
