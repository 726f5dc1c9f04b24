"""Files of a run folder that are damaged, changed or missing."""

import json
import shutil

import h5py
import numpy as np
import pytest

from tests.runs.conftest import shown
from unetkit import verify
from unetkit._shared.manifest import record_files, update_manifest
from unetkit.training.checkpoints import write_checkpoint


class TestFiles:
    def problems(self, run):
        result = verify(run)
        found = {row["name"]: row["problem"] for row in result["files"] if row["problem"]}
        assert result["same"] == (not found)
        if found:
            assert "Files of the run are damaged or missing" in " ".join(result["conclusions"])
            assert all(name in shown(result) for name in found)
        return found

    def test_whole_ones_have_no_problem(self, made):
        assert self.problems(made) == {}

    @pytest.mark.parametrize(
        ("name", "words"),
        [("best.weights.h5", "it is missing"), ("config.toml", "it cannot be read")],
    )
    def test_one_that_is_gone_is_named(self, made, name, words):
        (made / name).unlink()
        assert words in self.problems(made)[name]

    def test_a_split_that_is_gone_leaves_the_data_unknown(self, made):
        (made / "split.json").unlink()
        result = verify(made, made)
        assert "holds no split.json" in result["data"]["problem"]
        assert not result["data"]["same"]

    def test_a_configuration_that_was_changed_is_named(self, made):
        text = (made / "config.toml").read_text()
        (made / "config.toml").write_text(text.replace("steps = 4", "steps = 5"))
        assert self.problems(made) == {
            "config.toml": "it differs from the configuration in the manifest: training"
        }
        (made / "config.toml").write_text(text + "[")
        assert "it cannot be read" in self.problems(made)["config.toml"]

    def test_a_split_that_was_changed_is_named(self, made):
        record = json.loads((made / "split.json").read_text())
        record["train"].append(record["test"].pop())
        (made / "split.json").write_text(json.dumps(record))
        assert "differ from the hash in the manifest" in self.problems(made)["split.json"]

    @pytest.mark.parametrize("kept", [0, 100, 4000])
    def test_weights_cut_short_are_named(self, made, kept):
        file = made / "best.weights.h5"
        file.write_bytes(file.read_bytes()[:kept])
        assert "cannot be loaded" in self.problems(made)["best.weights.h5"]

    def test_weights_that_are_no_numbers_are_named(self, made):
        with h5py.File(made / "best.weights.h5", "a") as file:
            file["layers/conv/vars/0"][3] = np.nan
        problem = self.problems(made)["best.weights.h5"]
        assert problem == "layers/conv/vars/0 has values that are not finite"

    def test_weights_that_claim_more_than_there_is_are_not_read(self, made):
        with h5py.File(made / "best.weights.h5", "a") as file:
            file.create_dataset("huge", (1 << 40,), np.float32, chunks=(1 << 10,))
        problem = self.problems(made)["best.weights.h5"]
        assert "(huge is declared larger than what the file holds)" in problem

    def test_a_model_that_was_exported_has_to_be_there_and_whole(self, run, made):
        update_manifest(made, export_difference=1e-6)
        assert self.problems(made) == {"model.onnx": "it is missing"}
        model = (run / "model.onnx").read_bytes()
        (made / "model.onnx").write_bytes(model)
        assert self.problems(made) == {}
        (made / "model.onnx").write_bytes(model[: len(model) // 2])
        assert "is not a model that can be loaded" in self.problems(made)["model.onnx"]

    def test_files_that_differ_from_the_manifest_are_named(self, run, made):
        shutil.copy(run / "model.onnx", made)
        record_files(made)
        assert self.problems(made) == {}
        assert "not checkable" not in shown(verify(made))
        for name in ("best.weights.h5", "model.onnx"):
            content = (made / name).read_bytes()
            (made / name).write_bytes(content + b"x")  # which neither of the formats minds
            assert name in self.problems(made)
            (made / name).write_bytes(content)

    def test_a_flipped_bit_of_weights_is_found_without_the_manifest(self, run, made):
        for name in ("best.weights.h5", "model.onnx"):
            shutil.copy(run / name, made)
            content = bytearray((made / name).read_bytes())
            place = len(content) // 3
            if name == "best.weights.h5":  # elsewhere, some bytes are not used
                with h5py.File(made / name) as file:
                    found = []
                    file.visititems(lambda _, item, found=found: found.append(item))
                    kernel = max((d for d in found if isinstance(d, h5py.Dataset)), key=np.size)
                    place = kernel.id.get_offset()
            content[place] ^= 1
            (made / name).write_bytes(content)
            assert "SHA-256" in self.problems(made)[name]
            shutil.copy(run / name, made)
        assert self.problems(made) == {}

    def test_what_has_no_digest_is_said_to_be_not_checkable(self, made):
        result = verify(made)
        checkable = {row["name"]: row["checkable"] for row in result["files"]}
        assert checkable == {
            "config.toml": True,
            "split.json": True,
            "best.weights.h5": False,  # made without training
            "model.onnx": None,  # there is none
            "checkpoints": True,
        }
        assert result["same"]
        assert (
            "not checkable (earlier versions and other programs store no SHA-256): best.weights.h5"
            in shown(result)
        )

    def test_checkpoints_have_to_be_whole(self, made):
        write_checkpoint(made / "checkpoints", 5, {"a": np.arange(9)}, {"step": 5})
        file = made / "checkpoints" / "step-00000005.npz"
        file.write_bytes(file.read_bytes()[:100])
        assert "step-00000005.npz is damaged" in self.problems(made)["checkpoints"]

    def test_an_interrupted_run_needs_a_checkpoint_and_no_model(self, made):
        update_manifest(made, state="interrupted", best={"step": 0, "mean_iou": -1.0})
        (made / "best.weights.h5").unlink()
        result = verify(made)
        assert result["same"]
        assert result["conclusions"][0] == (
            f"The run is not finished (interrupted). To continue: unetkit train --resume {made}"
        )
        shutil.rmtree(made / "checkpoints")
        assert self.problems(made) == {
            "checkpoints": "there are none, so the run cannot be resumed"
        }
