"""The page at / of a service, on which a person tries it: one file that asks nobody but the service itself."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from edgeclf_benchmarks.page.escaping import text
from edgeclf_benchmarks.page.style import STYLE
from edgeclf_runtime.bundle.manifest import Manifest

_GOES_NO_FURTHER = "Images go to this service only"
_STAYS = ", which keeps those that are worth a label"


def try_page(manifest: Manifest, name: str, *, collects: bool = False) -> tuple[str, str]:
    """The page for the model `name`, and the Content-Security-Policy that lets run what stands in it, and no more.

    `collects`: the service may keep an image that is sent to it, and the page says so.
    """
    body, style, script = (
        (files(__package__) / f"try_page.{kind}").read_text("utf-8") for kind in ("html", "css", "js")
    )
    thresholds = f"; {words}" if (words := manifest.thresholds_in_words) else ""
    body = body.replace("{privacy}", _GOES_NO_FURTHER + (_STAYS if collects else "") + ".")
    kind = "labels" if manifest.multi_label else "classes"
    about = text(f"{len(manifest.labels):,} {kind}, {manifest.target}{thresholds}")
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{text(name)}</title><style>{STYLE}{style}</style></head>\n"
        f'<body data-scores="{manifest.scores}"><header><p class="over">edgeclf serve</p><h1>{text(name)}</h1>'
        f'<p class="dim">{about}</p></header>\n{body}<script>{script}</script></body></html>\n'
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy
