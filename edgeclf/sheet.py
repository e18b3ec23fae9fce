"""A table for terminals of any width: where it is too wide, each row becomes a name with its figures below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text

_BETWEEN, _INDENT = 2, 2  # blanks between columns, and before what stands below a name
_PROSE, _NARROWEST = 30, 24  # characters: from where on a last column is prose, and to what it may be folded


@dataclass(slots=True)
class Sheet:
    """Rows of cells under headings, without lines; () where the cells explain themselves.

    Nothing is ever cut: a last column of prose is folded, or goes below its row; where names and figures don't fit,
    rows are stacked. `title`: how many cells from the left name a row.
    """

    headings: Sequence[str] = ()
    title: int = 1
    rows: list[tuple[list[Text], str]] = field(default_factory=list)

    def add_row(self, *cells: str | Text, style: str = "") -> None:
        """Cells from outside were made inert by the caller; missing ones stay empty."""
        from rich.text import Text

        self.rows.append(([cell if isinstance(cell, Text) else Text(cell) for cell in cells], style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        widths = self._widths()
        if not widths:
            return
        *fixed, last = widths
        taken = sum(fixed) + _BETWEEN * len(fixed)
        if taken + last <= options.max_width or (last > _PROSE and taken + _NARROWEST <= options.max_width):
            yield self._table(len(widths))
        elif last > _PROSE and taken - _BETWEEN <= options.max_width:
            yield from self._with_prose_below(fixed, options.max_width)
        else:
            yield from self._stacked(options.max_width)

    def _widths(self) -> list[int]:
        """Of each column, the cells that it needs."""
        rows = [[cell.cell_len for cell in cells] for cells, _ in self.rows]
        rows.append([len(heading) for heading in self.headings])
        return [max(row[place] for row in rows if place < len(row)) for place in range(max(map(len, rows)))]

    def _table(self, columns: int) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, _BETWEEN, 0, 0))
        for _ in range(columns - 1):
            table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        if self.headings:
            table.add_row(*(Text(heading, style="dim") for heading in self.headings))
        for cells, style in self.rows:
            table.add_row(*cells, style=style)
        return table

    def _with_prose_below(self, widths: Sequence[int], width: int) -> Iterator[RenderableType]:
        """Rows of figures as they are in a table; prose that does not fit goes on a line of its own."""
        from rich.text import Text

        headings = [Text(heading, style="dim") for heading in self.headings]
        for cells, style in ([(headings, "")] if headings else []) + self.rows:
            line = Text(style=style, no_wrap=True)
            for cell, wide in zip(cells, widths, strict=False):
                line.append_text(cell)
                line.append(" " * (wide - cell.cell_len + _BETWEEN))
            prose = cells[-1] if len(cells) > len(widths) else Text()
            if line.cell_len + prose.cell_len <= width:
                line.append_text(prose)
                prose = Text()
            line.rstrip()
            yield line
            if prose.plain:
                yield _indented(prose, style)

    def _stacked(self, width: int) -> Iterator[RenderableType]:
        """A row's name, folded where it must be, then its figures with their headings, as many a line as fit."""
        from rich.text import Text

        for cells, style in self.rows:
            named, rest = cells[: self.title], cells[self.title :]
            name = Text(" ").join(cell for cell in named if cell.plain)
            name.overflow = "fold"
            name.stylize(style)
            yield name
            line = Text()
            for item in self._items(rest, width - _INDENT):
                if line.plain and line.cell_len + _BETWEEN + item.cell_len > width - _INDENT:
                    yield _indented(line, style)
                    line = Text()
                line = Text(" " * _BETWEEN).join((line, item)) if line.plain else item
            if line.plain:
                yield _indented(line, style)

    def _items(self, cells: Sequence[Text], width: int) -> Iterator[Text]:
        """Each cell that holds something, after its heading; apart from it where both are wider than a line."""
        from rich.text import Text

        headings = [*self.headings[self.title :], *[""] * len(cells)]
        for heading, cell in zip(headings, cells, strict=False):
            if not cell.plain:
                continue
            named = Text.assemble((f"{heading} ", "dim"), cell) if heading else cell
            if named.cell_len > width >= cell.cell_len:
                yield Text(heading, style="dim")
                yield cell
            else:
                yield named


def _indented(line: Text, style: str) -> RenderableType:
    from rich.padding import Padding

    line.overflow = "fold"
    line.stylize(style)
    return Padding(line, (0, 0, 0, _INDENT), expand=False)
