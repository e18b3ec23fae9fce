"""Builds the documentation site: the repository's own pages, and references made from its code.

`make docs` runs it: it lays the pages out in build/docs/ and builds site/ from them. They lie there as they do in the
repository, so that a link between them is the same on a code host and on the site.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from command_pages import command_pages
from python_pages import python_pages

ROOT = Path(__file__).parents[2]
COPIED = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "docs/*.md",
    "docs/schemas/*.json",
    "benchmarks/results/*.json",
    "benchmarks/results/gpu/*.json",
)


def lay_out(place: Path) -> None:
    """Writes all pages into `place`, which is emptied first."""
    shutil.rmtree(place, ignore_errors=True)
    for pattern in COPIED:
        for file in ROOT.glob(pattern):
            target = place / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    shutil.copyfile(Path(__file__).with_name("style.css"), place / "style.css")
    for folder, pages in (("commands", command_pages()), ("python", python_pages())):
        (place / "reference" / folder).mkdir(parents=True)
        for name, text in pages.items():
            (place / "reference" / folder / f"{name}.md").write_text(text)


def build(pages: Path, site: Path) -> None:
    """Builds `site`; a warning, such as a link that leads nowhere, is an error."""
    os.environ["NO_MKDOCS_2_WARNING"] = "1"  # of Material for MkDocs; CONTRIBUTING.md says what we make of it
    try:
        from mkdocs.commands.build import build as build_site
        from mkdocs.config import load_config
    except ImportError as error:
        raise SystemExit(f"{error}; the site needs Python 3.11 or newer and pip install -e '.[dev]'") from error

    lay_out(pages)
    build_site(load_config(str(ROOT / "mkdocs.yml"), docs_dir=str(pages), site_dir=str(site)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=Path, default=ROOT / "build" / "docs")
    parser.add_argument("--site", type=Path, default=ROOT / "site")
    given = parser.parse_args()
    build(given.pages.resolve(), given.site.resolve())
    print(f"{given.site / 'index.html'}")
