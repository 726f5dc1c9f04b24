"""The network in the box: small, documented, honest about itself, and good at cats."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from skimage import data

from unetkit import Predictor
from unetkit.cli.main import main
from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.models.built_in import BUILT_IN, NOTICE, built_in_card, is_built_in
from unetkit.models.spec import image_digest

PETS = Path(__file__).parents[3] / "shared" / "data" / "pets"


@pytest.fixture(scope="module")
def predictor():
    return Predictor()


@pytest.fixture
def cat(tmp_path):
    Image.fromarray(data.chelsea()).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


class TestFile:
    def test_it_is_small_and_complete(self, predictor):
        assert BUILT_IN.stat().st_size < 8_000_000
        assert predictor.spec.classes.names == TRIMAP_CLASSES.names
        assert predictor.spec.preset == "pretrained"
        assert predictor.is_checkable
        assert len(predictor.spec.seen) > 600

    def test_its_card_says_what_a_user_must_know(self):
        card = built_in_card()
        for words in ("CC BY-SA 4.0", "Apache", "Oxford-IIIT Pet", "breeds", "foreground IoU"):
            assert words in card
        assert "CC BY-SA 4.0" in (BUILT_IN.parent / "LICENSE").read_text(encoding="utf-8")

    def test_it_knows_itself(self, tmp_path):
        copy = tmp_path / "pets.onnx"
        copy.write_bytes(BUILT_IN.read_bytes())
        assert is_built_in(BUILT_IN)
        assert not is_built_in(copy)

    def test_it_never_saw_a_test_image(self, predictor):
        listed = PETS / "annotations" / "test.txt"
        if not listed.exists():
            pytest.skip("the photos of Oxford-IIIT Pet are not here")
        import hashlib

        names = [line.split()[0] for line in listed.read_text().splitlines() if line[:1] != "#"]
        files = [PETS / "images" / f"{name}.jpg" for name in names]
        digests = {
            image_digest(hashlib.sha256(file.read_bytes()).hexdigest(), None)
            for file in files
            if file.exists()
        }
        assert len(digests) > 200
        assert not digests & set(predictor.spec.seen)


class TestCat:
    """Chelsea, of scikit-image, fills two thirds of her photo."""

    def test_she_is_cut_out_clean(self, cat, tmp_path):
        done = CliRunner().invoke(
            main, ["predict", str(cat), "--cutout", "--out", str(tmp_path / "out")]
        )
        assert done.exit_code == 0, done.output
        alpha = np.asarray(Image.open(tmp_path / "out" / "cat_cutout.png"))[..., 3]
        assert np.median(alpha[90:220, 110:330]) == 255  # her face
        assert np.mean(alpha[90:220, 110:330] > 250) > 0.97
        assert np.mean(alpha[110:210, 400:] < 5) > 0.97  # what is behind her
        assert np.mean((alpha > 12) & (alpha < 243)) < 0.1  # hardly anything is translucent


class TestNotice:
    def test_the_command_says_what_it_is_for(self, cat, tmp_path):
        done = CliRunner().invoke(main, ["predict", str(cat), "--out", str(tmp_path / "out")])
        lines = [line for line in done.output.splitlines() if "built-in" in line]
        assert lines == [NOTICE]
        assert "cats and dogs" in NOTICE
        assert NOTICE.endswith("to train a network of your own: unetkit train DATA")

    def test_results_name_it(self, cat, tmp_path):
        CliRunner().invoke(main, ["predict", str(cat), "--out", str(tmp_path / "out")])
        with Image.open(tmp_path / "out" / "cat.png") as mask:
            metadata = json.loads(mask.text["unetkit"])
        assert metadata["built_in"] == "cats and dogs in photos"

    def test_results_of_other_models_do_not(self, cat, tmp_path):
        copy = tmp_path / "other.onnx"
        copy.write_bytes(BUILT_IN.read_bytes())
        arguments = ["predict", str(cat), "--model", str(copy), "--out", str(tmp_path / "out")]
        done = CliRunner().invoke(main, arguments)
        assert "built-in" not in done.output
        with Image.open(tmp_path / "out" / "cat.png") as mask:
            assert "built_in" not in json.loads(mask.text["unetkit"])

    def test_a_pipe_carries_nothing_else(self, cat):
        done = CliRunner().invoke(main, ["predict", "-"], input=cat.read_bytes())
        assert NOTICE in done.stderr
        assert done.stdout_bytes.startswith(b"\x89PNG")

    def test_info_shows_the_card(self):
        done = CliRunner().invoke(main, ["info"])
        assert done.exit_code == 0, done.output
        assert "pets.onnx" in done.output
        assert "Oxford-IIIT Pet" in done.output
