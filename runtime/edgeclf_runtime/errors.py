"""Every error that edgeclf raises on purpose, each with the exit code that the command line returns for it.

EdgeclfError
├── UsageError           2   an option, a name or a combination that can't be meant
├── DataError            3   an image, a data set or an artefact that can't be used
│   ├── ImageError           one image can't be decoded
│   │   └── ImageChanged         its file is gone, or no longer the one whose hash is known
│   └── BundleError          a bundle is damaged, foreign or of a newer schema
├── GateError            1   a promised figure was not met (parity, regression, leakage)
└── BackendError         4   an engine is missing, of the wrong version, or can't do what was asked
"""

from __future__ import annotations


class EdgeclfError(Exception):
    """The root of all errors that edgeclf raises on purpose: one line says what was wanted, what was found, what to do.

    Attributes
    ----------
    exit_code
        What the command line exits with.

    Examples
    --------
    >>> from edgeclf_runtime import Classifier, EdgeclfError
    >>> try:
    ...     Classifier.open("bundles/none")
    ... except EdgeclfError as error:
    ...     print(error.exit_code, error)
    3 bundles/none: no such bundle
    """

    exit_code = 70


class UsageError(EdgeclfError):
    """An option, a name or a combination that can't be meant."""

    exit_code = 2


class DataError(EdgeclfError):
    """An image, a data set or an artefact that can't be used."""

    exit_code = 3


class ImageError(DataError):
    """An image that can't be decoded, or is over a limit."""


class ImageChanged(ImageError):
    pass


class BundleError(DataError):
    """A bundle that is damaged, foreign or of a newer schema."""


class GateError(EdgeclfError):
    """A promised figure that was not met: parity, regression, leakage."""

    exit_code = 1


class BackendError(EdgeclfError):
    """An engine that is missing, of the wrong version, or can't do what was asked."""

    exit_code = 4


def first_line(error: BaseException, length: int = 160) -> str:
    """The first line of an exception that says something, else its type."""
    lines = (" ".join(line.split()) for line in str(error).splitlines())
    line = next(filter(None, lines), type(error).__name__)
    return line if len(line) <= length else line[:length] + " …"
