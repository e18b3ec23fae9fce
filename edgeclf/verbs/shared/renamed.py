"""Options that were renamed: the old name is taken as the new one, with a notice, and no help lists it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeclf.console import say

# verb -> old name -> new name, both without dashes in front; each stays for one minor version
RENAMED: Mapping[str, Mapping[str, str]] = {
    "train": {
        "accumulate": "grad-accum-steps",
        "clip": "clip-grad",
        "drop": "dropout",
        "jitter": "color-jitter",
        "judge-on": "evaluate-on",
        "select": "select-metric",
    },
    "adapt": {"embedding": "embedding-dim"},
    "export": {"part": "encoder"},
    "predict": {"unproven": "allow-failed-proof"},
    "embed": {"unproven": "allow-failed-proof"},
    "serve": {"unproven": "allow-failed-proof"},
    "bench": {"spoilt-images": "corrupted-images"},
}


def with_new_names(verb: str, arguments: Sequence[str]) -> list[str]:
    """The arguments with the new name in place of each old one, with a notice on stderr."""
    renamed = RENAMED.get(verb, {})
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [_new_word(word, renamed) for word in arguments[:end]] + list(arguments[end:])


def new_name(verb: str, name: str) -> str:
    """The name that an option of a config file has now; with a notice on stderr for the old one."""
    new = RENAMED.get(verb, {}).get(name.replace("_", "-"))
    if new is None:
        return name
    say_renamed(name, new)
    return new


def say_renamed(old: str, new: str) -> None:
    say(f"note: {old} is now called {new}; the old name will go in the next minor version", style="yellow")


def _new_word(word: str, renamed: Mapping[str, str]) -> str:
    option, equals, value = word.partition("=")
    new = renamed.get(option.removeprefix("--")) if option.startswith("--") else None
    if new is None:
        return word
    say_renamed(option, f"--{new}")
    return f"--{new}{equals}{value}"
