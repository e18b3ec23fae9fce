"""What a video costs beside its frames: frames/s of `predict --source`, of the classifier alone, of decoding; latency.

    python -m edgeclf_benchmarks.records.stream BUNDLE... --image PHOTO -o benchmarks/results/stream.json

The video is made here: the photograph, wandering under a window of 1280x720, as H.264 (or MPEG-4) at 30 frames/s.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_benchmarks.records.record import spread, write_record
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.classifier import Classifier

WIDTH_PX, HEIGHT_PX, RATE = 1280, 720, 30


def make_video(image: Path, place: Path, frames: int) -> str:
    """Writes the video; returns its codec."""
    import av

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with Image.open(image) as opened:
        photograph = np.asarray(opened.convert("RGB").resize((2 * WIDTH_PX, 2 * HEIGHT_PX)))
    with av.open(str(place), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        for number in range(frames):
            left, top = 4 * number % WIDTH_PX, 2 * number % HEIGHT_PX
            window = np.ascontiguousarray(photograph[top : top + HEIGHT_PX, left : left + WIDTH_PX])
            for packet in stream.encode(av.VideoFrame.from_ndarray(window, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return codec


def run_stream(bundle: str, video: Path, threads: int, *more: str) -> dict[str, Any]:
    """The totals that `edgeclf predict --source` prints last."""
    command = [sys.executable, "-m", "edgeclf", "predict", bundle, "--source", str(video), "--top", "1", "--json"]
    done = subprocess.run([*command, "--threads", str(threads), *more], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"predict --source ended with {done.returncode}: {done.stderr}")
    totals: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["stream"]
    return totals


def decode_all(video: Path) -> tuple[list[NDArray[np.uint8]], float]:
    """Every frame as RGB, and frames/s of decoding and converting alone."""
    import av

    start = time.perf_counter()
    with av.open(str(video)) as container:
        container.streams.video[0].thread_type = "AUTO"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return frames, len(frames) / (time.perf_counter() - start)


def measure(bundle: str, video: Path, threads: int, runs: int) -> dict[str, Any]:
    taken: dict[str, list[float]] = {"stream_frames_per_s": [], "decoding_frames_per_s": [], "arrays_per_s": []}
    live: dict[str, list[float]] = {"answered_of_all": [], "latency_median_ms": [], "latency_p99_ms": []}
    with Classifier.open(bundle, SessionOptions(threads=threads)) as classifier:
        for _ in range(runs):
            frames, decoded = decode_all(video)
            list(classifier.predict(frames[:5]))
            start = time.perf_counter()
            predicted = len(list(classifier.predict(frames)))
            taken["arrays_per_s"].append(predicted / (time.perf_counter() - start))
            taken["decoding_frames_per_s"].append(decoded)
            taken["stream_frames_per_s"].append(run_stream(bundle, video, threads)["frames_per_s"])
            playing = run_stream(bundle, video, threads, "--frames", "newest")
            live["answered_of_all"].append(playing["answered"] / (playing["answered"] + playing["dropped"]))
            live["latency_median_ms"].append(playing["latency_median_ms"])
            live["latency_p99_ms"].append(playing["latency_p99_ms"])
    return {
        "bundle": Path(bundle).name,
        "threads": threads,
        "frames": predicted,
        "as_fast_as_it_goes": {name: spread(found, 1) for name, found in taken.items()},
        f"newest_of_{RATE}_frames_per_s": {name: spread(found) for name, found in live.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE")
    parser.add_argument("--image", type=Path, required=True, metavar="PHOTO")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder, "made.mp4")
        codec = make_video(given.image, video, given.frames)
        found = [measure(bundle, video, given.threads, given.runs) for bundle in given.bundles]
    print(json.dumps(found, indent=1))
    figures = {"video": f"{codec}, {WIDTH_PX}x{HEIGHT_PX}", "bundles": found}
    write_record(given.output, "edgeclf_benchmarks.records.stream", figures)


if __name__ == "__main__":
    main()
