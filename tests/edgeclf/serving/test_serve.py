"""`edgeclf serve` in a process of its own: its responses, what it refuses, and that it lives on."""

from __future__ import annotations

import importlib.util
import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from edgeclf.cli import run
from edgeclf.serving.server import listen
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.batch_size import BatchChoice
from edgeclf_runtime.deploy.machine_proofs import save_proof
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.installing import pip_install

for module in ("starlette", "uvicorn", "httptools", "prometheus_client"):
    pytest.importorskip(module)
Start = Callable[..., Any]
HOSTILE = ('"</script>\\', "\x1b[31mred\n", "\u202e\ud7ffwörter")


def image_file(number: int = 0) -> bytes:
    return tiny.encoded(tiny.images()[number], "PNG")


def test_an_image_gets_the_prediction_of_predict(bundle: Bundle, start: Start) -> None:
    running = start(bundle)
    with Classifier.open(bundle) as classifier:
        wanted = list(classifier.predict([image_file(number) for number in range(8)], top=2))
    for number, prediction in enumerate(wanted):
        found = running.send(f"/predict?top=2&name=p{number}", image_file(number)).json
        assert (found["schema"], found["verb"]) == (1, "predict")
        assert found["prediction"]["source"] == f"p{number}"
        assert found["prediction"]["label"] == prediction.label
        assert [each["probability"] for each in found["prediction"]["scores"]] == pytest.approx(
            [score.probability for score in prediction.scores], rel=1e-4
        )


def test_the_protocol_is_served(bundle: Bundle, start: Start) -> None:
    running = start(bundle, "--name", "tiny-1")
    model = "/v2/models/tiny-1"
    assert running.send("/v2").json["extensions"] == ["binary_tensor_data"]
    assert running.send("/v2/").json == running.send("/v2").json
    assert running.send("/v2/health/live").json == {"live": True}
    assert running.send("/v2/health/ready").json == {"ready": True}
    assert running.send(f"{model}/ready").json == {"name": "tiny-1", "ready": True}
    assert running.send(f"{model}/versions/1").json["platform"] == "edgeclf_reference"
    batch = tiny.random_pixels(3)
    wanted = tiny.reference_logits("reference", batch)
    found = running.infer(batch, id="7").json
    assert (found["id"], found["outputs"][0]["shape"]) == ("7", [3, 3])
    assert np.allclose(np.reshape(found["outputs"][0]["data"], (3, 3)), wanted, atol=1e-4)
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [3, 8, 8, 3], "parameters": {"binary_data_size": 576}}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    raw = running.send(f"{model}/infer", text + batch.tobytes(), Inference_Header_Content_Length=str(len(text)))
    length = int(raw.headers["inference-header-content-length"])
    assert np.allclose(np.frombuffer(raw.body[length:], "<f4").reshape(3, 3), wanted, atol=1e-4)


@pytest.mark.parametrize("target, fixed", [("onnx", "batch"), ("onnx", 3), ("openvino", "batch")])
def test_other_engines_and_fixed_batches_serve_too(target: str, fixed: str | int, tmp_path: Path, start: Start) -> None:
    running = start(tiny.build(tmp_path / target, target, batch=fixed), "--threads", "1")
    batch = tiny.random_pixels(4)
    found = running.infer(batch).json["outputs"][0]["data"]
    assert np.allclose(np.reshape(found, (4, 3)), tiny.reference_logits(target, batch), atol=1e-4)


def test_bad_requests_get_a_sentence_and_the_service_lives_on(bundle: Bundle, start: Start) -> None:
    running = start(bundle, "--max-megabytes", "0.1", "--max-megapixels", "0.1", "--max-batch", "4")
    infer = f"/v2/models/{running.model}/infer"
    large = tiny.encoded(tiny.images(1)[0].resize((400, 300)), quality=5)
    form = {"Content_Type": "multipart/form-data; boundary=x"}
    refused_requests = [
        (400, "not an image of a known format", running.send("/predict", b"no image")),
        (400, "the file is empty", running.send("/predict", b"")),
        (400, "damaged image", running.send("/predict", image_file()[:-60])),
        (400, "0.12 megapixels, over the limit", running.send("/predict", large)),
        (400, "top is a number", running.send("/predict?top=0", image_file())),
        (400, "takes name and top, found 'threshold'", running.send("/predict?threshold=0.2", image_file())),
        (400, "top is a number", running.send("/predict?top=%C2%B2", image_file())),
        (413, "wanted a body of at most 0.1 MB", running.send("/predict", bytes(200_000))),
        (413, "wanted a body of at most 0.1 MB", running.send(infer, bytes(200_000))),
        (415, "wanted the image file itself", running.send("/predict", image_file(), **form)),
        (400, "wanted a batch of at most 4, found 5", running.infer(tiny.random_pixels(5))),
        (400, "the request is no JSON", running.send(infer, b"{")),
        (404, "this service has", running.send("/v2/models/other/infer", b"{}")),
        (404, "nothing is at '/elsewhere'; there are /predict", running.send("/elsewhere")),
        (404, "nothing is at '/predict/'", running.send("/predict/", image_file())),
        (405, "'/predict' takes POST, found GET", running.send("/predict")),
        (405, "takes GET or HEAD, found POST", running.send("/v2", b"")),
        (415, "found one in 'gzip'; send it uncompressed", running.send(infer, b"{}", Content_Encoding="gzip")),
        (415, "found one in 'gzip'", running.send("/predict", image_file(), Content_Encoding="gzip")),
    ]
    for status, message, response in refused_requests:
        assert (response.status, message in response.json["error"]) == (status, True), response
    assert running.send("/predict", image_file()).status == 200
    printed = [line for line in running.errors.read_text().splitlines() if not line.startswith("{")]
    assert len(printed) == 4  # what it printed as it started


def test_names_and_labels_from_outside_break_neither_json_nor_logs(tmp_path: Path, start: Start) -> None:
    bundle = tiny.build(tmp_path / "tiny", labels=HOSTILE)
    running = start(bundle, "--name", 'a\x1b[31m"b')
    found = running.send("/predict?name=%1b%5b31m%22%0a%ff", image_file(), X_Odd='"<b>')
    prediction = found.json["prediction"]
    assert prediction["source"] == '\x1b[31m"\n\ufffd'
    assert {score["label"] for score in prediction["scores"]} == set(HOSTILE)
    assert found.body.isascii()
    assert running.send("/v2/models/a%1b%5b31m%22b").json["parameters"]["labels"] == list(HOSTILE)
    assert running.send("/v2/models/%1b%5b31m").status == 404
    assert b"\x1b" not in running.errors.read_bytes()
    assert running.send("/metrics").status == 200


def test_metrics_count_requests_by_endpoint_and_status(bundle: Bundle, start: Start) -> None:
    running = start(bundle)
    for body in (image_file(), image_file(), b"no image"):
        running.send("/predict", body)
    running.infer(tiny.random_pixels(2))
    lines = running.send("/metrics").body.decode().splitlines()
    assert 'edgeclf_requests_total{endpoint="predict",status="200"} 2.0' in lines
    assert 'edgeclf_requests_total{endpoint="predict",status="400"} 1.0' in lines
    assert 'edgeclf_requests_total{endpoint="infer",status="200"} 1.0' in lines
    assert "edgeclf_batch_images_sum 4.0" in lines
    assert "edgeclf_waiting_requests 0.0" in lines


def test_each_request_leaves_a_line_of_json_and_probes_leave_none(bundle: Bundle, start: Start) -> None:
    running, quiet = start(bundle), start(bundle, "--no-request-log")
    for each in (running, quiet):
        each.send("/predict?name=secret.png", image_file())
        each.send("/elsewhere")
        each.send("/v2/health/ready")
        each.send("/metrics")
        each.process.send_signal(signal.SIGTERM)
        assert each.process.wait(60) == 0
    logged = [json.loads(line) for line in running.errors.read_text().splitlines() if line.startswith("{")]
    found = [(line["method"], line["path"], line["status"], line["client"]) for line in logged]
    assert found == [("POST", "/predict", 200, "127.0.0.1"), ("GET", "/elsewhere", 404, "127.0.0.1")]
    assert all(line["ms"] > 0 and line["bytes"] > 10 and line["time"].endswith("Z") for line in logged)
    assert "{" not in quiet.errors.read_text()


def test_a_threshold_of_the_service_decides_what_is_unknown_and_stands_in_the_metadata(
    bundle: Bundle, start: Start
) -> None:
    strict, plain = start(bundle, "--threshold", "1"), start(bundle)
    assert strict.send("/predict", image_file()).json["prediction"]["label"] == "unknown"
    assert plain.send("/predict", image_file()).json["prediction"]["label"] in tiny.LABELS
    about = strict.send(f"/v2/models/{strict.model}").json["parameters"]
    assert (about["unknown_below"], about["temperature"]) == (1.0, bundle.manifest.temperature)


def test_a_client_that_left_is_no_fault_of_the_service(bundle: Bundle, start: Start) -> None:
    running = start(bundle)
    running.raw(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n12345")
    for _ in range(150):
        lines = running.send("/metrics").body.decode().splitlines()
        if 'edgeclf_requests_total{endpoint="predict",status="499"} 1.0' in lines:
            break
        time.sleep(0.2)
    assert [line.rpartition(" ")[0] for line in lines if line.startswith("edgeclf_requests_total")] == [
        'edgeclf_requests_total{endpoint="predict",status="499"}'
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_under_way_is_finished_before_the_end(number: int, bundle: Bundle, start: Start) -> None:
    running = start(bundle)
    body = image_file()
    head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
        connection.sendall(head + body[:50])
        while b'endpoint="predict"' not in running.send("/metrics").body:
            running.send("/predict", b"")  # until the service has surely taken the first connection
        running.process.send_signal(number)
        time.sleep(0.5)
        connection.sendall(body[50:])
        found = connection.recv(65536)
    assert found.startswith(b"HTTP/1.1 200")
    assert running.process.wait(60) == 0
    assert running.errors.read_text().splitlines()[-1] == "stopped"


def test_a_second_signal_ends_requests_that_are_under_way_with_503(bundle: Bundle, start: Start) -> None:
    running = start(bundle)
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n12345")
        while b'endpoint="predict"' not in running.send("/metrics").body:
            running.send("/predict", b"")
        running.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        running.process.send_signal(signal.SIGINT)
        found = connection.makefile("rb").read()
    assert found.startswith(b"HTTP/1.1 503") and b"the service is ending" in found
    assert running.process.wait(60) == 0
    assert "Traceback" not in running.errors.read_text()


def test_a_bundle_whose_proof_failed_here_is_not_served_unless_unproven_is_given(
    bundle: Bundle, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tiny.replace_weights(bundle.path, seed=1)
    save_proof(wrong, verify(wrong))
    assert run(["serve", str(wrong.path), "--port", "0"]) == 1
    assert "failed its proof on this machine" in capsys.readouterr().err
    running = start(wrong, "--allow-failed-proof")
    assert running.send("/predict", image_file()).status == 200
    assert running.errors.read_text().startswith("FAILED")


@pytest.mark.parametrize(
    "options, batches",
    [
        (["--threads", "2"], False),
        (["--threads", "1"], True),
        (["--threads", "2", "--streams", "1"], True),
        (["--threads", "2", "--max-delay-ms", "2"], True),
        (["--threads", "2", "--streams", "2"], False),
    ],
)
def test_on_a_cpu_threads_predict_whole_requests_unless_batching_is_asked_for(
    options: list[str],
    batches: bool,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    served: list[Any] = []
    monkeypatch.setattr("edgeclf.serving.server.run_service", lambda service, *_, **__: served.append(service))
    monkeypatch.setattr("edgeclf.serving.service.choose_batch_size", lambda *_, **__: BatchChoice(4))
    assert run(["serve", str(bundle.path), "--port", "0", *options]) == 0
    assert [service.batches for service in served] == [batches]
    told = "up to 8, after 2 ms at most" if batches else "2 threads predict at the same time, each up to 4 requests"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--threads", "1", "--streams", "2"), "--streams share the threads, so at most 1 here, found 2"),
        (
            ("--threads", "2", "--streams", "2", "--max-delay-ms", "5"),
            "--max-delay-ms is for dynamic batching, with --streams 2 nothing waits; leave one out",
        ),
    ],
)
def test_streams_that_can_not_be_are_one_line_before_anything_is_loaded(
    options: tuple[str, ...], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", str(tmp_path / "no-bundle"), "--port", "0", *options]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"edgeclf: {line}"


def test_a_port_that_is_taken_is_one_line(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["serve", str(bundle.path), "--port", str(port)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors == [
        f"edgeclf: can't listen on 127.0.0.1, port {port} (Address already in use); give another --host or --port"
    ]


def test_responses_leave_at_once() -> None:
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()) as client:
        taken, _ = listening.accept()
        with taken:
            assert client.fileno() and taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_host_that_is_none_is_one_line(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", str(bundle.path), "--host", "no host"]) == 2
    assert "can't listen on no host, port 8000" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "a/b"])
def test_a_name_that_no_url_can_hold_is_one_line(name: str, bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", str(bundle.path), "--name", name]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors == [f"edgeclf: --name is one part of a URL's path, without a slash, found {name!r}"]


def test_outputs_that_are_not_finite_give_status_500(tmp_path: Path, start: Start) -> None:
    bundle = tiny.build(tmp_path / "tiny")
    np.savez(bundle.path / "model.npz", weight=np.full((192, 3), np.nan), bias=np.zeros(3))
    running = start(tiny.reseal(bundle.path))
    for response in (running.send("/predict", image_file()), running.infer(tiny.random_pixels(1))):
        assert response.status == 500
        assert "NaN or infinite outputs; run `edgeclf verify`" in response.json["error"]


def test_without_the_extra_it_is_named(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else found(name))
    assert run(["serve", str(bundle.path)]) == 4
    assert f"uvicorn is not installed; install it with: {pip_install('serve')}" in capsys.readouterr().err


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    tiny.build(tmp_path / "tiny")
    tiny.reseal(tmp_path / "tiny", task="embed-image")
    assert run(["serve", str(tmp_path / "tiny"), "--port", "0"]) == 3
