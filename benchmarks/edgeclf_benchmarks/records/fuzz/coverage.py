"""As worker.py, but by atheris (libFuzzer): it keeps the inputs that reach new lines of the Python code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeclf_benchmarks.records.fuzz.readers import Reader
    from edgeclf_benchmarks.records.fuzz.worker import Worker


def main() -> None:
    """What is fuzzed has to be imported under atheris, which then follows it."""
    import atheris

    with atheris.instrument_imports(include=["edgeclf_runtime", "edgeclf_benchmarks", "edgeclf", "PIL"]):
        from edgeclf_benchmarks.records.fuzz import worker

        worker.main(_follow_coverage)


def _follow_coverage(worker: Worker, reader: Reader, seed: int, count: int) -> None:
    """libFuzzer ends the process itself."""
    import atheris

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        changed = bytes(atheris.Mutate(data, most))
        return changed if reader.repair is None or seed % 2 else reader.repair(changed)[:most]

    folder = Path(os.environ["EDGECLF_FUZZ_CORPUS"])
    for number, data in enumerate(reader.corpus):
        (folder / f"{number:03d}").write_bytes(data)
    options = [f"-runs={count}", f"-seed={seed + 1}", "-max_len=65536", "-handle_alrm=0", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(folder)], worker.take, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
