"""Nothing leaves the machine unasked."""

import ast
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.test_architecture import MODULES


def traces(tmp_path, code, **environment):
    """Files that a process leaves in its folder for temporary files."""
    inherited = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={**inherited, "TMPDIR": str(tmp_path), **environment},
        cwd=tmp_path,
    )
    return sorted(path.name for path in tmp_path.iterdir())


def test_predicting_leaves_no_session_for_a_report(run, tmp_path):
    image = np.zeros((40, 50, 3), np.uint8)
    code = f"""
import os, numpy as np, unetkit
unetkit.Predictor({str(run)!r})(np.zeros({image.shape}, np.uint8))
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
"""
    assert traces(tmp_path, code) == []


def test_who_has_asked_for_reports_is_heard(tmp_path):
    code = (
        "import os, unetkit.models.onnx_runtime; assert os.environ['ORT_DISABLE_TELEMETRY'] == '0'"
    )
    traces(tmp_path, code, ORT_DISABLE_TELEMETRY="0")


@pytest.mark.parametrize("name", [name for name in MODULES if name != "models.onnx_runtime"])
def test_it_is_imported_from_one_place(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert "onnxruntime" not in imported
