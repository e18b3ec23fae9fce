"""Plants a fault in the exporter, or in a finished bundle whose hashes are right again."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tiny
from fault_network import Trained
from faults import PIXELS, Case, Fault, wrong_mean
from numpy.typing import NDArray

from edgeclf_export.exporter import export
from edgeclf_export.options import ExportOptions
from edgeclf_export.proof import bundling
from edgeclf_export.proof.probes import write_probes
from edgeclf_export.quantize.calibrated_network import CalibratedNetwork
from edgeclf_export.quantize.calibration import load_calibration
from edgeclf_export.quantize.calibration_data import Int8Options
from edgeclf_export.sources import modules
from edgeclf_export.targets import litert_convert
from edgeclf_export.targets.quantizer import Network, Quantizer, Recipe
from edgeclf_export.targets.registry import TARGETS
from edgeclf_export.targets.target import Built, ExportGraph
from edgeclf_runtime.backends import torch_module
from edgeclf_runtime.backends.svm import Svm, read_svm
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest, Normalization
from edgeclf_runtime.bundle.quantization_report import AccuracyGate

_FORM, _OPSET = "uint8-nhwc", 18


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


_sound_wrapper = torch_module.with_normalization


def _wrong_wrapper(module: Any, normalization: Normalization | None, precision: str = "fp32") -> Any:
    if normalization is not None:
        normalization = replace(normalization, mean=(0.45, 0.45, 0.45))
    return _sound_wrapper(module, normalization, precision)


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
            fault = replace(fault, name="mean of 0.45", network=wrong_mean((0.45, 0.45, 0.45)))
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
    assert isinstance(svm, Svm)
    if name == "halved head":
        return replace(svm, dual_coefficients=svm.dual_coefficients * 0.5).to_bytes()
    if name == "zeroed bias":
        return replace(svm, intercepts=np.zeros_like(svm.intercepts)).to_bytes()
    rows: NDArray[np.float64] = svm.dual_coefficients[::-1].copy()
    return replace(svm, dual_coefficients=rows).to_bytes()
