"""A model tried in a process of its own: XNNPACK crashes on some int8 graphs (seen in 2.3), and takes us along."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np

from edgeclf_runtime.backends.litert import open_interpreter
from edgeclf_runtime.backends.litert_graph import Pieces, pieces

_LIMIT_S = 600  # of a large model on a busy machine
_CODE = "import sys; sys.path[:] = [p for p in sys.path if p]; from edgeclf_export.targets.litert_trial import report"


def try_pieces(model: bytes) -> Pieces | None:
    """How LiteRT runs the model, which is opened and run once; None: it crashes or hangs."""
    # the child sees the modules that this process sees, and none from the folder it happens to stand in
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", f"{_CODE}; report()"]
    try:
        done = subprocess.run(command, input=model, capture_output=True, env=environment, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        return None
    found = json.loads(done.stdout.splitlines()[-1])
    return Pieces(found["delegated"], tuple(found["left"]))


def report() -> None:
    """Runs in the child: a model on stdin, run on a blank input; its pieces as a line of JSON."""
    interpreter = open_interpreter(sys.stdin.buffer.read(), "the model")
    (entry,) = interpreter.get_input_details()
    interpreter.set_tensor(entry["index"], np.zeros(entry["shape"], entry["dtype"]))
    interpreter.invoke()
    found = pieces(interpreter)
    print("\n" + json.dumps({"delegated": found.delegated, "left": found.left}))
