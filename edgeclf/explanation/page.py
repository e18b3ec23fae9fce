"""Explanations as one HTML page that needs no network: a card an image, its map, its curves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeclf.explanation.curves import STEPS
from edgeclf.explanation.explain import Explained, ExplainedImage
from edgeclf.explanation.explanation import Explanation, means
from edgeclf.wording import count
from edgeclf_benchmarks.comparing.page.svg import Axis, Plot, figure
from edgeclf_benchmarks.page.document import data_uri, document, section
from edgeclf_benchmarks.page.escaping import text
from edgeclf_runtime.bundle.decision import UNKNOWN, Prediction

MOST = 100  # images on the page; the folder holds all
_STYLE = """
.why{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));gap:1.5rem 2rem;list-style:none;
padding:0} .why>li{min-width:0;break-inside:avoid} .why img{display:block;width:100%;height:auto;border-radius:6px}
.why h3{margin:.6rem 0 .2rem;overflow-wrap:anywhere} .why p{font-size:.9rem}
"""
_HOW = (
    "What glows matters: where it is visible the score is high, where it is hidden the score falls. The image is what "
    "the network sees, cut and resized. Under a good map the score falls fast as its pixels vanish, the most important "
    "first (a small area under deletion), and rises fast as they appear (a large one under insertion). The dashed line "
    "is a centre prior, which hides the middle first, whatever the image: a map that is no better says little."
)
_KEY = ", ".join(
    f'<span class="c{number}" style="color:var(--c)">{name}</span>'
    for number, name in enumerate(("deletion", "insertion"))
)


def explanations_page(found: Explained, folder: Path) -> str:
    """The whole page, with the pictures that lie in `folder`."""
    cards = "".join(_card(each, folder) for each in found.images[:MOST])
    ours, centre = means(found.explanations)
    left = len(found.images) - MOST
    more = f"<p>{left:,} more pictures lie beside this page.</p>" if left > 0 else ""
    return document(
        f"Why {found.bundle} predicts what it does",
        section("Images", f'<p>{_HOW}</p><ul class="why">{cards}</ul>{more}'),
        over="edgeclf explain",
        about=text(
            f"{count(len(found.explanations), 'map')}, {found.masks} masks each; mean area under deletion "
            f"{ours:.3f}, of a centre prior {centre:.3f}."
        ),
        footer=text(f"{found.digest}; {', '.join(f'{name} {value}' for name, value in found.engine.items())}"),
        style=_STYLE,
    )


def _card(each: ExplainedImage, folder: Path) -> str:
    name = text(Path(each.prediction.source).name)
    if each.explanation is None or each.picture is None:
        return f'<li><h3>{name}</h3><p class="fail">{text(each.prediction.error or "")}</p></li>'
    picture = data_uri((folder / each.picture).read_bytes())
    described = text(f"What {each.explanation.label} rests on in {Path(each.prediction.source).name}")
    words = "".join(f"<p>{each}</p>" for each in _words(each))
    return f'<li><img src="{picture}" alt="{described}"><h3>{name}</h3>{words}{curves_chart(each.explanation)}</li>'


def _words(each: ExplainedImage) -> Iterator[str]:
    explanation = each.explanation
    assert explanation is not None
    kind, beside = "class" if each.prediction.labels is None else "label", _beside(each.prediction, explanation.label)
    yield text(f"{kind} {explanation.label}, score {explanation.score:.3f}{beside}")
    if not explanation.is_useful:
        yield '<span class="inconclusive">No better than the centre prior: this map says little.</span>'


def _beside(prediction: Prediction, label: str) -> str:
    """What the prediction was, where it is not this class, or not this class alone."""
    if prediction.label == UNKNOWN:
        return f"; predicted {UNKNOWN}"
    if prediction.labels is None or prediction.labels == (label,):
        return ""
    return f"; predicted {', '.join(prediction.labels) or 'no label'}"


def curves_chart(found: Explanation) -> str:
    """Deletion and insertion, with the centre prior's dashed."""
    shown = [found.curves.deletion, found.curves.insertion, found.centre_curves.deletion, found.centre_curves.insertion]
    low, high = min(map(min, shown)), max(map(max, shown))
    plot = Plot(Axis(0, 100, most=3), Axis(min(low, 0.0), max(high, 1.0), most=3), 240, 190, 56, 12, 10, 48)
    parts = list(plot.frame("% of pixels", "score"))
    for number, values in enumerate(shown):
        points = plot.path([(100 * step / STEPS, value) for step, value in enumerate(values)])
        kind = f"c{number % 2}{' d1' if number > 1 else ''}"
        parts.append(f'<g class="{kind}"><polyline class="line" points="{points}"/></g>')
    return figure(
        "Deletion and insertion", str(found), parts, (240, 190), caption=f"{_KEY}: {text(str(found))}", kind="panel"
    )
