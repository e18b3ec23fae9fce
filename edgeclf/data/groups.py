"""Groups from file names: a regular expression finds the part of a path that the images of a group share."""

from __future__ import annotations

import re
from collections.abc import Callable

from edgeclf_runtime.errors import UsageError


def group_rule(expression: str) -> Callable[[str], str | None]:
    """A function from a relative path to the text that the expression, or its first group, matches; None for no match.

    Raises UsageError where it is no regular expression.
    """
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise UsageError(f"--group-by {expression!r} is not a regular expression: {error}") from error

    def group_of(path: str) -> str | None:
        found = pattern.search(path)
        return found and found.group(1 if pattern.groups else 0)

    return group_of
