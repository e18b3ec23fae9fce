"""Which of the runtime's tests a bare environment runs: where it counts most, all of them; elsewhere a part."""

from __future__ import annotations

CONTRACT = "tests/runtime/test_session.py"  # what every engine keeps
PIXELS = "tests/runtime/images/test_pixels.py"
GOLDEN = ("tests/runtime/deploy/test_verify.py", "tests/runtime/bundle/test_own_outputs.py")
PREDICT = "tests/runtime/test_classifier.py"
_LEFT_OUT = f"--deselect={PREDICT}::test_memory_is_flat_over_10_000_predictions"  # a quarter of the part's time


def runtime_tests(*, whole: bool) -> tuple[str, ...]:
    """What pytest is given: the folder, or the contract of engines, pixels, golden images, verify and predict."""
    return ("tests/runtime",) if whole else (CONTRACT, PIXELS, *GOLDEN, PREDICT, _LEFT_OUT)
