"""Does a bundle predict the same on aarch64 as on x86-64? Tested on an emulated machine: predictions only, no times.

    python -m build --wheel
    python -m edgeclf_benchmarks.records.emulated_arm BUNDLE... --wheel WHEEL --image PHOTO \
        -o benchmarks/results/aarch64.json

QEMU's user mode runs Debian's own aarch64 Python with aarch64 wheels such as a board installs. What is emulated is the
processor, instruction by instruction; the kernel is the host's. So nothing here is about speed, CUDA or TensorRT.
Needs `apt install qemu-user-static mmdebstrap`, network and about 350 MB; not root, if the system lets users unshare.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.record import write_record

SUITE = "bookworm"
PYTHON = "3.11"  # the suite's
QEMU = "qemu-aarch64-static"
TOOLS = (QEMU, "mmdebstrap")
_PACKAGES = ("python3", "python3-minimal", "libstdc++6", "libgcc-s1")
_GLIBC = (17, 27, 28, 34, 35)  # manylinux tags that the suite's glibc 2.36 can load
_LIMIT_S = 3600  # of a verb, emulated on a busy machine


@dataclass(frozen=True, slots=True)
class Cpu:
    """A processor that QEMU emulates: its part number and features as Linux prints them in /proc/cpuinfo."""

    name: str
    part: str
    midr: str
    features: str


_ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
CPUS = {
    # what a Jetson Orin's Cortex-A78AE has too: fp16 arithmetic and int8 dot products
    "cortex-a76": Cpu(
        "cortex-a76",
        "0xd0b",
        "0x00000000414fd0b1",
        f"{_ARMV8} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
    ),
    "cortex-a57": Cpu("cortex-a57", "0xd07", "0x00000000411fd070", f"{_ARMV8} cpuid"),  # Jetson Nano's: Armv8.0
}


@dataclass(frozen=True, slots=True)
class EmulatedMachine:
    """An aarch64 Python with edgeclf in a folder of its own."""

    folder: Path
    cpu: Cpu

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `python …` there. It can start no process of its own: this kernel runs no aarch64 program."""
        interpreter = self.folder / "root/usr/bin" / f"python{PYTHON}"
        # QEMU can outlive SIGTERM while a thread waits: timeout follows with SIGKILL
        command = ["timeout", "-k", "5", str(_LIMIT_S), QEMU, "-cpu", self.cpu.name, "-L", str(self.folder / "root")]
        ours = ("PYTHON", "VIRTUAL_ENV")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        clean |= {"PYTHONPATH": str(self.folder / "site"), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1"}
        return subprocess.run([*command, str(interpreter), *arguments], env=clean, capture_output=True, text=True)

    def edgeclf(self, *arguments: str) -> dict[str, Any]:
        """The JSON document of `edgeclf … --json`. Raises SystemExit with its error if it fails."""
        done = self.run("-m", "edgeclf", *arguments, "--json")
        if done.returncode:
            reason = "".join(done.stderr.splitlines()[-1:])
            raise SystemExit(f"edgeclf {arguments[0]} ended with {done.returncode} on aarch64: {reason}")
        document: dict[str, Any] = json.loads(done.stdout)
        return document


def set_up(folder: Path, wheel: Path, cpu: Cpu = CPUS["cortex-a76"]) -> EmulatedMachine:
    """Unpacks Debian's aarch64 Python and installs `wheel[onnx,litert]`. Nothing of it runs while it is set up."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise SystemExit(f"not found: {', '.join(missing)}; apt install qemu-user-static mmdebstrap")
    folder = folder.resolve()
    _unpack_debian(folder / "root")
    _fake_kernel_files(folder / "root", cpu)
    install_for_aarch64(folder / "site", f"{wheel}[onnx,litert]")
    return EmulatedMachine(folder, cpu)


def _unpack_debian(root: Path) -> None:
    include = f"--include={','.join(_PACKAGES)}"
    # extract: packages are unpacked, never configured, so that no aarch64 program has to run
    command = ["mmdebstrap", "--quiet", "--architectures=arm64", "--variant=extract", include, SUITE, str(root)]
    _run("mmdebstrap", command)


def _fake_kernel_files(root: Path, cpu: Cpu) -> None:
    """What ARM libraries read of their processor; the host's /proc/cpuinfo is x86, and onnxruntime crashes on it."""
    cores = range(len(os.sched_getaffinity(0)))
    entry = (
        "processor\t: {core}\nBogoMIPS\t: 62.50\nFeatures\t: {cpu.features}\nCPU implementer\t: 0x41\n"
        "CPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: {cpu.part}\nCPU revision\t: 0\n\n"
    )
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text("".join(entry.format(core=core, cpu=cpu) for core in cores))
    for core in cores:
        identification = root / f"sys/devices/system/cpu/cpu{core}/regs/identification"
        identification.mkdir(parents=True)
        (identification / "midr_el1").write_text(cpu.midr + "\n")


def install_for_aarch64(site: Path, wanted: str) -> None:
    """Unpacks what pip would install on such a board into `site`, without running any of it."""
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in _GLIBC] + ["--platform=manylinux2014_aarch64"]
    target = ["--target", str(site), "--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}"]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-compile"]
    _run("pip", [sys.executable, "-m", "pip", "install", *quiet, *target, *platforms, wanted])


def _run(name: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} ended with {done.returncode}: {done.stderr.strip()}")


def compare(machine: EmulatedMachine, bundle: Path, image: Path) -> dict[str, Any]:
    """What `verify` and `predict` find there, beside what the same `predict` finds here."""
    with tempfile.TemporaryDirectory() as folder:  # verify leaves its proof beside the bundle: not beside the user's
        copy = Path(folder, bundle.name)
        shutil.copytree(bundle, copy)
        proof = machine.edgeclf("verify", str(copy))["proof"]
        there = machine.edgeclf("predict", str(copy), str(image))
    here_command = [sys.executable, "-m", "edgeclf", "predict", str(bundle), str(image), "--json"]
    here = json.loads(subprocess.run(here_command, check=True, capture_output=True, text=True).stdout)
    predictions = {name: _predictions(document) for name, document in (("here", here), ("there", there))}
    return {
        "bundle": bundle.name,
        "verdict": proof["verdict"],
        "golden_images": proof["comparison"]["images"],
        "decoded_bit_for_bit": proof["comparison"]["images"] - len(proof["decoding_faults"]),
        "max_logit_difference_of_range": proof["comparison"]["max_relative"],
        "top1_agreement": proof["comparison"]["agreement"],
        "predict": {
            "image": image.name,
            "label": there["predictions"][0]["label"],
            "same_top5": list(predictions["here"]) == list(predictions["there"]),
            "max_probability_difference": max(
                abs(predictions["here"].get(label, 0.0) - probability)
                for label, probability in predictions["there"].items()
            ),
        },
        "machine": proof["machine"],
    }


def _predictions(document: dict[str, Any]) -> dict[str, float]:
    return {score["label"]: score["probability"] for score in document["predictions"][0]["scores"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--image", type=Path, required=True, metavar="PHOTO")
    parser.add_argument("--cpu", nargs="+", choices=sorted(CPUS), default=["cortex-a76"])
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    version = subprocess.run([QEMU, "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"version (\S+)", version)
    figures: dict[str, Any] = {
        "emulated": "an aarch64 processor, by QEMU in user mode; kernel, memory and disk are the host's. Times, a GPU, "
        "CUDA and TensorRT were not there and are not measured",
        "emulator": f"{QEMU} {found[1] if found else 'of unknown version'}",
        "system": f"Debian {SUITE}, Python {PYTHON}, aarch64 wheels from the package index",
        "processors": json.loads(arguments.output.read_bytes())["figures"]["processors"]
        if arguments.output.exists()
        else {},
    }
    for name in arguments.cpu:
        with tempfile.TemporaryDirectory() as folder:
            machine = set_up(Path(folder), arguments.wheel, CPUS[name])
            compared = [compare(machine, bundle, arguments.image) for bundle in arguments.bundles]
        figures["processors"][name] = compared
        for each in compared:
            print(f"{name}, {each['bundle']}: {each['verdict']}, {each['max_logit_difference_of_range']:.1e} of range")
    write_record(arguments.output, "edgeclf_benchmarks.records.emulated_arm", figures)


if __name__ == "__main__":
    main()
