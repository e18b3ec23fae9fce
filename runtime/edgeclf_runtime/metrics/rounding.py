"""Figures as people read them: so many significant digits, and never an exponent where a number will do."""

from __future__ import annotations

_SMALLEST = 1e-4


def significant(value: float, digits: int = 3) -> str:
    """ "0.0271", "37.2", "1,450": rounded to significant digits; whole numbers keep all theirs."""
    rounded = float(f"{value:.{digits}g}")
    if abs(rounded) >= 10**digits:
        return f"{value:,.0f}"
    if 0 < abs(rounded) < _SMALLEST:
        return f"{value:.{digits - 1}e}"
    return f"{rounded:.{digits}g}" if abs(rounded) < 10 ** (digits - 1) else f"{rounded:.0f}"


def in_ms(value: float) -> str:
    """A time without its unit: "0.123", "3.21", "1,450"."""
    return significant(value) if value < 1 or value >= 1000 else f"{value:.2f}"
