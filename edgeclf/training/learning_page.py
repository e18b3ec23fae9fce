"""A learning curve as one HTML page that needs no network: what it says, the picture, every point."""

from __future__ import annotations

import base64

from edgeclf.training.learning_curve import LearningCurve
from edgeclf.training.learning_tables import needs_table, points_table
from edgeclf_benchmarks.comparing.markup import text
from edgeclf_benchmarks.comparing.style import STYLE
from edgeclf_benchmarks.comparing.tables import to_html

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def learning_page(curve: LearningCurve, picture: bytes) -> str:
    """The whole page, with the PNG `picture` in it."""
    title = f"Learning curve: {curve.model} on {curve.data}"
    judged = {"val": "validation", "test": "test"}[curve.judged_on]
    about = f"Judged on {curve.judged_images:,} {judged} images, the same for every point."
    if curve.selected_here:
        about += " The networks' best epochs were selected on these images, so their figures flatter a little."
    if not curve.complete:
        about += " Not all points are measured yet."
    image = base64.b64encode(picture).decode()
    told = "; ".join(
        f"{approach}: " + ", ".join(f"{point.accuracy:.3f} with {point.images} images" for point in curve.of(approach))
        for approach in curve.approaches
    )
    machine = ", ".join(f"{name} {value}" for name, value in curve.machine.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>\n<body>"
        f'<header><p class="over">edgeclf train --fraction</p><h1>{text(title)}</h1><p class="dim">{text(about)}</p>'
        f"</header>\n<main><section><h2>What each approach needs</h2>{to_html(needs_table(curve))}"
        '<p class="dim">Data needed: the fewest images whose interval reaches the approach\'s best accuracy; training '
        "time is of these. An approach beats the baseline where its whole interval lies above the baseline's on the "
        "same training images.</p></section>"
        f'<section><h2>Accuracy and time against images</h2><div><img style="max-width:100%;height:auto" '
        f'src="data:image/png;base64,{image}" alt="{text(told)}"></div></section>'
        f"<section><h2>Every point</h2>{to_html(points_table(curve))}</section></main>\n"
        f'<footer><p class="dim">{text(curve.created_utc)}; {text(machine)}</p></footer></body></html>\n'
    )
