"""The frame of every HTML page: one file without scripts and network, for light, dark, phone and paper."""

from __future__ import annotations

import base64

from edgeclf_benchmarks.page.escaping import text
from edgeclf_benchmarks.page.style import STYLE

# Nothing is loaded and nothing runs, whatever a name may hold; images are part of the page.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def document(
    title: str,
    body: str,
    *,
    over: str,
    heading: str | None = None,
    about: str = "",
    contents: str = "",
    footer: str = "",
    style: str = "",
) -> str:
    """The whole page. `title` and `over` (what wrote it) are plain text, all else is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}{style}</style></head>\n<body>"
        f'<header><p class="over">{text(over)}</p><h1>{heading or text(title)}</h1><p class="dim">{about}</p>{contents}'
        f'</header>\n<main>{body}</main>\n<footer><p class="dim">{footer}</p></footer></body></html>\n'
    )


def section(heading: str, content: str) -> str:
    """A part of the page under its heading; nothing where there is nothing to show."""
    return f"<section><h2>{text(heading)}</h2>{content}</section>" if content else ""


def plot(png: bytes, description: str, *, photographs: bool = False) -> str:
    """A PNG with a `description` in words: it scrolls on a phone; a plot of lines turns dark with the page."""
    kind = "" if photographs else ' class="plot"'
    image = f'<img{kind} src="{data_uri(png)}" alt="{text(description)}">'
    hint = '<span class="hint" aria-hidden="true">scroll →</span>'
    return f'<div class="wide drawn" tabindex="0" role="region" aria-label="{text(description)}">{hint}{image}</div>'


def data_uri(png: bytes) -> str:
    """A PNG as the address of an image that is part of the page."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
