"""A model file in OpenVINO: the same answer, in any size, and nothing that reports its use."""

import os
import subprocess
import sys

import numpy as np
import pytest

from unetkit.exports.comparison import METADATA_FILE
from unetkit.exports.export import export
from unetkit.models.spec import spec_from_json
from unetkit.prediction.engine import Engine

pytest.importorskip("openvino")

from unetkit.exports.openvino_format import read_openvino, write_openvino


@pytest.fixture(scope="module")
def written(colour_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("openvino") / "model"
    write_openvino(colour_model, path)
    return path


def test_it_has_the_answer_of_the_model_file_in_any_size(written, colour_model):
    network, engine = read_openvino(written), Engine(colour_model)
    for size in ((64, 72), (8, 120)):
        tile = np.random.default_rng(2).integers(0, 256, (1, *size, 3)).astype(np.float32)
        assert np.abs(network(tile)[0] - engine(tile[0])).max() < 1e-4


def test_the_metadata_stand_beside_it(written, colour_model):
    assert sorted(path.name for path in written.iterdir()) == [
        "model.bin", "model.xml", METADATA_FILE
    ]  # fmt: skip
    text = (written / METADATA_FILE).read_text(encoding="utf-8")
    assert spec_from_json(text, "it") == Engine(colour_model).spec


def test_it_replaces_an_earlier_folder(colour_model, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "old").write_text("old")
    export(colour_model, format="openvino", out=tmp_path / "m", overwrite=True)
    assert not (tmp_path / "m" / "old").exists()
    assert (tmp_path / "m" / "model.xml").exists()


def test_nothing_reports_its_use_and_no_framework_is_loaded(colour_model, tmp_path):
    code = f"""
import sys
calls = []
sys.addaudithook(lambda event, _: event.startswith("socket.connect") and calls.append(event))
import unetkit
unetkit.export({str(colour_model)!r}, format="openvino", out="m")
import openvino
assert sys.modules["openvino_telemetry"] is None
assert not any(name.startswith("openvino_telemetry.") for name in sys.modules)
assert not {{"keras", "tensorflow"}} & set(sys.modules)
assert calls == []
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    assert not (home / "intel").exists()  # where it would keep a number for this machine
