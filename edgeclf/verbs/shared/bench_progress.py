"""How far a bench is: what is being measured and how long it will still take."""

from __future__ import annotations

from edgeclf.console import notices, say


class Teller:
    """Says what is being done and how long it will still take: a line that changes, a few lines off a terminal."""

    def __init__(self) -> None:
        console = notices()
        self._status = console.status("looking at the machine")
        self._moves = console.is_terminal
        self._said = ""

    def __call__(self, what: str, seconds_left: float) -> None:
        left = f"about {in_words(seconds_left)} left"
        self._status.update(f"{what}, {left}")
        phase = what.split(" ")[0]
        if not self._moves and phase != self._said:
            say(f"{what}, {left}", style="dim")
            self._said = phase

    def __enter__(self) -> Teller:
        if self._moves:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Takes the line away, for tables to come."""
        self._status.stop()


def in_words(seconds: float) -> str:
    """ "40 s", "2 min 10 s", "1 h 30 min"."""
    whole = max(1, round(seconds))
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60 // 10 * 10} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
