"""What spares the tests exports never mistakes one network for another: see one_export.py."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from one_export import fingerprint

torch = pytest.importorskip("torch")


def scaled(factor: float) -> Any:
    """A module whose class is made here, with a number in its closure."""

    class Scaled(torch.nn.Module):
        def forward(self, images: Any) -> Any:
            return images * factor

    return Scaled()


def of_other_code() -> Any:
    class Scaled(torch.nn.Module):
        def forward(self, images: Any) -> Any:
            return images + 2.0

    Scaled.__qualname__ = type(scaled(2.0)).__qualname__
    return Scaled()


def with_a_larger_weight(net: Any) -> None:
    with torch.no_grad():
        net[0].weight[0, 0, 0, 0] += 1e-6


def with_another_stride(net: Any) -> None:
    net[0].stride = (2, 3)


def with_another_layer(net: Any) -> None:
    net[1] = torch.nn.ReLU6()


def test_equal_networks_are_the_same(net: Any) -> None:
    assert fingerprint(net, 18) == fingerprint(copy.deepcopy(net), 18) is not None
    assert fingerprint(scaled(2.0)) == fingerprint(scaled(2.0)) is not None


@pytest.mark.parametrize("change", [with_a_larger_weight, with_another_stride, with_another_layer])
def test_a_changed_network_is_another(change: Callable[[Any], None], net: Any) -> None:
    changed = copy.deepcopy(net)
    change(changed)
    assert fingerprint(changed, 18) != fingerprint(net, 18)


def test_so_are_other_options_code_and_what_it_closes_over(net: Any) -> None:
    assert fingerprint(net, 20) != fingerprint(net, 18)
    assert len({fingerprint(module) for module in (scaled(2.0), scaled(3.0), of_other_code())}) == 3


def test_what_has_no_bytes_is_exported_each_time() -> None:
    module = torch.nn.Identity()
    module.open_file = open(__file__)  # noqa: SIM115
    with module.open_file:
        assert fingerprint(module) is None
