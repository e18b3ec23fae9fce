"""Images for a person to label, as a part of an HTML page: a small copy of each with lines of text below it."""

from __future__ import annotations

from collections.abc import Sequence

from edgeclf_benchmarks.measuring.thumbnails import thumbnails_of
from edgeclf_benchmarks.page.escaping import text
from edgeclf_runtime.images.labelled import LabelledImage

CARDS_STYLE = """
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,11rem),1fr));gap:1rem;padding:0}
.sheet figure{margin:0;break-inside:avoid} .sheet figcaption{overflow-wrap:anywhere;font-size:.875rem}
.sheet img,.sheet .gone{width:96px;height:96px;object-fit:contain;background:var(--soft);display:block}
"""


def image_cards(images: Sequence[LabelledImage], lines: Sequence[Sequence[str]]) -> str:
    """HTML of the images; `lines` are HTML, too. An image that is gone has a grey square."""
    shown = thumbnails_of(images, range(len(images)), len(images))
    figures = "".join(
        f"<figure>{_picture(image, shown.get(image.name))}<figcaption>{'<br>'.join(below)}</figcaption></figure>"
        for image, below in zip(images, lines, strict=True)
    )
    return f'<div class="sheet">{figures}</div>'


def _picture(image: LabelledImage, jpeg: str | None) -> str:
    if jpeg is None:
        return '<span class="gone"></span>'
    return f'<img alt="{text(image.name)}" src="data:image/jpeg;base64,{jpeg}">'
