"""The report of a check: look-alikes side by side, as one HTML file without scripts and as one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from edgeclf.console import inert
from edgeclf.data.check import Checked, Pair
from edgeclf.data.findings import Finding
from edgeclf_benchmarks.page.document import data_uri, document, section
from edgeclf_benchmarks.page.escaping import text
from edgeclf_benchmarks.page.html_tables import Table, scrolling, to_html
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.errors import ImageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.labelled import LabelledImage

_THUMBNAIL_PX, _CAPTION_PX, _GAP_PX, _COLUMNS = 112, 46, 14, 4
_MOST_PAIRS = 96
_STYLE = """
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,14.5rem),1fr));gap:1rem}
.sheet img{width:calc(50% - 2px);aspect-ratio:1;object-fit:contain;image-rendering:pixelated;background:var(--soft)}
.sheet figcaption{overflow-wrap:anywhere}
"""
_VERDICTS = {"warning": "inconclusive", "fault": "fail", "leak": "fail", "pass": "pass"}


def write_report(
    folder: Path, title: str, checked: Checked, findings: Sequence[Finding], *, force: bool = False
) -> None:
    """Writes `check.html` and, where there are pairs, `pairs.png` into the new folder, in one step; 96 of a kind."""
    sections = [(heading, pairs[:_MOST_PAIRS]) for heading, pairs in sections_of(checked)]
    with writing(folder, force=force) as draft:
        draft.mkdir()
        (draft / "check.html").write_text(_page(title, checked, findings, sections), encoding="utf-8")
        if any(pairs for _, pairs in sections):
            draw_pairs(sections).save(draft / "pairs.png")


def sections_of(checked: Checked) -> list[tuple[str, list[Pair]]]:
    """The pairs by what is wrong with them, the gravest first."""
    crossing = [pair for pair in checked.alike if pair.crosses]
    within = [pair for pair in checked.alike if not pair.crosses]
    copies = [Pair(same[0], other) for same in checked.copies for other in same[1:]]
    other_copies = [pair for pair in copies if not pair.crosses and not pair.disagrees]
    kinds = {
        "The same pixels in two splits": list(checked.leaks),
        "The same pixels under two labels": list(checked.conflicts),
        "Nearly the same in two splits": crossing,
        "The same pixels": other_copies,
        "Nearly the same": within,
    }
    return [(title, pairs) for title, pairs in kinds.items() if pairs]


def draw_pairs(sections: Sequence[tuple[str, Sequence[Pair]]]) -> Image.Image:
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
            for offset, image in enumerate((pair.first, pair.second)):
                sheet.paste(_thumbnail(image), (left + offset * (_THUMBNAIL_PX + 2), top))
            for line, shown in enumerate((_side(pair.first), _side(pair.second), _how_alike(pair))):
                pen.text((left, top + _THUMBNAIL_PX + 2 + 14 * line), _plain(shown), fill="#444", font=small)
            if number % _COLUMNS == _COLUMNS - 1 or number == len(pairs) - 1:
                top += cell_height
    return sheet.crop((0, 0, sheet.width, top))


def _thumbnail(labelled: LabelledImage) -> Image.Image:
    """The image in a square; a grey square where it is gone by now."""
    canvas = Image.new("RGB", (_THUMBNAIL_PX, _THUMBNAIL_PX), "#eee")
    try:
        image = decode(labelled.path).image
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
    body = section("Findings", _findings(findings))
    for heading, pairs in sections:
        figures = "".join(_figure(pair) for pair in pairs)
        body += section(heading, f'<div class="sheet">{figures}</div>')
    remarks = tuple((each.path, each.text) for each in (*checked.unreadable, *checked.changed, *checked.odd))
    if remarks:
        table = Table("What is unusual about them", ("image", "remark"), remarks, words=("remark",), long=True)
        body += section("Single images", to_html(table))
    return document(title, body, over="edgeclf data check", style=_STYLE)


def _findings(findings: Sequence[Finding]) -> str:
    """The findings as a table; a verdict has its word beside its colour, for those who can't see the colour."""
    rows = "".join(
        f'<tr><th scope="row">{text(each.subject)}</th>'
        f'<td class="words"><span class="{_VERDICTS[each.verdict]}">{text(each.verdict)}</span></td>'
        f'<td class="words">{text(each.text)}</td></tr>'
        for each in findings
    )
    return scrolling("One line a subject", f"<tbody>{rows}</tbody>", kind="findings")


def _figure(pair: Pair) -> str:
    images = "".join(f'<img alt="" src="{data_uri(_png(_thumbnail(each)))}">' for each in (pair.first, pair.second))
    lines = (_whole(pair.first), _whole(pair.second), _how_alike(pair))
    return f"<figure>{images}<figcaption>{'<br>'.join(map(text, lines))}</figcaption></figure>"


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _whole(image: LabelledImage) -> str:
    return f"{image.split + ' · ' if image.split else ''}{image.label_text} · {image.name}"


def _side(image: LabelledImage) -> str:
    return f"{image.split + ' ' if image.split else ''}{image.label_text}  {image.path.name}"


def _how_alike(pair: Pair) -> str:
    if pair.same_pixels:
        return "the same pixels"
    return f"correlation {pair.correlation:.3f}, {pair.bits} bits{', mirrored' if pair.mirrored else ''}"


def _plain(value: str) -> str:
    """What Pillow's own font can draw, cut to the width of a pair."""
    shown = inert(value).encode("ascii", "replace").decode()
    return shown if len(shown) <= 38 else shown[:26] + "..." + shown[-9:]
