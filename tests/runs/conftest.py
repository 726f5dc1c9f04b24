"""A run folder as training leaves it, made without training."""

import h5py
import numpy as np
import pytest
import tomli_w
from rich.console import Console

from tests._shared.test_manifest import VALUES, write_split
from unetkit._shared.manifest import data_record, write_manifest
from unetkit._shared.provenance import provenance
from unetkit.cli.tables import verification_table
from unetkit.training import backend
from unetkit.training.checkpoints import write_checkpoint


@pytest.fixture
def made(folder, tmp_path):
    """A run folder as if it had been trained on `folder`, here and now."""
    return make_run(tmp_path / "run", folder)


def make_run(run, data, *, split=None, **values):
    write_split(run, data)
    config = {
        "data": str(data.resolve()),
        "preset": "fast",
        "sources": {"channel_axis": "auto", "skip_bad": False, "images": None},
        "split": {"seed": 0, "file": split},
        "training": {"steps": 4, "loss": {"dice": 1.0}, "freeze": []},
    }
    (run / "config.toml").write_text(tomli_w.dumps(without_none(config)))
    with h5py.File(run / "best.weights.h5", "w") as file:
        file["layers/conv/vars/0"] = np.arange(1000, dtype=np.float32)
    write_checkpoint(run / "checkpoints", 4, {"a": np.arange(9)}, {"step": 4})
    write_manifest(
        run,
        {
            **VALUES,
            **provenance(),
            "device": backend.describe_device(backend.choose_device(None)),
            "threads": {"inter_op": 1, "intra_op": backend.intra_op_threads(), "loader": 4},
            "data": data_record(run),
            "configuration": config,
            **values,
        },
    )
    return run


def without_none(values):
    return {
        key: without_none(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }


def shown(result):
    console = Console(width=200)
    with console.capture() as capture:
        console.print(verification_table(result))
    return capture.get()
