"""What tests of this folder export and open in their own process costs less: see one_export.py and one_compile.py."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from one_compile import remember_compiled
from one_export import remember_exports


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """The same network goes from torch to ONNX once, and OpenVINO compiles it once."""
    if Path(__file__).parent not in item.path.parents:
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        remember_exports(patch)
        remember_compiled(patch)
        return (yield)
