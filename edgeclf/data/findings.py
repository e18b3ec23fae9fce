"""The findings of a check: one line per subject with its verdict, from pass to a leak that must stop a pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgeclf.data.balance import MOST_IMBALANCE, balance_warnings, count_labels, few_to_evaluate
from edgeclf.data.check import Checked, Remark
from edgeclf.data.co_occurrence import inseparable_labels, label_statistics
from edgeclf.data.sources import some
from edgeclf.data.split import leaking_groups, split_faults
from edgeclf.wording import count
from edgeclf_runtime.images.data_split import FRACTIONS
from edgeclf_runtime.images.formats import MODERN_KINDS
from edgeclf_runtime.images.labelled import SPLITS, all_labels

Verdict = Literal["pass", "warning", "fault", "leak"]  # a fault ends in exit code 3, a leak in 1


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one subject, with what was found in words."""

    subject: str
    verdict: Verdict
    text: str


def find_faults(checked: Checked) -> tuple[Finding, ...]:
    """One finding per subject, those that pass included."""
    has_splits = checked.data.has_splits
    return (
        _files(checked),
        _decoding(checked),
        *(_across_splits(checked) if has_splits else []),
        *_within(checked, has_splits),
        *_classes(checked, has_splits),
        *(_together(checked) if checked.data.multi_label else []),
        _remarks("sizes", "warning", checked.odd, "none is unusual"),
        *([Finding("bit depth", "warning", str(checked.deep))] if checked.deep.value_range is not None else []),
    )


def _files(checked: Checked) -> Finding:
    data = checked.data
    counted = {split: sum(image.split == split for image in data.images) for split in SPLITS}
    parts = ", ".join(f"{found:,} {split}" for split, found in counted.items() if found)
    kinds = f"of {len(data.classes)} labels" if data.multi_label else f"in {len(data.classes)} classes"
    text = f"{len(data.images):,} images {kinds}" + (f": {parts}" if parts else "")
    return Finding("files", "pass", text)


def _decoding(checked: Checked) -> Finding:
    """How many images can't be read, how many of those for their format, and the first few with the reason."""
    finding = _remarks("decoding", "fault", (*checked.unreadable, *checked.changed), "every image can be read")
    if not checked.unreadable:
        return finding
    kinds = Counter(remark.text.split(",")[0] for remark in checked.unreadable if remark.text.startswith(MODERN_KINDS))
    listed = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
    can_not = f"{count(len(checked.unreadable), 'image')} can't be read" + (f" ({listed})" if listed else "")
    return replace(finding, text=f"{can_not}: {finding.text}")


def _across_splits(checked: Checked) -> list[Finding]:
    """Leaks, and what may be one."""
    alike = sum(pair.crosses for pair in checked.alike)
    groups = leaking_groups(checked.data.images)
    listed = f": {some(map(repr, groups))}" if groups else ""
    found = [
        _counted("leakage", "leak", len(checked.leaks), "pair", "with the same pixels in two splits"),
        _counted("look-alikes", "warning", alike, "pair", "that nearly match across splits", cut=checked.alike_cut),
    ]
    if any(image.group for image in checked.data.images):
        found.append(_counted("groups", "leak", len(groups), "group", f"in more than one split{listed}"))
    return found


def _within(checked: Checked, has_splits: bool) -> list[Finding]:
    within = " within a split" if has_splits else ""
    copies = sum(len(same) - 1 for same in checked.copies)
    alike = sum(not pair.crosses for pair in checked.alike)
    disagree = sum(pair.disagrees for pair in checked.alike)
    found = [
        _counted("labels", "fault", len(checked.conflicts), "pair", "with the same pixels under two labels"),
        _counted("copies", "warning", copies, "image", "with the pixels of another"),
        _counted("look-alikes", "warning", alike, "pair", f"that nearly match{within}", cut=checked.alike_cut),
    ]
    if disagree:
        found.append(
            Finding(
                "look-alikes", "warning", f"{count(disagree, 'pair')} of all that nearly match: not the same labels"
            )
        )
    return found


def _classes(checked: Checked, has_splits: bool) -> list[Finding]:
    data = checked.data
    faults = split_faults(data.images) if has_splits else ()
    trained = all_labels(image for image in data.images if image.split in ("train", None))
    found = [Finding("classes", "fault", text) for text in faults]
    found += [Finding("classes", "warning", text) for text in balance_warnings(count_labels(trained, data.classes))]
    if few := _few_to_evaluate(checked, has_splits):
        found.append(Finding("classes", "warning", few))
    return found or [Finding("classes", "pass", f"{_smallest(checked)}, balanced within {MOST_IMBALANCE:.0f}:1")]


def _few_to_evaluate(checked: Checked, has_splits: bool) -> str | None:
    """On classes of which the test images are few, or would be where there are no splits yet."""
    images, classes = checked.data.images, checked.data.classes
    if not has_splits:
        shares = {
            name: round(FRACTIONS[2] * images) for name, images in count_labels(all_labels(images), classes).items()
        }
        return few_to_evaluate(shares, "test", f", {100 * FRACTIONS[2]:.0f} % of all")
    tests = [image for image in images if image.split == "test"]
    return few_to_evaluate(count_labels(all_labels(tests), classes), "test") if tests else None


def _together(checked: Checked) -> list[Finding]:
    """How many labels images have, and which can't be told apart by what the training images show."""
    data = checked.data
    trained = [image for image in data.images if image.split in ("train", None)]
    found = [Finding("labels an image", "pass", str(label_statistics(data.images, data.classes)))]
    if trained and (bound := inseparable_labels(label_statistics(trained, data.classes))):
        found.append(Finding("labels an image", "warning", bound))
    if joined := [label for label in data.classes if "," in label]:
        text = f"one label, with a comma, is each of {some(map(repr, joined))}; | or ; stand between labels"
        found.append(Finding("labels an image", "warning", text))
    return found


def _smallest(checked: Checked) -> str:
    counts = count_labels(all_labels(checked.data.images), checked.data.classes)
    name = min(counts, key=lambda each: counts[each])
    return f"the smallest, {name!r}, has {count(counts[name], 'image')}"


def _counted(subject: str, verdict: Verdict, number: int, noun: str, text: str, *, cut: bool = False) -> Finding:
    if not number:
        return Finding(subject, "pass", f"no {noun} {text}")
    return Finding(subject, verdict, f"{'at least ' if cut else ''}{count(number, noun)} {text}")


def _remarks(subject: str, verdict: Verdict, remarks: Sequence[Remark], fine: str) -> Finding:
    if not remarks:
        return Finding(subject, "pass", fine)
    return Finding(subject, verdict, some((f"{remark.path}: {remark.text}" for remark in remarks), "; "))
