"""A learning curve as one HTML page that needs no network: what each approach needs, the plot, every point."""

from __future__ import annotations

from edgeclf.training.learning_curve.curve import LearningCurve
from edgeclf.training.learning_curve.tables import needs_table, points_table
from edgeclf_benchmarks.page.document import document, plot, section
from edgeclf_benchmarks.page.escaping import text
from edgeclf_benchmarks.page.html_tables import to_html


def learning_page(curve: LearningCurve, png: bytes) -> str:
    """The whole page, with the plot `png` in it."""
    title = f"Learning curve: {curve.model} on {curve.data}"
    split = {"val": "validation", "test": "test"}[curve.judged_on]
    about = f"Evaluated on {curve.judged_images:,} {split} images, the same for every point."
    if curve.selected_here:
        about += " The networks' best epochs were selected on these images, so their figures are slightly optimistic."
    if not curve.complete:
        about += " Not all points are measured yet."
    description = "; ".join(
        f"{approach}: " + ", ".join(f"{point.accuracy:.3f} with {point.images} images" for point in curve.of(approach))
        for approach in curve.approaches
    )
    machine = ", ".join(f"{name} {value}" for name, value in curve.machine.items())
    needs = (
        f"{to_html(needs_table(curve))}"
        '<p class="dim">Data needed: the fewest images whose interval reaches the approach\'s best accuracy; training '
        "time is of these. An approach beats the baseline where its whole interval lies above the baseline's on the "
        "same training images.</p>"
    )
    body = section("What each approach needs", needs)
    body += section("Accuracy and time against images", plot(png, description))
    body += section("Every point", to_html(points_table(curve)))
    footer = text(f"{curve.created_utc}; {machine}")
    return document(title, body, over="edgeclf train --fraction", about=text(about), footer=footer)
