"""A service under attack, through real sockets: hostile files, and requests from its OpenAPI."""

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import export_untrained
from tests.hostile import KINDS
from tests.serving import photo_bytes, sentence_of, serving
from unetkit.io.pixel_format import PixelFormat
from unetkit.prediction.predictor import Predictor
from unetkit.serve.limits import ACCEPTED_FORMATS, Limits

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECTX")
VALUES = (
    "",
    "mask",
    "\u00e9",
    "%00",
    "../../etc/passwd",
    "a" * 3000,
    "1e999",
    "null",
    "[]",
    "\U0001f408",
)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service of a network that takes no time: files and requests are what is tested."""
    model = tmp_path_factory.mktemp("model") / "model.onnx"
    export_untrained(model, PixelFormat(3), policy="resize", height=32, width=32)
    with serving(Predictor(model, memory=2 << 30), Limits(pixels=1_000_000)) as running:
        yield running


def content_of(kind, folder: Path) -> bytes | None:
    """What a hostile file holds; None of what is no file."""
    path = folder / "inside" / kind.name
    path.parent.mkdir()
    kind.write(path)
    if not path.exists() or not stat.S_ISREG(path.lstat().st_mode):
        return None
    return path.read_bytes()


def test_hostile_files_are_answered_or_refused_and_nothing_else_happens(service, tmp_path):
    answered = refused = 0
    for number, (name, kind) in enumerate(KINDS.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        content = content_of(kind, folder)
        if content is None or len(content) > Limits.body_bytes:
            continue
        response = service.post(content)
        assert response.status_code in (200, 422), (name, response.text)
        if response.status_code == 200:
            answered += 1
        else:
            refused += 1
            sentence = sentence_of(response)
            assert "/" not in sentence.replace("1/", ""), (name, sentence)
            assert "\n" not in sentence, (name, sentence)
    assert answered >= 50
    assert refused >= 100
    assert service.get("/health").status_code == 200
    metrics = service.get("/metrics").text
    assert "unetkit_held_bytes 0.0" in metrics
    assert 'unetkit_processes_replaced_total{reason="crash"} 0.0' in metrics


def test_every_method_and_query_of_the_description_gets_an_answer_that_it_names(service):
    described = service.get("/openapi.json").json()
    with service.client() as client:
        for path, operations in described["paths"].items():
            for method in METHODS:
                response = client.request(method, path)
                operation = operations.get("get" if method == "HEAD" else method.lower())
                if operation is None:
                    wanted = 204 if method == "OPTIONS" else 405
                    assert response.status_code == wanted, (method, path)
                else:
                    assert str(response.status_code) in operation["responses"], (method, path)
        predict = described["paths"]["/v1/predict"]["post"]
        for name in ("output", "mask", "unknown"):
            for value in VALUES:
                response = client.post("/v1/predict", params={name: value}, content=b"no image")
                assert str(response.status_code) in predict["responses"], (name, value)
                sentence_of(response)
        for header in ("Accept", "Content-Type", "Content-Encoding", "Range", "Expect", "Cookie"):
            for value in ("", ";;q=,", "a/b" * 500, "\u00ff".encode("latin-1"), "*/*;q=nan"):
                response = client.post(
                    "/v1/predict", headers={header: value}, content=photo_bytes()
                )
                assert str(response.status_code) in predict["responses"], (header, value)


def test_schemathesis_finds_nothing_that_differs_from_the_description(service, tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"http://{service.host}/openapi.json",
            # Most bodies that it makes for image files are none, which is refused.
            *("--exclude-checks", "positive_data_acceptance"),
            *("--max-examples", "40", "--seed", "1", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert re.search(r"Tested: 5\b", done.stdout), done.stdout
    assert re.search(r"Test cases:\s+\d{2,} generated, \d{2,} passed", done.stdout), done.stdout
    metrics = service.get("/metrics").text
    assert 'route="/v1/predict",status="200"' in metrics  # some are images
    assert 'status="500"' not in metrics


def test_formats_are_those_of_the_description(service):
    predict = service.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]
    for format in ACCEPTED_FORMATS:
        assert f"image/{format.lower()}" in predict["requestBody"]["content"]
        assert service.post(photo_bytes(format)).status_code == 200
