"""A page in headless Chromium, spoken to over the pipe of its DevTools protocol: no driver, no port, no package."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers; the pages are our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    """Where Chromium is installed; None: nowhere."""
    return next((place for each in NAMES if (place := shutil.which(each)) is not None), None)


class Chromium:
    """One browser with one tab. What the pages log, and what they ask the network for, is kept."""

    def __init__(self, program: str) -> None:
        self.logged: list[str] = []
        self.requested: list[str] = []
        self._folder = tempfile.TemporaryDirectory(prefix="edgeclf-chromium-", ignore_cleanup_errors=True)
        hears, self._to = (_high(each) for each in os.pipe())
        self._from, says = (_high(each) for each in os.pipe())

        def wire() -> None:
            os.dup2(hears, 3)  # where Chromium looks for the pipe
            os.dup2(says, 4)

        self._process = subprocess.Popen(
            [program, *_SWITCHES, f"--user-data-dir={self._folder.name}", "about:blank"],
            preexec_fn=wire,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self._folder.name},
        )
        os.close(hears)
        os.close(says)
        self._rest, self._number, self._loaded, self._tab = b"", 0, False, ""
        tabs = self.call("Target.getTargets")["targetInfos"]
        tab = next(each["targetId"] for each in tabs if each["type"] == "page")
        self._tab = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of one command of the protocol. Raises RuntimeError where Chromium refuses it, or is gone."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._tab:
            message["sessionId"] = self._tab
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(
        self, page: Path | str, *, width: int = 1280, height: int = 900, dark: bool = False, media: str = ""
    ) -> None:
        """Shows a file or an address, as `look` says."""
        self.look(width=width, height=height, dark=dark, media=media)
        self.logged.clear()
        self.requested.clear()
        self._loaded = False
        address = page if isinstance(page, str) else page.resolve().as_uri()
        self.call("Page.navigate", url=address)
        while not self._loaded:
            self._next()

    def look(self, *, width: int = 1280, height: int = 900, dark: bool = False, media: str = "") -> None:
        """On a screen of that size, in light or dark, or as it will be printed; of the page that is open, too."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def evaluate(self, script: str) -> Any:
        """What a function body returns in the page, as JSON."""
        found = self.call("Runtime.evaluate", expression=f"(() => {{{script}}})()", returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"]["description"])
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """A key, down and up."""
        code = {"Tab": 9}[key]
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def screenshot(self, place: Path) -> None:
        """The whole page as PNG."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        place.write_bytes(base64.b64decode(found["data"]))

    def print(self, place: Path) -> None:
        """The page on A4 as PDF."""
        found = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        place.write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        os.close(self._to)
        os.close(self._from)
        self._folder.cleanup()

    def _next(self, seconds: float = 60) -> Any:
        """The next message; events are written down."""
        until = time.monotonic() + seconds
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, until - time.monotonic()))
            taken = os.read(self._from, 1 << 20) if ready else b""
            if not taken:
                raise RuntimeError("Chromium does not answer" if not ready else "Chromium has ended")
            self._rest += taken
        line, self._rest = self._rest.split(b"\0", 1)
        message = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, said: Any) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Log.entryAdded":
            self.logged.append(said["entry"]["text"])
        elif event in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.logged.append(json.dumps(said))
        elif event == "Network.requestWillBeSent":
            self.requested.append(said["request"]["url"])


def _high(descriptor: int) -> int:
    """The same file under a number that 3 and 4 can't overwrite."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved
