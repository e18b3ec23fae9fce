"""Every error that edgeclf raises on purpose, each with the exit code that the command line returns for it.

EdgeclfError
├── UsageError           2   an option, a name or a combination of them that is not valid
├── DataError            3   an image, a data set or an artefact that can't be used
│   ├── ImageError           one image can't be decoded
│   │   └── ImageChanged         its file is gone, or no longer the one whose hash is known
│   └── BundleError          a bundle is damaged, foreign or of a newer schema
├── GateError            1   a promised figure was not met (parity, regression, leakage)
└── BackendError         4   an engine is missing, of the wrong version, or can't do what was requested
"""

from __future__ import annotations

import re

_BEFORE_CAUSE = re.compile(
    r"\A\[ONNXRuntimeError\] : \d+ : \w+ : (?:[^\n]*Status Message: (?:\S+:\d+ [^\n]*?\) )?)?"  # ONNX Runtime
    r"|\A.*^(?=-- No conversion rule)"  # OpenVINO, before it names the operators that it lacks
    r"|\A\S+\.(?:h|cc):\d+: \w+: Assertion `[^\n]*?` failed: "  # onnx's C++
    r"|\A.*WeightsUnpickler error: ",  # torch.load
    re.DOTALL | re.MULTILINE,
)
_TRACEBACK = "Traceback (most recent call last):"


class EdgeclfError(Exception):
    """The root of all errors that edgeclf raises on purpose: one line: what was wanted, what was found, what to do.

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
    """An option, a name or a combination of them that is not valid."""

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
    """An engine that is missing, of the wrong version, or can't do what was requested."""

    exit_code = 4


def one_line(error: BaseException, length: int | None = 200) -> str:
    """The line of an exception that gives the cause, of `length` characters at most; its type where there is no text.

    Libraries put more around it: ONNX Runtime a code and a place in its sources, OpenVINO a line for each function on
    the way, torch a headline that ends in a colon, or the traceback of another process.
    """
    text = _BEFORE_CAUSE.sub("", str(error))
    if _TRACEBACK in text:
        text = re.sub(r"\A(?: .*\n|\n)*[\w.]+: ", "", text.rpartition(_TRACEBACK)[2])
    lines = [" ".join(line.split()).removeprefix("-- ") for line in text.splitlines()]
    texts = list(filter(None, lines))
    line = next((line for line in texts if not line.endswith(":")), texts[0] if texts else type(error).__name__)
    return line if length is None or len(line) <= length else line[:length] + " …"
