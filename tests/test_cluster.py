"""The page about clusters: the text for each scheduler is checked by its tools, and run.

Ray, PySpark, GNU parallel, ShellCheck and kubernetes-validate are used where they are installed; no
extra has them.
"""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.snippets import DOCS, read_blocks

BLOCKS = {block.text.split("\n")[0]: block for block in read_blocks(DOCS / "cluster.md")}
NAMES = [f"day{number % 2}/{number:02}.png" for number in range(10)]
MODULE = [sys.executable, "-m", "unetkit"]


def block(start):
    return next(found.text for line, found in BLOCKS.items() if line.startswith(start))


@pytest.fixture
def folder(tmp_path, grey_model):
    """Photos, one of which cannot be read, a model, and `unetkit` and Python as commands."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50), dtype=np.uint8)).save(path)
    (tmp_path / "photos" / "day0" / "bad.png").write_bytes(b"no picture")
    shutil.copy(grey_model, tmp_path / "model.onnx")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "unetkit").write_text(f'#!/bin/sh\nexec {" ".join(MODULE)} "$@"\n')
    (tmp_path / "bin" / "unetkit").chmod(0o755)
    return tmp_path


def run(folder, *command, code=0, **variables):
    """Runs a command that ends with this exit code, or with any if that is None."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert code in (None, done.returncode), done.stdout + done.stderr
    return done


def require_whole(folder):
    """Requires the masks of one command, and nothing missing but the image that is damaged."""
    options = ("predict", "photos", "--model", "model.onnx", "--recursive", "--out")
    listed = run(folder, *MODULE, *options, "masks", "--list-missing", code=1)
    assert listed.stdout.split() == ["photos/day0/bad.png"]
    run(folder, *MODULE, *options, "one", code=1)
    masks = {name: (folder / "masks" / name).read_bytes() for name in NAMES}
    assert masks == {name: (folder / "one" / name).read_bytes() for name in NAMES}


posix = pytest.mark.skipif(os.name == "nt", reason="shells of Unix")


@posix
class TestSlurm:
    SCRIPT = block("#!/bin/bash")

    def test_the_array_makes_all_masks(self, folder):
        script = self.SCRIPT.replace("source .venv/bin/activate\n", "").replace("/64", "/2")
        (folder / "predict.sh").write_text(script)
        said = []
        for number in ("1", "2"):
            variables = {"SLURM_ARRAY_TASK_ID": number, "SLURM_CPUS_PER_TASK": "1"}
            done = run(folder, "bash", "predict.sh", code=None, **variables)
            said.append((done.returncode, "not predicted" in done.stdout))
        assert sorted(said) == [(0, False), (1, True)]
        require_whole(folder)

    def test_shellcheck_finds_nothing(self, folder):
        if shutil.which("shellcheck") is None:
            pytest.skip("ShellCheck is not installed")
        (folder / "predict.sh").write_text(self.SCRIPT)
        # SC1091: the environment that is entered is elsewhere.
        run(folder, "shellcheck", "--exclude", "SC1091", "predict.sh")

    def test_the_shards_are_those_of_the_array(self):
        assert "#SBATCH --array=1-64\n" in self.SCRIPT
        assert '"$SLURM_ARRAY_TASK_ID/64"' in self.SCRIPT


class TestKubernetes:
    JOB = yaml.safe_load(block("apiVersion"))

    def test_the_schema_accepts_it(self):
        validator = pytest.importorskip("kubernetes_validate")
        validator.validate(self.JOB, validator.latest_version(), strict=True)

    @posix
    def test_each_index_is_a_shard(self, folder):
        spec = self.JOB["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        (script,) = container["args"]
        assert (spec["completionMode"], spec["completions"]) == ("Indexed", 64)
        assert script.endswith('--shard "$((JOB_COMPLETION_INDEX + 1))/64"')
        script = script.replace("/opt/unetkit/bin/", "").replace("/data/", "").replace("/64", "/2")
        shell = [*container["command"], script]
        done = [run(folder, *shell, code=None, JOB_COMPLETION_INDEX=i).returncode for i in "01"]
        assert sorted(done) == [0, 1]
        require_whole(folder)


def test_gnu_parallel(folder):
    if shutil.which("parallel") is None:
        pytest.skip("GNU parallel is not installed")
    script = block("parallel").replace("/8", "/3").replace("$(seq 8)", "$(seq 3)")
    run(folder, "sh", "-c", script.replace("--retries 3", ""), code=1)  # one shard has failed
    require_whole(folder)


@pytest.mark.parametrize(
    ("library", "start"), [("ray", "# predict_on_ray"), ("pyspark", "# predict_on_spark")]
)
def test_tables_of_shards(folder, library, start):
    pytest.importorskip(library)
    script = block(start).replace("CORES = 8, 1", "CORES = 3, 1")
    assert "= 3, 1" in script
    for name in ("photos", "model.onnx", "masks"):  # workers have another folder
        script = script.replace(f'"{name}"', repr(str(folder / name)))
    (folder / "job.py").write_text(script)
    done = run(folder, sys.executable, "job.py")
    assert "bad.png is not an image that can be read" in done.stdout
    require_whole(folder)
