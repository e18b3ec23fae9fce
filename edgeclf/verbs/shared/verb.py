"""A command as edgeclf has them: it takes the old names of its options, and lists many options under headings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import typer
from typer.core import TyperCommand

from edgeclf.console import say
from edgeclf.verbs.shared.renamed import with_new_names


class Verb(TyperCommand):
    """A command that takes no infinite number, warns of an option given twice, and lists many under headings."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = with_new_names(str(self.name), args)
        for option in self._given_twice(ctx, args):
            say(f"warning: {option} is given more than once; the last value counts", style="yellow")
        left: list[str] = super().parse_args(ctx, args)
        parameters: list[Any] = self.params
        for each in parameters:
            value = ctx.params.get(each.name)
            if isinstance(value, float) and math.isinf(value):  # it lies in every range without an end; nan in none
                raise typer.BadParameter(f"{value} is not a finite number", ctx, each)
        return left

    def _given_twice(self, ctx: Any, args: list[str]) -> list[str]:
        """Options of one value that have several, which the parser takes without a word."""
        given: Counter[Any] = Counter(self.make_parser(ctx).parse_args(list(args))[2])
        return [
            str(max(each.opts, key=len))
            for each, times in given.items()
            if times > 1 and each.param_type_name == "option" and not (each.multiple or each.is_flag or each.count)
        ]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for heading, parameters in self.sections(ctx):
            if rows := [row for each in parameters if (row := each.get_help_record(ctx)) is not None]:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def sections(self, ctx: Any) -> Iterator[tuple[str, list[Any]]]:
        """The heading of each group of parameters, and those in it; what has no heading comes last."""
        parameters = {str(each.name): each for each in self.get_params(ctx)}
        arguments = [name for name, each in parameters.items() if each.param_type_name == "argument"]
        yield "Arguments", [parameters.pop(name) for name in arguments]
        headings = _headings(str(self.name))
        for heading, names in headings.items():
            yield heading, [parameters.pop(name) for name in names]
        yield "Other" if headings else "Options", list(parameters.values())


def _headings(verb: str) -> Mapping[str, tuple[str, ...]]:
    """Heading -> parameters, for a verb with many options; its file is read only where its help is."""
    if verb != "train":
        return {}
    from edgeclf.verbs.shared.training_options import TRAIN_HEADINGS

    return TRAIN_HEADINGS
