"""The group `edgeclf data` and its commands."""

from __future__ import annotations

import typer

from edgeclf.verbs.data import add, apply, check, fetch, preview, review, split, stats
from edgeclf.verbs.shared.verb import Verb
from edgeclf_runtime.errors import UsageError

app = typer.Typer(
    rich_markup_mode=None,
    help="Check, split, measure, review, extend or fetch a data set.\n\n"
    "A data set is a folder with one subfolder per class, folders train, val and test of those, or a CSV file with the "
    "columns path,label[,split][,group].",
)
app.command("check", cls=Verb)(check.check)
app.command("split", cls=Verb)(split.split)
app.command("stats", cls=Verb)(stats.stats)
app.command("review", cls=Verb)(review.review)
app.command("apply", cls=Verb)(apply.apply)
app.command("add", cls=Verb)(add.add)
app.command("preview", cls=Verb)(preview.preview)
app.command("fetch", cls=Verb)(fetch.fetch)


@app.callback(invoke_without_command=True)
def data(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(UsageError.exit_code)
