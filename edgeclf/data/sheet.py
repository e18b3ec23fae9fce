"""The report of a check for people: look-alikes side by side, as one HTML file without scripts and as one PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from edgeclf.console import inert
from edgeclf.data.check import Checked, Pair, Place
from edgeclf.data.findings import Finding
from edgeclf_runtime.errors import ImageError
from edgeclf_runtime.images import decode
from edgeclf_runtime.writer import writing

_THUMBNAIL_PX, _CAPTION_PX, _GAP_PX, _COLUMNS = 112, 46, 14, 4
_MOST_PAIRS = 96
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:72em;margin:2em auto;padding:0 1em;color:#222;background:#fff}
td,th{padding:.2em 1.2em .2em 0;text-align:left;vertical-align:top} figure{display:inline-block;margin:.7em 1em .7em 0}
img{width:112px;height:112px;object-fit:contain;image-rendering:pixelated;background:#eee;margin-right:2px}
figcaption{font-size:12px;width:228px;overflow-wrap:anywhere;color:#555} 
.leak,.fault{color:#c62828} .warning{color:#b26a00}
"""


def write_report(
    folder: Path, title: str, checked: Checked, findings: Sequence[Finding], *, force: bool = False
) -> None:
    """Writes `check.html` and, where there are pairs, `pairs.png` into the new folder, in one step; 96 of a kind."""
    sections = [(heading, pairs[:_MOST_PAIRS]) for heading, pairs in sections_of(checked)]
    with writing(folder, force=force) as draft:
        draft.mkdir()
        (draft / "check.html").write_text(_page(title, checked, findings, sections), encoding="utf-8")
        if any(pairs for _, pairs in sections):
            draw_pairs(checked, sections).save(draft / "pairs.png")


def sections_of(checked: Checked) -> list[tuple[str, list[Pair]]]:
    """The pairs to look at by what is wrong with them, the gravest first."""
    crossing = [pair for pair in checked.alike if pair.crosses]
    within = [pair for pair in checked.alike if not pair.crosses]
    copies = [Pair(same[0], other) for same in checked.copies for other in same[1:]]
    harmless = [pair for pair in copies if not pair.crosses and not pair.disagrees]
    kinds = {
        "The same pixels in two splits": list(checked.leaks),
        "The same pixels under two labels": list(checked.conflicts),
        "Nearly the same in two splits": crossing,
        "The same pixels": harmless,
        "Nearly the same": within,
    }
    return [(title, pairs) for title, pairs in kinds.items() if pairs]


def draw_pairs(checked: Checked, sections: Sequence[tuple[str, Sequence[Pair]]]) -> Image.Image:
    """The contact sheet: two thumbnails a pair, with splits, labels and how alike they are."""
    cell_width = 2 * _THUMBNAIL_PX + 2 + _GAP_PX
    cell_height = _THUMBNAIL_PX + _CAPTION_PX + _GAP_PX
    rows = sum(1 + -(-len(pairs) // _COLUMNS) for _, pairs in sections)
    sheet = Image.new("RGB", (2 * _GAP_PX + _COLUMNS * cell_width, _GAP_PX + rows * cell_height), "white")
    pen, heading, small = ImageDraw.Draw(sheet), ImageFont.load_default(18), ImageFont.load_default(11)
    top = _GAP_PX
    for title, pairs in sections:
        pen.text((_GAP_PX, top), title, fill="black", font=heading)
        top += 2 * _GAP_PX
        for number, pair in enumerate(pairs):
            left = _GAP_PX + number % _COLUMNS * cell_width
            for offset, place in enumerate((pair.first, pair.second)):
                sheet.paste(_thumbnail(checked, place), (left + offset * (_THUMBNAIL_PX + 2), top))
            for line, text in enumerate((_side(pair.first), _side(pair.second), _how_alike(pair))):
                pen.text((left, top + _THUMBNAIL_PX + 2 + 14 * line), _plain(text), fill="#444", font=small)
            if number % _COLUMNS == _COLUMNS - 1 or number == len(pairs) - 1:
                top += cell_height
    return sheet.crop((0, 0, sheet.width, top))


def _thumbnail(checked: Checked, place: Place) -> Image.Image:
    """The image in a square; a grey square where it is gone by now."""
    canvas = Image.new("RGB", (_THUMBNAIL_PX, _THUMBNAIL_PX), "#eee")
    try:
        image = decode(checked.dataset.root / place.path).image
    except ImageError:
        return canvas
    scale = _THUMBNAIL_PX / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    image = image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)
    canvas.paste(image, ((_THUMBNAIL_PX - size[0]) // 2, (_THUMBNAIL_PX - size[1]) // 2))
    return canvas


def _page(
    title: str, checked: Checked, findings: Sequence[Finding], sections: Sequence[tuple[str, Sequence[Pair]]]
) -> str:
    rows = "".join(
        f"<tr><td>{_text(each.subject)}<td class={each.verdict}>{each.verdict}<td>{_text(each.text)}"
        for each in findings
    )
    figures = "".join(
        f"<h2>{_text(heading)}</h2>" + "".join(_figure(checked, pair) for pair in pairs) for heading, pairs in sections
    )
    remarks = "".join(
        f"<tr><td>{_text(each.path)}<td>{_text(each.text)}"
        for each in (*checked.unreadable, *checked.changed, *checked.odd)
    )
    listed = f"<h2>Single images</h2><table>{remarks}</table>" if remarks else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{_text(title)}</title><style>{_STYLE}</style><h1>{_text(title)}</h1>"
        f"<table>{rows}</table>{figures}{listed}</html>\n"
    )


def _figure(checked: Checked, pair: Pair) -> str:
    images = "".join(f'<img alt="" src="{_data_uri(_thumbnail(checked, each))}">' for each in (pair.first, pair.second))
    lines = (_whole(pair.first), _whole(pair.second), _how_alike(pair))
    return f"<figure>{images}<figcaption>{'<br>'.join(map(_text, lines))}</figcaption></figure>"


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _text(text: str) -> str:
    return escape(inert(text))


def _whole(place: Place) -> str:
    return f"{place.split + ' · ' if place.split else ''}{place.label} · {place.path}"


def _side(place: Place) -> str:
    return f"{place.split + ' ' if place.split else ''}{place.label}  {Path(place.path).name}"


def _how_alike(pair: Pair) -> str:
    if pair.same_pixels:
        return "the same pixels"
    return f"correlation {pair.correlation:.3f}, {pair.bits} bits{', mirrored' if pair.mirrored else ''}"


def _plain(text: str) -> str:
    """What Pillow's own font can draw, cut to the width of a pair."""
    shown = inert(text).encode("ascii", "replace").decode()
    return shown if len(shown) <= 38 else shown[:26] + "..." + shown[-9:]
