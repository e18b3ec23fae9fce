"""The page of a service: it asks nobody but the service, works by keyboard and on a phone, and can be left out."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from chromium import Chromium, find_chromium
from PIL import Image

from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.metrics.energy import EnergyThreshold

for module in ("starlette", "uvicorn", "httptools", "prometheus_client"):
    pytest.importorskip(module)
Start = Callable[..., Any]
EVIL = '"><script>document.title="gone"</script>'


@pytest.fixture
def chromium() -> Iterator[Chromium]:
    program = find_chromium()
    if program is None:
        pytest.skip("Chromium is not installed (apt install chromium)")
    browser = Chromium(program)
    yield browser
    browser.close()


def wait_for(browser: Chromium, script: str) -> Any:
    """What the function body returns once that is true in the page."""
    until = time.monotonic() + 60
    while not (found := browser.evaluate(script)):
        assert time.monotonic() < until, (script, browser.logged)
        time.sleep(0.05)
    return found


def test_an_image_is_tried_on_a_phone_and_the_map_is_shown_on_request(
    chromium: Chromium, start: Start, tmp_path: Path
) -> None:
    labels = ("leaf", EVIL, "sky")
    thresholds = Thresholds(energy=EnergyThreshold(99.0, 0.01, 90))
    running = start(tiny.build(tmp_path / "tiny", labels=labels, thresholds=thresholds))
    home = f"http://127.0.0.1:{running.port}/"
    chromium.open(home, width=390, height=844, dark=True)
    chromium.press("Tab")
    assert chromium.evaluate("return document.activeElement.id") == "file"
    tiny.images()[0].save(tmp_path / "photo.png")
    root = chromium.call("DOM.getDocument")["root"]["nodeId"]
    chosen = chromium.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    chromium.call("DOM.setFileInputFiles", nodeId=chosen, files=[str(tmp_path / "photo.png")])
    wait_for(chromium, "return !document.getElementById('result').hidden")
    assert chromium.evaluate("return document.getElementById('label').textContent") == "unknown"
    assert "energy" in chromium.evaluate("return document.getElementById('unknown').textContent")
    rows = chromium.evaluate("return [...document.querySelectorAll('#bars li')].map((row) => row.textContent)")
    assert len(rows) == 3 and any(EVIL in row for row in rows) and all("%" in row for row in rows)
    assert "ms" in chromium.evaluate("return document.getElementById('latency').textContent")
    chromium.evaluate("document.getElementById('why').click()")
    wait_for(chromium, "return !document.getElementById('map').hidden && document.getElementById('overlay').complete")
    assert chromium.evaluate("return document.getElementById('overlay').naturalWidth") >= 224
    assert chromium.evaluate("return document.documentElement.scrollWidth <= innerWidth")
    assert chromium.evaluate("return document.title") == "tiny"
    assert chromium.logged == []
    assert all(each.startswith((home, f"blob:{home}", "data:")) for each in chromium.requested)


def test_a_map_is_a_picture_and_bad_requests_for_one_are_refused(start: Start, tmp_path: Path) -> None:
    running = start(tiny.build(tmp_path / "tiny"))
    image = tiny.encoded(tiny.images()[0], "PNG")
    found = running.send("/explain?label=sky", image)
    assert (found.status, found.headers["content-type"]) == (200, "image/png")
    assert np.asarray(Image.open(io.BytesIO(found.body))).shape == (224, 224, 3)
    for path, body, words in (
        ("/explain?label=zebra", image, "no class 'zebra'"),
        ("/explain", b"no image", "not an image"),
    ):
        refused = running.send(path, body)
        assert refused.status == 400 and words in refused.json["error"]
    page = running.send("/")
    assert page.status == 200 and "script-src 'sha256-" in page.headers["content-security-policy"]
    assert running.send("/predict", image).status == 200


def test_the_page_says_where_images_go_and_whether_they_are_kept(start: Start, tmp_path: Path) -> None:
    bundle = tiny.build(tmp_path / "tiny")
    assert b"go to this service only." in start(bundle).send("/").body
    keeping = start(bundle, "--collect", str(tmp_path / "kept")).send("/").body
    assert b"go to this service only, which keeps those that are worth a label." in keeping


def test_without_the_page_there_are_neither_page_nor_maps(start: Start, tmp_path: Path) -> None:
    running = start(tiny.build(tmp_path / "tiny"), "--no-page")
    assert running.send("/").status == 404
    assert running.send("/explain", b"").status == 404
