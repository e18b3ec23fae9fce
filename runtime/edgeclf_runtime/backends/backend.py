"""Everything that edgeclf knows of an engine: one `Backend` object, at the end of the engine's own file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from edgeclf_runtime.backends.engine import Engine, SessionOptions, missing_engine
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import BackendError
from edgeclf_runtime.installing import pip_install


@dataclass(frozen=True, slots=True)
class Installed:
    """What an engine reports about itself on this machine.

    Attributes
    ----------
    devices
        What sessions may run on here.
    detail
        Why there is none.
    telemetry_off
        False: it would report to its makers.
    """

    version: str | None
    devices: tuple[str, ...]
    detail: str = ""
    telemetry_off: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """An engine: how it is opened, probed and installed. Nothing here imports it before a method is called.

    Attributes
    ----------
    name
        The target of the bundles that it runs, as their manifests have it.
    module, oldest, extra
        What is imported, from which version on, and the extra of edgeclf that installs it; "": it is always there.
    open_engine
        A bundle of this target as an engine, on one of `devices`.
    devices
        The kinds of device that it takes; the first is the default.
    not_on
        Devices that the engine has and edgeclf does not use: the sentence about it.
    count_weights
        How many weights a bundle's files store in each precision, without the engine; None: the format has one alone.
    load
        Imports the engine as `open_engine` does: what a fresh process waits for first. None: `module` is imported.
    probe
        What is installed. It runs in a process of its own, which may crash. None: `module.__version__`, on the cpu.
    stand_ins
        Modules that do what `module` does.
    also_needed
        Further modules without which no bundle opens.
    distributions
        What may carry `module`; two of them overwrite each other's files.
    on_jetson
        What installs it there, in place of the extra.
    computes_as_stored
        It computes in what the weights are stored in, or in fp32, and offers no choice between them.
    tf32
        What it builds on a device may multiply in TF32, which has as many bits of mantissa as fp16.
    is_reference
        What others are measured against, where nobody names a reference.
    """

    name: str
    module: str
    oldest: str
    extra: str
    open_engine: Callable[[Bundle, SessionOptions], Engine]
    devices: tuple[str, ...] = ("cpu",)
    not_on: Mapping[str, str] = field(default_factory=dict)
    count_weights: Callable[[Bundle], dict[str, int]] | None = None
    load: Callable[[], Any] | None = None
    probe: Callable[[], Installed] | None = None
    stand_ins: tuple[str, ...] = ()
    also_needed: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    on_jetson: str = ""
    computes_as_stored: bool = False
    tf32: bool = False
    is_reference: bool = False

    def check_device(self, device: str) -> None:
        """Raises BackendError for a device that this engine never has. Whether it is here is left to the engine."""
        if sentence := self.not_on.get(device.partition(":")[0]):
            raise BackendError(sentence)
        if device.partition(".")[0] not in self.devices:  # OpenVINO counts: gpu.0, gpu.1
            raise BackendError(
                f"no device {device!r} for {self.name}, which runs on {' or '.join(self.devices)}; leave --device out "
                f"for {self.devices[0]}"
            )

    def import_library(self) -> Any:
        """The engine's module, imported as `open_engine` imports it. Raises BackendError where it is missing."""
        if self.load is not None:
            return self.load()
        try:
            return import_module(self.module)
        except ImportError as error:
            raise self.missing(error) from error

    def missing(self, error: ImportError) -> BackendError:
        """The error for an engine that can't be imported, with the line that installs it."""
        return missing_engine(self.module, self.extra, error)

    def is_installed(self) -> bool:
        """Whether its module, or one that does the same, is found; it may still fail to import."""
        return any(find_spec(module) is not None for module in (self.module, *self.stand_ins))

    def installed(self) -> Installed:
        """What it reports about itself. It is imported for that, so call this in a process of its own."""
        if self.probe is not None:
            return self.probe()
        return Installed(str(self.import_library().__version__), ("cpu",))

    def install_line(self, *, jetson: bool = False) -> str:
        """The line that installs it here."""
        if jetson and self.on_jetson:
            return self.on_jetson
        return pip_install(self.extra) if self.extra else f"pip install {self.module}"


class Backends(MutableMapping[str, Backend]):
    """name -> Backend. The file of each is imported when it is first asked for: a bundle needs one of them.

    Made of name -> file in this folder, which ends with its `BACKEND`.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self._places: dict[str, str | Backend] = dict(files)

    def __getitem__(self, name: str) -> Backend:
        found = self._places[name]
        if isinstance(found, str):
            found = self._places[name] = import_module(f"{__package__}.{found}").BACKEND
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __setitem__(self, name: str, backend: Backend) -> None:
        self._places[name] = backend

    def __delitem__(self, name: str) -> None:
        del self._places[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
