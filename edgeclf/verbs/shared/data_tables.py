"""The tables that `edgeclf data` prints on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from edgeclf.console import grid, inert, mark, show, styled

if TYPE_CHECKING:
    from edgeclf.data.check import Checked, Pair
    from edgeclf.data.co_occurrence import LabelStatistics
    from edgeclf.data.findings import Finding
    from edgeclf.data.stats import Advice, Spread, Statistics
    from edgeclf_runtime.images.data_split import DataSplit
    from edgeclf_runtime.images.labelled import LabelledImage, Split

_MOST_PAIRS, _MOST_CLASSES = 10, 40
SPLIT_NAMES: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")
_STYLES = {"pass": "green", "warning": "yellow", "fault": "red", "leak": "bold red"}


def show_check(checked: Checked, findings: Sequence[Finding]) -> None:
    """A line for each finding, then the pairs to be checked by eye."""
    from edgeclf.data.sheet import sections_of

    table = grid()
    for each in findings:
        style = _STYLES[each.verdict]
        sign = styled("!" if each.verdict == "warning" else mark(each.verdict == "pass"), style)
        table.add_row(sign, each.subject, styled(each.text, "" if each.verdict == "pass" else style))
    show(table)
    for title, pairs in sections_of(checked):
        listed = grid()
        for pair in pairs[:_MOST_PAIRS]:
            listed.add_row(" ", _place(pair.first), _place(pair.second), styled(_closeness(pair), "dim"))
        rest = len(pairs) - _MOST_PAIRS
        show("", styled(title, "bold"), listed)
        if rest > 0:
            show(styled(f"  and {rest} more: --json lists all of them, --report shows them", "dim"))


def _place(image: LabelledImage) -> str:
    return inert(f"{image.split + ' ' if image.split else ''}{image.label_text}: {image.name}")


def _closeness(pair: Pair) -> str:
    if pair.same_pixels:
        return ""
    return f"{pair.correlation:.3f}{' mirrored' if pair.mirrored else ''}"


def split_counts(data: DataSplit, name: Split) -> dict[str, int]:
    """Images of each class in one split."""
    from edgeclf.data.balance import count_labels
    from edgeclf_runtime.images.labelled import all_labels

    return count_labels(all_labels(data.of(name)), data.classes)


def without_label(data: DataSplit, name: Split) -> int:
    """Images of one split that have no label."""
    return sum(not image.labels for image in data.of(name))


def show_split(data: DataSplit) -> None:
    """Images of each class in each split."""
    counts = [split_counts(data, name) for name in SPLIT_NAMES]
    table = grid("label" if data.multi_label else "class", *SPLIT_NAMES)
    for label in data.classes[:_MOST_CLASSES]:
        table.add_row(inert(label), *(f"{counted[label]:,}" for counted in counts))
    if len(data.classes) > _MOST_CLASSES:
        table.add_row(
            styled(f"and {len(data.classes) - _MOST_CLASSES} more {'labels' if data.multi_label else 'classes'}", "dim")
        )
    if data.multi_label:
        table.add_row("no label", *(f"{without_label(data, name):,}" for name in SPLIT_NAMES))
    table.add_row(
        "all" if not data.multi_label else "images", *(f"{len(data.of(n)):,}" for n in SPLIT_NAMES), style="bold"
    )
    show(table)


def show_stats(found: Statistics, advice: Advice) -> None:
    """Channels, sizes, classes and the advice."""
    table = grid("", "red", "green", "blue")
    advised = advice.data if advice.normalize == "data" else advice.backbone
    for name, values in (
        ("mean", found.mean),
        ("std", found.std),
        ("mean to subtract", advised.mean),
        ("std to divide by", advised.std),
    ):
        table.add_row(name, *(f"{value:.4f}" for value in values))
    sizes = grid("", "least", "median", "most")
    sizes.add_row("width px", *_spread(found.width_px, ".0f"))
    sizes.add_row("height px", *_spread(found.height_px, ".0f"))
    sizes.add_row("megapixels", *_spread(found.megapixels, ".3g"))
    fewest, most = min(found.counts.values()), max(found.counts.values())
    kinds = f"in {len(found.counts)} classes" if found.labels is None else f"with {len(found.counts)} labels on"
    read = f"{found.images:,} {'training ' if found.split else ''}images {kinds}"
    show(
        f"{read}{' of' if found.labels is None else ''} {fewest:,} to {most:,}; {found.grey_share:.1%} grey",
        "",
        table,
        "",
        sizes,
        "",
    )
    if found.labels is not None:
        _show_labels(found.labels)
    show(styled(f"normalise by the {advice.normalize}", "bold") + styled(f": {advice.reason}"))


def _show_labels(found: LabelStatistics) -> None:
    """How labels go together, the most frequent pairs first."""
    from edgeclf.data.sources import some

    table = grid("labels", "together", "of the first", "of the second", "times chance")
    for pair in found.pairs[:_MOST_PAIRS]:
        shares = f"{pair.of_first:.0%}", f"{pair.of_second:.0%}"
        table.add_row(inert(f"{pair.first} + {pair.second}"), f"{pair.images:,}", *shares, f"{pair.lift:.2f}")
    rest = len(found.pairs) - _MOST_PAIRS
    more = f"; the {_MOST_PAIRS} of {len(found.pairs)} most frequent pairs, --json lists all" if rest > 0 else ""
    apart = f"{found.apart:,} {'pair of labels never meets' if found.apart == 1 else 'pairs of labels never meet'}"
    show(f"{found}; {apart}{more}", "")
    if found.pairs:
        show(table, "")
    if found.rare:
        show(styled(f"rare, fewer than 10 images: {some(map(repr, found.rare))}", "yellow"), "")


def _spread(spread: Spread, form: str) -> list[str]:
    return [format(value, form) for value in (spread.least, spread.median, spread.most)]
