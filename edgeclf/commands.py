"""The tree of commands as Typer has it: verbs with their headings, and what a wrong command line is told."""

from __future__ import annotations

import difflib
import importlib
import re
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edgeclf.verbs.shared.verb import Verb
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.machine.facts import package_version

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
_WRONG_CHOICE = re.compile(
    r"^Invalid value for '?(.+?)'?: (?:Value error, )?('.*'|\".*\") is not one of ('.*)$", re.DOTALL
)


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
GROUP = "data"
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
    if only in (None, GROUP):
        app.add_typer(importlib.import_module("edgeclf.verbs.data.app").app, name=GROUP, rich_help_panel=MAKING)
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


def run_commands(arguments: list[str]) -> int:
    """Runs one command line; returns its exit code. Raises what its verb raises, and UsageError."""
    verb = arguments[0] if arguments and arguments[0] in _names() else None
    command = typer.main.get_command(build_app(verb))
    try:
        with command.make_context("edgeclf", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as leaving:
        return leaving.exit_code
    except _ClickError as error:
        raise UsageError(" ".join(_usage_message(error).split())) from error
    return 0


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
    return [GROUP, *_VERBS]
