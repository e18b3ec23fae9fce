"""`--config FILE.toml`: a verb's options from a file; the command line beats the file, the file beats the defaults."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeclf.verbs.shared.renamed import new_name
from edgeclf_runtime.errors import BackendError, UsageError


def _apply(context: typer.Context, file: Path | None) -> Path | None:
    """Makes the table named like the verb that verb's defaults, before the other options are parsed."""
    if file is not None and not context.resilient_parsing:
        context.default_map = read_options(file, str(context.command.name), known_options(context))
    return file


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.toml",
        is_eager=True,
        callback=_apply,
        help="TOML file with options, in a table named like this command; the command line takes precedence.",
    ),
]


def known_options(context: typer.Context) -> dict[str, str]:
    """The names that a table may use for each of the verb's parameters, as typed or with underscores."""
    names: dict[str, str] = {}
    for parameter in context.command.params:
        if parameter.name in (None, "config", "help"):
            continue
        typed = [option.lstrip("-") for option in parameter.opts if option.startswith("--")]
        for name in (str(parameter.name), *typed):
            names[name.replace("-", "_")] = str(parameter.name)
    return names


def read_options(file: Path, verb: str, known: dict[str, str]) -> dict[str, Any]:
    """Parameter -> value of the table [verb]. Raises UsageError for a file, table or option that is not valid."""
    content = _read_toml(file)
    table = content.get(verb)
    if not isinstance(table, dict):
        there = ", ".join(f"[{name}]" for name in content) or "nothing"
        raise UsageError(f"{file}: wanted a table [{verb}] with the options of edgeclf {verb}, found {there}")
    options: dict[str, Any] = {}
    for name, value in table.items():
        parameter = known.get(new_name(verb, name).replace("-", "_"))
        if parameter is None:
            close = difflib.get_close_matches(name.replace("-", "_"), known, n=1)
            advice = f"did you mean {close[0].replace('_', '-')}?" if close else f"see: edgeclf {verb} --help"
            raise UsageError(f"{file}: {verb} has no option {name!r}; {advice}")
        if isinstance(value, dict):
            raise UsageError(f"{file}: {verb}.{name} is a table; wanted a number, a text, true or false, or a list")
        options[parameter] = value
    return options


def _read_toml(file: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as error:
            raise BackendError("--config needs tomli before Python 3.11; install it with: pip install tomli") from error
    try:
        content: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        return content
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; --config wants a TOML file") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, bytes that are no UTF-8, nested too deeply
        raise UsageError(f"{file}: not TOML ({error})") from error
