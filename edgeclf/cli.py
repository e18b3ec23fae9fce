"""The command `edgeclf`: its verbs, and the one place where errors become a line on stderr and an exit code."""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import re
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import Annotated, Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from edgeclf.console import begin_documents, say, write_json_error
from edgeclf.verbs.shared.verb import Verb
from edgeclf_runtime.errors import DataError, EdgeclfError, UsageError
from edgeclf_runtime.machine.facts import package_version

BUG, INTERRUPTED, READER_GONE, TERMINATED = 70, 130, 141, 143
_ClickError: Any = typer.BadParameter.__mro__[2]  # ClickException: Typer carries its own copy of click since 0.2x
_OTHER_NAMES = {
    "benchmark": "bench",
    "check": "verify",
    "classify": "predict",
    "convert": "export",
    "diff": "compare",
    "infer": "predict",
    "info": "inspect",
    "list": "runs",
    "ls": "runs",
    "show": "inspect",
    "tar": "pack",
}
_AGAIN_AFTER_S = 0.05
_WRONG_CHOICE = re.compile(
    r"^Invalid value for '?(.+?)'?: (?:Value error, )?('.*'|\".*\") is not one of ('.*)$", re.DOTALL
)
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised in the main thread so that half-written files are cleared away."""


class VerbGroup(TyperGroup):
    """Lists the verbs under the headings that `rich_help_panel` gives them, in the order in which they were added."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.commands[name]
            panel = getattr(command, "rich_help_panel", None)
            heading = panel if isinstance(panel, str) else "Verbs"
            panels.setdefault(heading, []).append((name, command.get_short_help_str(limit=90)))
        for heading, rows in panels.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


MAKING, ON_A_DEVICE, THIS_MACHINE = "Make a bundle", "Use a bundle", "Overview"
_GROUP = "data"
# verb -> module in edgeclf.verbs, with a function of its name, and heading; in the order of --help
_VERBS = {
    "search": ("search", MAKING),
    "train": ("train", MAKING),
    "adapt": ("adapt", MAKING),
    "lr-find": ("lr_find", MAKING),
    "export": ("export", MAKING),
    "zeroshot": ("zeroshot", MAKING),
    "baseline": ("baseline", MAKING),
    "models": ("models", MAKING),
    "demo": ("demo", MAKING),
    "build": ("build", ON_A_DEVICE),
    "predict": ("predict", ON_A_DEVICE),
    "verify": ("verify", ON_A_DEVICE),
    "eval": ("evaluate", ON_A_DEVICE),
    "drift": ("drift", ON_A_DEVICE),
    "explain": ("explain", ON_A_DEVICE),
    "bench": ("bench", ON_A_DEVICE),
    "compare": ("compare", ON_A_DEVICE),
    "recommend": ("recommend", ON_A_DEVICE),
    "inspect": ("inspect", ON_A_DEVICE),
    "embed": ("embed", ON_A_DEVICE),
    "serve": ("serve", ON_A_DEVICE),
    "pack": ("pack", ON_A_DEVICE),
    "runs": ("runs", THIS_MACHINE),
    "doctor": ("doctor", THIS_MACHINE),
}


def build_app(only: str | None = None) -> typer.Typer:
    """The command line; with one verb alone (`only`) where the others would be loaded in vain."""
    app = typer.Typer(
        cls=VerbGroup,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback(invoke_without_command=True)(edgeclf)
    if only in (None, _GROUP):
        app.add_typer(importlib.import_module("edgeclf.verbs.data.app").app, name=_GROUP, rich_help_panel=MAKING)
    for name, (module, heading) in _VERBS.items():
        if only in (None, name):
            verb = getattr(importlib.import_module(f"edgeclf.verbs.{module}"), module)
            app.command(name, cls=Verb, rich_help_panel=heading)(verb)
    return app


def edgeclf(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Image classifiers for edge devices: every artefact comes with its proof.

    A bundle is a folder (or one .tar file) that holds a model, its class names, its exact preprocessing, and test
    images with the outputs that the original model gave for them. Help for a command: edgeclf COMMAND --help.

    Exit codes: 0 success, 1 a gate failed, 2 wrong usage, 3 bad data or bundle, 4 engine missing, incompatible or out
    of memory, 70 a bug (EDGECLF_TRACEBACK=1 shows where), 130 interrupted.
    """
    if version:
        typer.echo(f"edgeclf {package_version('edgeclf') or 'not installed'}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(UsageError.exit_code)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line and exits the process."""
    if "_EDGECLF_COMPLETE" in os.environ:
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
    verb = arguments[0] if arguments and arguments[0] in _names() else None
    command = typer.main.get_command(build_app(verb))
    try:
        with command.make_context("edgeclf", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as leaving:
        return leaving.exit_code
    finally:
        sys.stdout.flush()
    return 0


def _verb_with_json(arguments: list[str]) -> str | None:
    """The verb that was typed with --json, `data check` with its second word; None without --json."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if "--json" not in options:
        return None
    words = [word for word in arguments[:2] if not word.startswith("-")]
    return " ".join(words[: 2 if words[:1] == [_GROUP] else 1])


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


def _message_and_code(error: BaseException) -> tuple[str, int]:
    if isinstance(error, EdgeclfError):
        return str(error), error.exit_code
    if isinstance(error, _ClickError):
        return " ".join(_usage_message(error).split()), UsageError.exit_code
    if isinstance(error, Terminated):
        return "terminated", TERMINATED
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    if isinstance(error, MemoryError):
        return "out of memory; try a smaller --batch-size, or a smaller model", 4
    if isinstance(error, OSError) and error.errno in _DISK_FAULTS:
        return f"{error.filename or 'output'}: {error.strerror}", DataError.exit_code
    return f"a bug: {type(error).__name__}: {error}; please report it with what EDGECLF_TRACEBACK=1 shows", BUG


def _usage_message(error: Any) -> str:
    message = _WRONG_CHOICE.sub(_choice_sentence, error.format_message().rstrip("."))
    context = getattr(error, "ctx", None)
    if message.startswith("No such command"):
        message += _suggestion(message)
    return f"{message}; see: {context.command_path if context else 'edgeclf'} --help"


def _choice_sentence(found: re.Match[str]) -> str:
    """Typer's message for a value that is none of the choices, worded like the errors of the packages below."""
    option = found[1].split("' / '")[0]
    return f"{option} takes no {found[2]}; choose one of {found[3].replace(chr(39), '')}"


def _suggestion(message: str) -> str:
    if "Did you mean" in message or message.count("'") < 2:
        return ""
    typed = message.split("'")[1]
    verbs = _names()
    other = _OTHER_NAMES.get(typed)
    close = [other] if other in verbs else difflib.get_close_matches(typed, verbs, n=1)
    return f". Did you mean {close[0]!r}?" if close else f"; there are {', '.join(verbs)}"


def _names() -> list[str]:
    return [_GROUP, *_VERBS]


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
