"""A page for each verb of the command line, made of the help that the verb itself prints."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer

from edgeclf.commands import build_app

_EXTRA = re.compile(r"  \[(.*)\]$", re.DOTALL)  # "[default: 5; x>=1]", as click writes it behind the help


def command_pages() -> dict[str, str]:
    """Name of the page -> its Markdown: `index`, and one for each verb."""
    command: Any = typer.main.get_command(build_app())
    context = command.make_context("edgeclf", [], resilient_parsing=True)
    pages = {"index": _index(command, context)}
    for name in command.list_commands(context):
        pages[name] = "\n".join(_verb(command.commands[name], name, context, level=1))
    return pages


def _index(command: Any, context: Any) -> str:
    lines = ["# Commands", "", *_prose(command), "", *_parameters(command, context, level=2)]
    panels: dict[str, list[str]] = {}
    for name in command.list_commands(context):
        verb = command.commands[name]
        panels.setdefault(verb.rich_help_panel, []).append(f"| [`{name}`]({name}.md) | {_cell(_summary(verb))} |")
    for panel, rows in panels.items():
        lines += [f"## {panel}", "", "| verb | what it does |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def _verb(command: Any, name: str, parent: Any, level: int) -> Iterator[str]:
    """The page of a verb; a group's has its verbs below it."""
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    yield f"{'#' * level} {context.command_path}"
    yield ""
    yield from _prose(command)
    yield ""
    if hasattr(command, "commands"):
        for child in command.list_commands(context):
            yield from _verb(command.commands[child], child, context, level + 1)
        return
    yield f"```text\n{context.command_path} {' '.join(command.collect_usage_pieces(context))}\n```"
    yield ""
    yield from _parameters(command, context, level + 1)


def _prose(command: Any) -> Iterator[str]:
    """The help text: paragraphs, and its examples as they are typed."""
    text, _, examples = inspect.cleandoc(command.help or "").partition("\b\n")
    yield _escape(text.replace("\f", "").strip())
    if examples:
        lines = [f"$ {line.strip()}" for line in examples.splitlines()[1:] if line.strip()]
        yield "\n".join(["", "```console", *lines, "```"])


def _parameters(command: Any, context: Any, level: int) -> Iterator[str]:
    """A table under each heading that the help has."""
    sections = command.sections(context) if hasattr(command, "sections") else [("Options", command.get_params(context))]
    for heading, parameters in sections:
        records = [record for each in parameters if (record := each.get_help_record(context)) is not None]
        if records:
            kind, column = ("argument", "") if heading == "Arguments" else ("option", "default, limits")
            yield from (f"{'#' * level} {heading}", "", f"| {kind} | meaning | {column} |", "| --- | --- | --- |")
            yield from (*map(_row, records), "")


def _row(record: tuple[str, str]) -> str:
    """What click says of a parameter, as a row of a table."""
    found = _EXTRA.search(record[1])
    text, extra = _EXTRA.sub("", record[1]), found[1] if found else ""
    names = re.sub(r"(?<=\S) <list\[\w+\]>$", "", record[0]).replace("|", "&#124;").replace("<", "&lt;")
    default = re.sub(r"^default: (?:\((.*?)\)(?=;|$)|(.*))", r"\1\2", extra, flags=re.DOTALL)
    return f"| <code>{names}</code> | {_cell(text)} | {_cell(default)} |"


def _summary(command: Any) -> str:
    return " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split())


def _cell(text: str) -> str:
    return _escape(" ".join(text.split())).replace("|", "\\|")


def _escape(text: str) -> str:
    """Plain text as Markdown; options are code, and so is what stands between backticks."""
    parts = re.split(r"`([^`]+)`|(?<![\w`-])(--[a-z][\w-]*)", text)
    words, quoted, options = parts[::3], parts[1::3], parts[2::3]
    plain = [re.sub(r"([*_\[\]])", r"\\\1", html.escape(word, quote=False)) for word in words]
    code = [f"`{each or option}`" for each, option in zip(quoted, options, strict=True)]
    return "".join(piece for pair in zip(plain, [*code, ""], strict=True) for piece in pair)
