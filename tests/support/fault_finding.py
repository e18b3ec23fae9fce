"""Which verbs find a fault that was planted in a finished bundle."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

from faults import Fault

from edgeclf_benchmarks.measuring.bench import _prove
from edgeclf_benchmarks.measuring.options import BenchOptions
from edgeclf_benchmarks.measuring.state import BenchState, line_up
from edgeclf_export.targets.tensorrt.graph_session import open_graph
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.proof import Proof
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import BackendError, GateError
from edgeclf_runtime.progress import SILENT


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
