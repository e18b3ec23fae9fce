"""The documentation site: built without a warning, it has every verb and every name of a face, and needs no network."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from chromium import Chromium, find_chromium
from warm_process import start_script

from edgeclf.commands import build_app

pytestmark = pytest.mark.check

PACKAGES = ("edgeclf_runtime", "edgeclf_export", "edgeclf_benchmarks", "edgeclf")


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings_handlers.python")
    folder = tmp_path_factory.mktemp("docs")
    script = root / "docs/site/build.py"
    started = start_script(
        "import runpy, sys; sys.argv = sys.argv[1:]; sys.path[0] = sys.argv.pop(0);"
        "runpy.run_path(sys.argv[0], run_name='__main__')",
        *map(str, (script.parent, script, "--pages", folder / "pages", "--site", folder / "site")),
        cwd=root,
    )
    _, printed = started.communicate(timeout=300)
    assert started.returncode == 0, printed
    assert "WARNING" not in printed
    return folder / "site"


def test_every_verb_has_a_page_with_its_options(site: Path) -> None:
    for info in build_app().registered_commands:
        page = (site / f"reference/commands/{info.name}.html").read_text()
        assert "--help" in page, info.name
    for verb in ("check", "split", "stats", "preview", "fetch"):
        assert f"edgeclf data {verb}" in (site / "reference/commands/data.html").read_text()
    predict = (site / "reference/commands/predict.html").read_text()
    assert "--batch-size" in predict and ">cuda for tensorrt bundles, else cpu<" in predict


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_of_a_face_is_on_the_page_of_its_package(package: str, site: Path) -> None:
    module, page = importlib.import_module(package), (site / f"reference/python/{package}.html").read_text()
    for name in getattr(module, "__all__", dir(module)):
        if not name.startswith("_"):
            assert re.search(rf'<h2 id="[\w.]+\.{name}"', page), name


def test_pages_load_nothing_from_the_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not re.search(r'<(?:script|img|link|iframe)[^>]+(?:src|href)="(?:https?:)?//', page.read_text()), page


@pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed")
def test_pages_fit_a_phone_and_load_nothing_from_elsewhere(site: Path) -> None:
    browser = Chromium(str(find_chromium()))
    try:
        for page in ("index", "docs/proof", "reference/commands/train", "reference/python/edgeclf_runtime"):
            browser.open(site / f"{page}.html", width=390)
            assert browser.evaluate("return document.documentElement.scrollWidth") == 390, page
            assert not [each for each in browser.requested if not each.startswith(("file:", "data:"))], page
    finally:
        browser.close()
