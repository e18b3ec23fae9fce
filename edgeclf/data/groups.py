"""Groups from file names: a regular expression says which part of a path images have in common."""

from __future__ import annotations

import re
from collections.abc import Callable

from edgeclf_runtime.errors import UsageError


def group_rule(expression: str) -> Callable[[str], str | None]:
    """From a relative path to what the expression finds in it, or to its first parenthesis; None for no match.

    Raises UsageError where it is no regular expression.
    """
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise UsageError(f"--group-by {expression!r} is no regular expression: {error}") from error

    def group_of(path: str) -> str | None:
        found = pattern.search(path)
        return found and found.group(1 if pattern.groups else 0)

    return group_of
