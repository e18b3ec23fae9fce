"""The page of a comparison in a browser: on a phone, in the dark, on paper, by keyboard, with a screen reader."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from chromium import Chromium, find_chromium
from made_reports import made_report, saved

from edgeclf_benchmarks.comparing.compare import Compared, entries_of, read_sources
from edgeclf_benchmarks.comparing.findings import findings
from edgeclf_benchmarks.comparing.gates import check_gates, parse_rule
from edgeclf_benchmarks.comparing.page.page import page as drawn
from edgeclf_benchmarks.page.document import document
from edgeclf_benchmarks.page.html_tables import Table, to_html

A4_PX = 703  # 210 mm without the page's margins, at 96 pixels an inch
EVIL = '"><script>document.title="gone"</script><img src=x onerror=document.title="gone">'
ROWS = {
    "a_backbone_with_a_long_name_100-pytorch-fp32": (12.0, 40),
    "a_backbone_with_a_long_name_100-onnx-int8": (4.9, 48),
    EVIL: (5.0, 44),
    "hog-svm": (0.9, 90),
}
# of the two pages the one with more kinds of parts, where it is not their number that matters
OFTEN_OF_FEW = pytest.mark.parametrize(
    "page", ["few classes", pytest.param("many classes", marks=pytest.mark.slow)], indirect=True, scope="module"
)
CLASSES = ("cat", "dog", EVIL, *(f"class_{number}" for number in range(9)))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    program = find_chromium()
    if program is None:
        pytest.skip("Chromium is not installed (apt install chromium)")
    browser = Chromium(program)
    yield browser
    browser.close()


@pytest.fixture(scope="module", params=["few classes", pytest.param("many classes", marks=pytest.mark.check)])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines, gates and a baseline; or a dozen rows that know sixty classes."""
    folder = tmp_path_factory.mktemp("page")
    if request.param == "few classes":
        made = [made_report(ROWS, classes=CLASSES, cpu=cpu, corrupted=True) for cpu in ("Quiet CPU 9000", "Board")]
    else:
        rows = {f"row_{number}-onnx-fp32": (12.0 - 0.9 * number, 40 + number) for number in range(12)}
        made = [made_report(rows, classes=tuple(f"the class {number}" for number in range(60)), images=300)]
    sources = read_sources([saved(each, folder / f"{number}.json") for number, each in enumerate(made)])
    (baseline,) = read_sources([saved(made_report({"gone": (2.0, 40), **ROWS}, classes=CLASSES), folder / "old.json")])
    entries = entries_of(sources)
    gates = check_gates([parse_rule("p50_ms>10"), parse_rule("top1<0.5")], entries)
    verdict = findings(sources, entries, gates, baseline)
    compared = Compared(
        created_utc="2026-01-02T03:04:05Z",
        edgeclf="0",
        command="edgeclf compare 0.json 1.json",
        verdict=verdict,
        gates=gates,
        sources=sources,
        baseline=baseline,
    )
    place = folder / "report.html"
    place.write_text(drawn(compared), encoding="utf-8")
    return place


def test_no_script_runs_nothing_is_loaded_and_nothing_is_logged(chromium: Chromium, page: Path) -> None:
    chromium.open(page)
    assert chromium.logged == []
    assert [each for each in chromium.requested if not each.startswith("data:image/jpeg;base64,")] == [page.as_uri()]
    assert chromium.evaluate("return document.scripts.length") == 0
    assert chromium.evaluate("return document.title").startswith("edgeclf: ")
    broken = "return [...document.images].filter(each => !each.complete || !each.naturalWidth).length"
    assert chromium.evaluate(broken) == 0


def test_a_screen_of_any_width_scrolls_only_downwards(chromium: Chromium, page: Path) -> None:
    chromium.open(page, width=320)
    chromium.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    for width in (320, 390, 820, 1280):
        chromium.look(width=width)
        assert chromium.evaluate("return document.scrollingElement.scrollWidth") == width


def test_a_table_of_many_figures_a_label_stacks_them_on_a_phone_and_stays_a_table(
    chromium: Chromium, tmp_path: Path
) -> None:
    figures = ("images", "predicted", "missed", "threshold", "precision", "recall", "F1", "AP", "ECE")
    table = Table("Labels", ("label", *figures), (("dent", *("0.123",) * 9), ("rust", *("n/a",) * 9)), stacks=True)
    (tmp_path / "page.html").write_text(document("Labels", to_html(table), over="edgeclf eval", footer=""))
    chromium.open(tmp_path / "page.html", width=390)
    sideways = "const it = document.querySelector('.wide'); return it.scrollWidth > it.clientWidth"
    headed = "return getComputedStyle(document.querySelector('td'), '::before').content"
    assert (chromium.evaluate(sideways), chromium.evaluate(headed)) == (False, '"images"')
    chromium.look(width=1280)
    assert chromium.evaluate(headed) == "none"


def test_labels_of_a_chart_do_not_overlap(chromium: Chromium, page: Path) -> None:
    chromium.open(page, width=390)
    for width in (390, 1280):
        chromium.look(width=width)
        assert chromium.evaluate(_OVERLAPS) == [], width


@OFTEN_OF_FEW
def test_text_has_enough_contrast_with_its_background(chromium: Chromium, page: Path) -> None:
    chromium.open(page)
    chromium.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    for dark, media in [(False, ""), (True, ""), (True, "print")]:
        chromium.look(dark=dark, media=media)
        assert chromium.evaluate(_FAINT) == [], (dark, media)


@OFTEN_OF_FEW
def test_print_is_white_shows_folded_parts_and_cuts_nothing_off(chromium: Chromium, page: Path, tmp_path: Path) -> None:
    chromium.open(page, width=A4_PX, dark=True, media="print")
    assert chromium.evaluate("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert chromium.evaluate("return [...document.querySelectorAll('details table')].every(each => each.offsetHeight)")
    assert chromium.evaluate("return document.scrollingElement.scrollWidth") == A4_PX
    wide = "return [...document.querySelectorAll('.wide')].filter(each => each.scrollWidth > each.clientWidth + 1)"
    assert chromium.evaluate(f"{wide}.map(each => each.getAttribute('aria-label'))") == []
    chromium.print(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


@OFTEN_OF_FEW
def test_headings_go_down_one_level_at_a_time(chromium: Chromium, page: Path) -> None:
    chromium.open(page)
    levels = chromium.evaluate("return [...document.querySelectorAll('h1,h2,h3,h4')].map(each => +each.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert chromium.evaluate("return document.querySelector('main h2').textContent") == "Verdict"


@OFTEN_OF_FEW
def test_a_screen_reader_gets_the_role_and_name_of_each_part(chromium: Chromium, page: Path) -> None:
    chromium.open(page)
    nodes = [each for each in chromium.call("Accessibility.getFullAXTree")["nodes"] if not each["ignored"]]
    roles = [each["role"]["value"] for each in nodes]
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert roles.count(landmark) == 1
    for role in ("image", "region", "table", "link", "columnheader", "rowheader", "figure"):
        found = [each for each in nodes if each["role"]["value"] == role]
        assert found and all(_named(each) for each in found if role != "figure"), role
    described = "[...document.querySelectorAll('figure>svg')].every(each => each.querySelector('desc').textContent)"
    assert chromium.evaluate(f"return {described}")
    assert chromium.evaluate("return [...document.querySelectorAll('th')].every(each => each.scope)")
    lost = "return [...document.links].filter(each => !document.getElementById(each.hash.slice(1))).length"
    assert chromium.evaluate(lost) == 0


@OFTEN_OF_FEW
def test_the_keyboard_reaches_all_that_opens_or_scrolls_with_a_visible_focus(chromium: Chromium, page: Path) -> None:
    chromium.open(page)
    every = "[...document.querySelectorAll('a, summary, [tabindex]')]"
    wanted = chromium.evaluate(f"return {every}.filter(each => each.checkVisibility()).length")
    reached: list[Any] = []
    for _ in range(wanted):
        chromium.press("Tab")
        reached.append(chromium.evaluate(_FOCUS))
    assert {tag for tag, _ in reached} == {"A", "SUMMARY", "DIV"}
    assert all(outline >= 2 for _, outline in reached)


def _named(node: Any) -> bool:
    return bool(node.get("name", {}).get("value", "").strip())


_FOCUS = """
const style = getComputedStyle(document.activeElement)
return [document.activeElement.tagName, style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth)]
"""
_OVERLAPS = """
const found = []
for (const chart of document.querySelectorAll('figure>svg')) {
  const boxes = [...chart.querySelectorAll('text')].map(each => [each, each.getBoundingClientRect()])
  for (const [place, [one, a]] of boxes.entries()) for (const [other, b] of boxes.slice(place + 1)) {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left)
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)
    if (wide > 1 && high > 0.35 * Math.min(a.height, b.height)) found.push([one.textContent, other.textContent])
  }
}
return found
"""
# Contrast as WCAG 2 has it; what is behind a mark's number is its shape.
_FAINT = """
const parts = value => { const found = value.match(/[\\d.]+/g).map(Number); return [...found, 1].slice(0, 4) }
const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1)
const light = colour => {
  const [r, g, b] = colour.map(each => each / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  return 0.2126 * r + 0.7152 * g + 0.0722 * b
}
const behind = element => {
  const layers = []
  for (let each = element; each; each = each.parentElement) layers.push(parts(getComputedStyle(each).backgroundColor))
  return layers.reverse().filter(each => each[3]).reduce((below, top) => over(top, below), [255, 255, 255, 1])
}
const found = {}
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement, shown = texts.currentNode.textContent.trim()
  if (!shown || element.closest('.visually-hidden') || !element.getClientRects().length) continue
  const style = getComputedStyle(element), drawn = element instanceof SVGElement
  if (drawn && /^(title|desc)$/.test(element.tagName)) continue
  const shape = drawn && element.closest('.mark') && element.previousElementSibling
  const around = drawn && element.closest('figure') || element
  const below = shape ? parts(getComputedStyle(shape).fill) : behind(around)
  const own = over(parts(drawn ? style.fill : style.color), below)
  const [high, low] = [light(own), light(below)].sort((a, b) => b - a)
  const ratio = (high + 0.05) / (low + 0.05)
  if (ratio < 4.5) found[`${own} on ${below}`] = [shown.slice(0, 30), +ratio.toFixed(2)]
}
return Object.entries(found)
"""
