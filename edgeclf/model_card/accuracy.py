"""A model card's accuracy: the figures of each set of images, and the classes or labels that are known worst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeclf.model_card.evidence import Accuracy, Evidence
from edgeclf_benchmarks.page.escaping import markdown, markdown_table
from edgeclf_runtime.metrics.intervals import Interval, wilson
from edgeclf_runtime.metrics.metrics import ClassFigures, Evaluation
from edgeclf_runtime.metrics.multilabel import LabelFigures, MultiLabelEvaluation

NOT_MEASURED = "not measured"
_LOWEST_CLASSES = 10


def accuracy_section(evidence: Evidence) -> Iterator[str]:
    """The tables; where images have one label each, and where they have several, apart."""
    known = evidence.accuracies
    if not known:
        yield f"{NOT_MEASURED.capitalize()}: no report of `edgeclf eval` or `edgeclf bench --data` was given.\n"
        return
    names: tuple[str, ...]
    if one := [(each, found) for each in known if isinstance(found := each.evaluation, Evaluation)]:
        names = ("top-1 [95 %]", "macro-F1", "macro AUC", "ECE", "NLL")
        yield _accuracy_table(names, [(each, _figures(found)) for each, found in one])
        yield from _lowest_classes(*one[-1])
    if several := [(each, found) for each in known if isinstance(found := each.evaluation, MultiLabelEvaluation)]:
        names = ("mAP [95 %]", "macro-F1", "micro-F1", "exact match", "Hamming loss", "ECE")
        yield _accuracy_table(names, [(each, _label_figures(found)) for each, found in several])
        yield from _lowest_labels(*several[-1])
    yield f"\nAccuracy on groups of people, places or devices: {NOT_MEASURED}.\n"


def _accuracy_table(figures: Sequence[str], rows: Sequence[tuple[Accuracy, Sequence[str]]]) -> str:
    return markdown_table(
        ("images of", "number", *figures, "remark"),
        [
            (
                f"{each.data}, {each.split} ({each.digest[:12]})",
                str(each.evaluation.images),
                *cells,
                each.remark,
            )
            for each, cells in rows
        ],
    )


def _figures(found: Evaluation) -> Sequence[str]:
    return (
        share(found.top1, found.top1_interval),
        share(found.macro_f1, found.macro_f1_interval),
        share(found.macro_auc, found.macro_auc_interval),
        share(found.ece) + _untempered(found.ece_untempered),
        share(found.nll) + _untempered(found.nll_untempered),
    )


def _label_figures(found: MultiLabelEvaluation) -> Sequence[str]:
    return (
        share(found.mean_average_precision, found.mean_average_precision_interval),
        share(found.macro_f1, found.macro_f1_interval),
        share(found.micro_f1, found.micro_f1_interval),
        share(found.exact_match, found.exact_match_interval),
        share(found.hamming_loss, found.hamming_loss_interval),
        share(found.macro_ece),
    )


def _lowest_classes(last: Accuracy, found: Evaluation) -> Iterator[str]:
    lowest = sorted((each for each in found.per_class if each.f1 is not None), key=lambda each: each.f1 or 0)
    yield f"\nClasses with the lowest F1 on {markdown(last.data)}, {last.split}:\n\n"
    yield markdown_table(
        ("class", "images", "precision", "recall [95 %]", "F1"),
        [
            (each.label, str(each.support), share(each.precision), share(each.recall, _recall(each)), share(each.f1))
            for each in lowest[:_LOWEST_CLASSES]
        ],
    )


def _lowest_labels(last: Accuracy, found: MultiLabelEvaluation) -> Iterator[str]:
    known = (each for each in found.per_label if each.average_precision is not None)
    lowest = sorted(known, key=lambda each: each.average_precision or 0)
    yield f"\nLabels with the lowest average precision (AP) on {markdown(last.data)}, {last.split}:\n\n"
    yield markdown_table(
        ("label", "images", "threshold", "precision", "recall [95 %]", "F1", "AP"),
        [
            (
                each.label,
                str(each.support),
                f"{each.threshold:.3f}",
                share(each.precision),
                share(each.recall, _recall(each)),
                share(each.f1),
                share(each.average_precision),
            )
            for each in lowest[:_LOWEST_CLASSES]
        ],
    )


def _recall(each: ClassFigures | LabelFigures) -> Interval | None:
    """Wilson's 95 % interval of the recall, since a class may have few images."""
    return None if each.recall is None else wilson(round(each.recall * each.support), each.support)


def _untempered(value: float | None) -> str:
    return "" if value is None else f" ({value:.3f} without temperature)"


def share(value: float | None, interval: Interval | None = None) -> str:
    """ "0.912 [0.890, 0.934]"."""
    if value is None:
        return "n/a"
    return f"{value:.3f}" + (f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else "")
