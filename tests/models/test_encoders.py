"""Encoders by name: which are accepted, and their first convolution for other channels."""

import numpy as np
import pytest

from unetkit._shared.display import Display
from unetkit.errors import ConfigError, DataNotFoundError
from unetkit.models.encoders import (
    ENCODERS,
    encoder_of,
    fetch_pretrained,
    match_channels,
    match_stem,
    require_encoder,
)
from unetkit.models.keras_encoders import channel_shifts
from unetkit.models.unet import UNetConfig


class TestNames:
    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("EfficientNetB0", "squeeze-and-excite averages over the whole image"),
            ("efficientnetv2-s", "squeeze-and-excite averages over the whole image"),
            ("mobilenet_v3_small", "squeeze-and-excite averages over the whole image"),
            ("MobileNetV3Large", "squeeze-and-excite averages over the whole image"),
            ("seresnext50", "squeeze-and-excite averages over the whole image"),
            ("convnextv2_tiny", "global response normalization takes its statistics from"),
            ("vit_b_16", "attention sees the whole image"),
        ],
    )
    def test_what_looks_at_the_whole_image_is_refused_with_the_reason(self, name, reason):
        message = (
            f"encoder is '{name}', whose {reason}.*, so that exact tiles are impossible; accepted "
            "are 'unet', 'efficientnet_lite0', 'resnet50', 'convnext_tiny'"
        )
        with pytest.raises(ConfigError, match=message):
            UNetConfig(encoder=name)

    @pytest.mark.parametrize("name", ["vgg16", "densenet121", "efficientnet_lite4", ""])
    def test_others_are_only_not_accepted(self, name):
        with pytest.raises(ConfigError, match=f"encoder is '{name}'; accepted are 'unet', "):
            UNetConfig(encoder=name)

    def test_the_spelling_of_keras_leads_to_the_name(self):
        with pytest.raises(ConfigError, match=r"did you mean 'resnet50'\?"):
            require_encoder("ResNet50", ENCODERS)

    def test_the_name_follows_from_the_layers(self):
        assert encoder_of(["stem", "encoder0_conv1", "decoder0_conv1"]) is None
        assert encoder_of(["encoder1_stem", "decoder0_conv1"]) == "efficientnet_lite0"
        assert encoder_of(["encoder1_resnet50_stem"]) == "resnet50"
        assert encoder_of(["size_check", "encoder2_convnext_tiny_stem"]) == "convnext_tiny"


class TestMatchChannels:
    def test_the_sum_over_channels_is_kept(self):
        # 1 to 3: a third each. 3 to 1: the sum. 2 to 4: (1 + 3) / 4 each.
        def kernel(*values):
            return np.array(values, np.float32).reshape(1, 1, -1, 1)

        assert np.allclose(match_channels(kernel(6), 3).ravel(), [2, 2, 2])
        assert np.allclose(match_channels(kernel(1, 2, 3), 1).ravel(), [6])
        assert np.allclose(match_channels(kernel(1, 3), 4).ravel(), [1, 1, 1, 1])

    def test_the_same_number_changes_nothing(self):
        kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 4))
        assert match_channels(kernel, 2) is kernel


class TestMatchStem:
    @pytest.mark.parametrize(("before", "after"), [(3, 1), (3, 5), (1, 3), (5, 2)])
    @pytest.mark.parametrize("name", ["resnet50", "convnext_tiny"])
    def test_equal_channels_have_the_same_response(self, name, before, after):
        rng = np.random.default_rng(0)
        arrays = [rng.normal(size=(4, 4, before, 6)), rng.normal(size=6)]
        grey = rng.normal(size=(4, 4, 1))

        def response(arrays):
            channels = arrays[0].shape[2]
            image = np.repeat(grey, channels, axis=2) + channel_shifts(name, channels)
            return np.einsum("hwc,hwcf->f", image, arrays[0]) + arrays[1]

        matched = match_stem(name, arrays, after)
        assert matched[0].shape == (4, 4, after, 6)
        assert np.allclose(response(matched), response(arrays))

    def test_without_a_shift_only_the_kernel_changes(self):
        kernel = np.random.default_rng(1).normal(size=(3, 3, 3, 4))
        (matched,) = match_stem("efficientnet_lite0", [kernel], 1)
        assert np.allclose(matched, kernel.sum(axis=2, keepdims=True))


class TestFiles:
    def test_one_that_does_not_exist(self, tmp_path):
        path = str(tmp_path / "gone.h5")
        message = "encoder_weights is .*gone.h5', which does not exist; accepted is a file with "
        with pytest.raises(DataNotFoundError, match=message):
            fetch_pretrained("resnet50", path, Display())

    @pytest.mark.parametrize("name", ["efficientnet_lite0", "unet"])
    def test_one_for_an_encoder_that_takes_none(self, name):
        message = f"with the encoder '{name}'; accepted are files for 'resnet50', 'convnext_tiny'"
        with pytest.raises(ConfigError, match=message):
            fetch_pretrained(name, "mine.h5", Display())

    def test_random_weights_need_none(self):
        assert fetch_pretrained("resnet50", "random", Display()) is None
