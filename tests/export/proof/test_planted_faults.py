"""Each planted fault is found by the verb that a user would type: in int8 by verify and bench, in 16 bits by export.

`planted_faults.py` tries all of them for all targets and writes the table of docs/proof.md; so does the slow test.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
from fault_finding import found_by_bench, found_by_verify, verify_case
from fault_network import Trained, train
from fault_planting import export_case, make_faulty
from faults import CASES, FAULTS, WHY_NOT, Case, Fault

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import GateError

HARDEST = Case("openvino", "int8")  # where the proof has the most to allow for
AT_EXPORT = ("mean wrong by 0.001", "fp32 for fp16", "wrong interpolation")  # a kind each: network, claim, pixels
# a fault in the network, whose calibration takes seconds; what is claimed; and the limits, which int8 has of its own
IN_INT8 = ("mean wrong by 0.001", "fp32 for int8", "relaxed tolerances")
IN_FP16 = [fault.name for fault in FAULTS if fault.manifest is not None or fault.name == "fp32 for fp16"]
FINISHED = [
    *(
        pytest.param(fault, HARDEST, marks=pytest.mark.check if fault.network else [])  # it is calibrated anew: seconds
        for fault in FAULTS
        if fault.name in IN_INT8
    ),
    *((fault, Case("onnx", "fp16")) for fault in FAULTS if fault.name in IN_FP16),
]
Sound = Callable[[Case], Path]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("patches"), patches=20, small=True)


@pytest.fixture(scope="session")
def sound(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """The bundle of a case without any fault; tests leave it as it is."""
    return made_once(trained, tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="session")
def trained_backbone(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("patches"))


@pytest.fixture(scope="session")
def sound_backbone(trained_backbone: Trained, tmp_path_factory: pytest.TempPathFactory) -> Sound:
    return made_once(trained_backbone, tmp_path_factory.mktemp("sound"))


def made_once(trained: Trained, folder: Path) -> Sound:
    @cache
    def sound(case: Case) -> Path:
        return export_case(trained, case, folder / str(case).replace(" ", "-"))

    return sound


def found(fault: Fault, case: Case, trained: Trained, sound: Sound, folder: Path) -> tuple[bool, bool | None]:
    """Whether verify, and bench, find the fault in a finished bundle."""
    faulty = make_faulty(trained, case, sound(case), fault, folder / "faulty")
    by_bench = None if faulty.manifest.state == "portable" else found_by_bench(faulty, fault)
    return found_by_verify(faulty, fault), by_bench


@pytest.mark.check
def test_a_bundle_that_is_rebuilt_without_a_fault_passes(trained: Trained, sound: Sound, tmp_path: Path) -> None:
    """Or the tests below would find the making, and not the fault."""
    nothing = Fault("nothing", network=lambda module, normalization: (module, normalization))
    faulty = make_faulty(trained, HARDEST, sound(HARDEST), nothing, tmp_path / "again")
    assert verify_case(faulty).verdict == "pass"


@pytest.mark.parametrize(("fault", "case"), FINISHED, ids=lambda given: getattr(given, "name", str(given)))
def test_verify_and_bench_find_a_fault_in_a_finished_bundle(
    fault: Fault, case: Case, trained: Trained, sound: Sound, tmp_path: Path
) -> None:
    assert found(fault, case, trained, sound, tmp_path) == (True, True)


@pytest.mark.parametrize("case", [Case("onnx", "fp16"), pytest.param(Case("openvino", "int8"), marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=[] if fault.name in AT_EXPORT else pytest.mark.slow, id=fault.name)
        for fault in FAULTS
        if fault.name not in WHY_NOT
    ],
)
def test_export_publishes_no_faulty_bundle(fault: Fault, case: Case, trained: Trained, tmp_path: Path) -> None:
    if not fault.fits(case):
        pytest.skip(f"{fault.name} can't be planted for {case}")
    with pytest.raises(GateError):
        export_case(trained, case, tmp_path, fault)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".failed"]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_is_found_for_every_target_and_precision(
    fault: Fault, case: Case, trained_backbone: Trained, sound_backbone: Sound, tmp_path: Path
) -> None:
    if not fault.fits(case):
        pytest.skip(f"{fault.name} can't be planted for {case}")
    assert found(fault, case, trained_backbone, sound_backbone, tmp_path) in ((True, True), (True, None))
    shutil.rmtree(tmp_path / "faulty")


def test_bundles_grow_by_less_than_a_fifth(make: Callable[..., Mapping[str, Path]]) -> None:
    """What own outputs, predictions and probes take beside a network as small as this."""
    bundle = Bundle.open(make("test_resnet", "fp16")["onnx"])
    files = bundle.manifest.files
    new = sum(entry.bytes for path, entry in files.items() if "own_" in path or "probe_" in path)
    assert new < 0.2 * (sum(entry.bytes for entry in files.values()) - new)
