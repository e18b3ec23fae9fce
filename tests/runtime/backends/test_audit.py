"""One formula counts multiply-accumulates, and one constant says how many must run in a precision."""

from __future__ import annotations

import pytest

from edgeclf_runtime.backends.audit import Audit, Work, audit, check_audit, multiply_accumulates
from edgeclf_runtime.errors import GateError


@pytest.mark.parametrize(
    ("counted", "met", "macs"),
    [
        ((1, 16, 8, 8), (3, 5, 5), 16 * 64 * 75),  # a convolution: its output, a kernel over 3 channels
        ((1, 16, 8, 8), (1, 3, 3), 16 * 64 * 9),  # depthwise
        ((1, 8, 4, 4), (16, 2, 2), 8 * 16 * 64),  # transposed: its input
        ((-1, 10), (64,), 640),  # a product of a batch that is known later
    ],
)
def test_every_number_counts_with_what_it_is_multiplied_with(
    counted: tuple[int, ...], met: tuple[int, ...], macs: int
) -> None:
    assert multiply_accumulates(counted, met) == macs


def test_shares_are_weighed_by_multiplications() -> None:
    found = audit([Work("big", 90, "int8"), Work("small", 10, "fp32"), Work("nothing", 0, "fp16")])
    assert found.shares == {"fp32": 0.1, "int8": 0.9}
    assert check_audit(found, "mixed", where="net") is None
    with pytest.raises(GateError, match=r"net: requested fp32, .* only 10% run in fp32 \(90% int8, 10% fp32\)"):
        check_audit(found, "fp32", where="net")


def test_what_an_engine_does_not_report_is_a_doubt_and_no_failure() -> None:
    found = Audit({"int8": 0.5, "unknown": 0.5})
    assert found.shortfall("int8") is None
    assert check_audit(found, "int8", where="net") == (
        "the engine does not report whether it computes in int8 (50% int8, 50% unknown)"
    )


def test_a_share_just_below_what_is_wanted_is_not_rounded_up_to_it() -> None:
    sentence = Audit({"int8": 0.7996, "fp32": 0.2004}).shortfall("int8")
    assert sentence is not None and "only 79.9% run in int8" in sentence and sentence.endswith("wanted 80%")
