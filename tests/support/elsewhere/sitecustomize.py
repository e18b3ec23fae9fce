"""A Python without what only Linux, or only POSIX, has: with this folder on PYTHONPATH, in every process that starts.

The names are taken from edgeclf's own modules alone, since what other packages do elsewhere is decided by the system
that they were built for. `os.fork` is taken from everybody.
"""

import builtins
import os
import signal
import sys
from types import FrameType, ModuleType
from typing import Any

HIDDEN = {
    "platform",  # of sys
    *("sched_getaffinity", "sched_setaffinity", "sysconf", "register_at_fork", "fork", "forkpty", "link", "mkfifo"),
    *("getuid", "geteuid", "getgid", "getpgid", "setsid", "killpg", "uname", "getloadavg", "wait3", "wait4", "statvfs"),
    *("O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC", "posix_fadvise", "sendfile", "chown", "nice"),
    *("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGALRM", "SIGKILL", "SIGPIPE", "SIGCHLD", "pthread_kill", "alarm"),
}
MODULES = {"fcntl", "grp", "pwd", "resource", "termios", "tty"}
FILES = ("/proc/", "/sys/", "/etc/")


def _is_ours(frame: FrameType | None) -> bool:
    return frame is not None and _name_of(frame.f_globals).startswith("edgeclf")


def _name_of(names: dict[str, Any]) -> str:
    """A module's own name, also of one that runs as __main__."""
    return str(getattr(names.get("__spec__"), "name", None) or names.get("__name__", ""))


class _Poorer(ModuleType):
    def __getattribute__(self, name: str) -> Any:
        if name in HIDDEN and _is_ours(_real_frame(1)):
            if name == "platform":
                return "elsewhere"
            raise AttributeError(f"not on this system: {name}")
        return super().__getattribute__(name)


def _import(name: str, globals: Any = None, *more: Any, **named: Any) -> Any:
    if name in MODULES and _name_of(globals or {}).startswith("edgeclf"):
        raise ModuleNotFoundError(f"not on this system: {name}", name=name)
    return _real_import(name, globals, *more, **named)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Files that aren't there, and libraries without a name, which Windows does not open."""
    if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith(FILES) and _asked_by_us():
        # what asks before it lists (stat tells no audit hook) passes over a folder that it may not read
        fault = FileNotFoundError if event == "open" else PermissionError
        raise fault(2, "not on this system", str(arguments[0]))
    if event == "ctypes.dlopen" and arguments[0] is None and _asked_by_us():
        raise TypeError("not on this system: a library without a name")


def _asked_by_us() -> bool:
    """Whether edgeclf is what called the standard library."""
    frame: FrameType | None = _real_frame(2)
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] in _STANDARD:
        frame = frame.f_back
    return _is_ours(frame)


_STANDARD = sys.stdlib_module_names - {"__main__"}
_real_import = builtins.__import__
builtins.__import__ = _import
_real_frame = sys._getframe
for _module in (os, signal, sys):
    _module.__class__ = _Poorer
for _name in ("fork", "forkpty"):
    delattr(os, _name)
sys.addaudithook(_refuse)
