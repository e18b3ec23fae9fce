"""The command `edgeclf`: its verbs, and the one place where errors become a line on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import NoReturn, TextIO

from edgeclf.console import begin_documents, say, write_json_error
from edgeclf.verbs.shared.predicting.plain import read_plain
from edgeclf_runtime.errors import DataError, EdgeclfError

BUG, INTERRUPTED, READER_GONE, TERMINATED = 70, 130, 141, 143
_AGAIN_AFTER_S = 0.05
_SYMLINK_LOOP = "Symlink loop"  # begins what Path.resolve raises before Python 3.13; later ones don't mind
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised in the main thread so that half-written files are cleared away."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line and exits the process."""
    if "_EDGECLF_COMPLETE" in os.environ:
        from edgeclf.commands import build_app

        build_app()(prog_name="edgeclf")  # the shell wants completions: Typer's own business
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Runs one command line; returns its exit code. Every error ends here, as one line on stderr."""
    _ready_streams()
    begin_documents()
    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, _terminate) if in_main_thread else None
    hook, sys.unraisablehook = sys.unraisablehook, _signal_again
    try:
        return _run(arguments)
    except BaseException as error:
        return _report(error, _verb_with_json(arguments))
    finally:
        sys.unraisablehook = hook
        if in_main_thread:
            signal.signal(signal.SIGTERM, previous)


def _signal_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Sends a signal once more whose exception came up where Python drops exceptions: in a finalizer, or at a fork."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    number = signal.SIGTERM if isinstance(unraisable.exc_value, Terminated) else signal.SIGINT
    threading.Timer(_AGAIN_AFTER_S, os.kill, (os.getpid(), number)).start()


def _ready_streams() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a tick must not fail on a terminal without Unicode


def _run(arguments: list[str]) -> int:
    """Runs one command line, the plain ones of `predict` without Typer, which takes longer to load than they take."""
    try:
        plain = read_plain(arguments)
        if plain is None:
            from edgeclf.commands import run_commands

            return run_commands(arguments)
        from edgeclf.verbs.shared.predicting.run import run_predict

        return run_predict(plain)
    finally:
        sys.stdout.flush()


def _verb_with_json(arguments: list[str]) -> str | None:
    """The verb that was typed with --json, `data check` with its second word; None without --json."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if "--json" not in options:
        return None
    words = [word for word in arguments[:2] if not word.startswith("-")]
    return " ".join(words[: 2 if words[:1] == ["data"] else 1])


def _report(error: BaseException, verb_with_json: str | None = None) -> int:
    """Prints the one line that `error` deserves, and a JSON document where one is awaited; returns its exit code."""
    if os.environ.get("EDGECLF_TRACEBACK", "") not in ("", "0"):
        traceback.print_exception(error)
    # rich turns a broken pipe into SystemExit, and `writing` any fault of the operating system into DataError
    if any(isinstance(fault, BrokenPipeError) for fault in (error, error.__cause__, error.__context__)):
        _lead_nowhere(sys.stdout)
        return READER_GONE
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else BUG
    message, code = _message_and_code(error)
    try:
        say(f"edgeclf: {message}", style="red")
        if verb_with_json is not None:
            write_json_error(verb_with_json, message, code)
        sys.stdout.flush()
    except OSError:  # they go to a disk that is full, which may be the error itself
        _lead_nowhere(sys.stdout, sys.stderr)
    return code


def _lead_nowhere(*streams: TextIO) -> None:
    """What is still in their buffers must not fail again as Python exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())


def _is_torchs_out_of_memory(error: BaseException) -> bool:
    """Whether the GPU had no memory left, wherever that was: the network, its optimizer, a batch."""
    torch = sys.modules.get("torch")  # if it was not imported, it raised nothing
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def _message_and_code(error: BaseException) -> tuple[str, int]:
    if isinstance(error, EdgeclfError):
        return str(error), error.exit_code
    if isinstance(error, Terminated):
        return "terminated", TERMINATED
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    if isinstance(error, MemoryError) or _is_torchs_out_of_memory(error):
        return "out of memory; try a smaller --batch-size, or a smaller model", 4
    if isinstance(error, OSError) and error.errno in _DISK_FAULTS:
        return f"{error.filename or 'output'}: {error.strerror}", DataError.exit_code
    if isinstance(error, RuntimeError) and str(error).startswith(_SYMLINK_LOOP):
        return f"{error}: the link leads back to itself; mend it", DataError.exit_code
    return f"a bug: {type(error).__name__}: {error}; please report it with what EDGECLF_TRACEBACK=1 shows", BUG


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
