"""The processes of one training, as torchrun starts them: which one this is, its share, and how they communicate.

Gradients are summed once a step, in one message, rather than while the backward pass runs (as torch's own
DistributedDataParallel does): so a step whose batch is shared unevenly, halved for want of memory, or summed from
several needs no rule of its own. gloo carries what is on a CPU, NCCL what is on a GPU. NCCL was tried in a group of
one process only, on one GPU.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from edgeclf.training.seeds import seed_of
from edgeclf_runtime.errors import BackendError, EdgeclfError, UsageError, one_line

if TYPE_CHECKING:
    import torch

_PATIENCE = timedelta(minutes=30)  # a process that died is noticed at once; this is for one that stands still
_NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_LOST = "another process of this training has ended, or torchrun was stopped: torchrun's own lines say which"


class _PeerLost(BackendError):
    """A message could not be passed on."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train one network; alone by default. `local`: on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes files and reports progress."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of `count` things in a row: the parts differ by at most one, some may be empty."""
        whole, rest = divmod(count, self.size)
        start = self.rank * whole + min(self.rank, rest)
        return slice(start, start + whole + (self.rank < rest))

    def own_seed(self, shared: int) -> int:
        """A seed for what should differ between processes; the first one's is the shared seed itself."""
        return shared if self.is_first else seed_of(shared, "process", self.rank)

    def sum_in_place(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replaces tensors, of one type and device, by their sums over all processes.

        Raises BackendError where a process has ended.
        """
        import torch

        if self.size == 1:
            return
        together = torch.cat([tensor.detach().flatten() for tensor in tensors])
        try:
            torch.distributed.all_reduce(together)
        except RuntimeError as error:
            raise _PeerLost(_LOST) from error
        with torch.no_grad():
            for tensor, found in zip(tensors, together.split([t.numel() for t in tensors]), strict=True):  # type: ignore[no-untyped-call]
                tensor.copy_(found.view_as(tensor))

    def totals(self, *numbers: float) -> tuple[float, ...]:
        """The sum of each number over all processes."""
        import torch

        if self.size == 1:
            return numbers
        found = torch.tensor(numbers, dtype=torch.float64)
        self.sum_in_place([found])
        return tuple(found.tolist())

    def sum_gradients(self, parameters: Sequence[torch.Tensor], loss: float) -> float:
        """Sums gradients over all processes; the sum of `loss` comes back. One that nobody has stays None."""
        import torch

        if self.size == 1:
            return loss
        had = [parameter.grad is not None for parameter in parameters]
        flags = torch.tensor([loss, *had], dtype=torch.float32, device=parameters[0].device)
        for parameter in parameters:
            if parameter.grad is None:  # this process had no image in this step, or nobody uses the parameter
                parameter.grad = torch.zeros_like(parameter)
        self.sum_in_place([flags, *(p.grad for p in parameters if p.grad is not None)])
        loss, *users = flags.tolist()
        for parameter, count in zip(parameters, users, strict=True):
            if not count:
                parameter.grad = None  # zeros would decay and gather momentum
        return loss

    def average_in_place(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replaces tensors, of one type and device, by their means over all processes."""
        if self.size > 1:
            self.sum_in_place(tensors)
            for tensor in tensors:
                tensor.div_(self.size)

    def wait(self) -> None:
        """Returns when all processes have reached this call."""
        self.totals(0.0)

    def join_rows(self, own: torch.Tensor, count: int) -> torch.Tensor:
        """(share of count, …) rows of this process -> (count, …) rows of all, in order."""
        import torch

        if self.size == 1:
            return own
        rows = torch.zeros((count, *own.shape[1:]), dtype=own.dtype)
        rows[self.share(count)] = own  # elsewhere 0: the sum is the one row that somebody has, bit for bit
        self.sum_in_place([rows])
        return rows


@contextmanager
def joined() -> Iterator[Processes]:
    """This process among those that torchrun started, connected to the others; alone unless WORLD_SIZE says otherwise.

    An error or a signal ends all of them, and one reports it: the others exit with the same code without a message.
    """
    found = this_process()
    if found.size == 1:
        yield found
        return
    import torch

    store = _meet(found)
    try:
        yield found
    except BaseException as error:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it to those that are left; they are leaving
        reported = BackendError(_LOST) if _was_ended_from_outside(error) else error
        if not _is_first_to_report(store):
            raise SystemExit(_exit_code(reported)) from error
        if reported is error:
            raise
        raise reported from error
    finally:
        torch.distributed.destroy_process_group()


def this_process() -> Processes:
    """Raises UsageError where the environment names several processes, but not which one this is."""
    size = os.environ.get("WORLD_SIZE", "1")
    try:
        if int(size) == 1:
            return Processes()
        missing = [name for name in _NEEDED if name not in os.environ]
        if missing:
            raise UsageError(f"WORLD_SIZE is {size}, but {missing[0]} is not set; start several processes by torchrun")
        rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
        return Processes(rank, int(size), local_rank, int(os.environ.get("LOCAL_WORLD_SIZE", size)))
    except ValueError as error:
        raise UsageError(f"WORLD_SIZE, RANK and LOCAL_RANK must be whole numbers ({error}); use torchrun") from error


def _meet(found: Processes) -> Any:
    """Joins the group; returns the key-value store that all of them share."""
    import torch
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and distributed.is_nccl_available() else "gloo"
    try:
        store, rank, size = next(rendezvous("env://", timeout=_PATIENCE))
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    except RuntimeError as error:
        raise BackendError(f"the {found.size} processes did not find each other ({one_line(error)})") from error
    return store


def _was_ended_from_outside(error: BaseException | None) -> bool:
    """Whether SIGTERM or a lost peer is among the causes of `error`; which comes up first is a matter of luck."""
    while error is not None:
        if isinstance(error, _PeerLost) or (
            isinstance(error, KeyboardInterrupt) and type(error) is not KeyboardInterrupt
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_first_to_report(store: Any) -> bool:
    """Whether no other process has reported yet why the training ends."""
    try:
        return bool(store.add("edgeclf/ended", 1) == 1)
    except RuntimeError:  # the store ended with the process that held it
        return True


def _exit_code(error: BaseException) -> int:
    if isinstance(error, EdgeclfError):
        return error.exit_code
    return 130 if isinstance(error, KeyboardInterrupt) else 70
