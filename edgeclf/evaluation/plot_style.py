"""The style that matplotlib plots share."""

from __future__ import annotations

from typing import Any

GREY = "#8a8f98"
STYLE: Any = {
    "text.parse_math": False,  # a class or a data set may be called "$x^$"
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "legend.frameon": False,
}
