"""The configuration of a run, completed from what is given, the preset and the data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import TINY_CONFIG
from unetkit._shared.display import Display
from unetkit.data.augmentation import MICROSCOPE_AUGMENTATION, NO_AUGMENTATION, PHOTO_AUGMENTATION
from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.data.dataset import find_dataset
from unetkit.data.sources import Sources
from unetkit.errors import ConfigError
from unetkit.io.pixel_format import PixelFormat
from unetkit.models import efficientnet_lite0
from unetkit.models.encoders import ENCODER_NORMALIZATION, ENCODERS
from unetkit.models.unet import PRESETS, fitted_network
from unetkit.objects.border_weights import BorderWeight
from unetkit.training import backend
from unetkit.training.choices import choose_config, find_chosen_dataset, gather_choices, prepare
from unetkit.training.config import Choices
from unetkit.training.config_file import parse_choices
from unetkit.training.scale_choice import ImageSizes

# Sizes of the training images, classes and pixel format, as found in a data set.
PHOTOS = ([(20, 24), (30, 40)] * 50, TRIMAP_CLASSES, PixelFormat())
CELLS = Classes(("background", "foreground"), (0, 255), background=0)
FRAMES = ([(512, 512)] * 100, CELLS, PixelFormat(1))
DEEP = PixelFormat(2, "uint16", (180.0, 170.5), (4000.0, 3900.0), "first")


@pytest.fixture
def dataset(folder):
    return find_dataset(folder)


def choose(dataset, found, given=None, **options):
    return complete(dataset, found, parse_choices(given or {}, "the options"), **options)


def complete(dataset, found, choices, **options):
    sizes, classes, pixels = found
    images = [ImageSizes(size, np.zeros(0)) for size in sizes]
    return choose_config(dataset, images, classes, pixels, choices, **options)[0]


class TestDefaults:
    def test_photos_of_many_sizes_are_resized(self, dataset):
        config = choose(dataset, PHOTOS)
        assert (config.scale.policy, config.scale.height, config.scale.width) == (
            "resize",
            192,
            192,
        )
        assert choose(dataset, PHOTOS, {"preset": "fast"}).scale.height == 128
        assert config.augmentation == PHOTO_AUGMENTATION
        assert config.pixels == PixelFormat(3)

    def test_large_frames_of_one_size_keep_their_pixels(self, dataset):
        config = choose(dataset, FRAMES)
        assert (config.scale.policy, config.scale.height, config.scale.width) == (
            "native",
            192,
            192,
        )
        assert config.training.batch_size == 8
        fast = choose(dataset, FRAMES, {"preset": "fast"})
        assert (fast.scale.height, fast.training.batch_size) == (256, 16)
        assert config.augmentation == MICROSCOPE_AUGMENTATION
        assert config.pixels == PixelFormat(1)

    def test_the_network_of_the_paper_has_the_weights_of_the_paper(self, dataset):
        paper = {"preset": "paper"}
        assert choose(dataset, FRAMES, paper).border_weight == BorderWeight(10.0, 5.0)
        assert choose(dataset, FRAMES).border_weight.w0 == 0
        given = {**paper, "border_weight": {"w0": 0, "sigma": 2.5}}
        assert choose(dataset, FRAMES, given).border_weight == BorderWeight(0.0, 2.5)
        given = {"border_weight": {"w0": 5.0, "everywhere": True}}
        assert choose(dataset, FRAMES, given).border_weight == BorderWeight(5.0, 5.0, True)

    @pytest.mark.parametrize(
        ("kind", "given", "method", "w0"),
        [
            ("instances", {}, "distance", 0.0),
            ("classes", {}, "none", 0.0),
            ("instances", {"method": "none"}, "none", 0.0),
            ("classes", {"method": "ridge"}, "ridge", 10.0),
        ],
    )
    def test_masks_of_instances_tell_objects_apart(self, dataset, kind, given, method, w0):
        found = ([(64, 64)], replace(CELLS, values=(0, 1), kind=kind), PixelFormat(1))
        config = choose(dataset, found, {"objects": given})
        assert (config.objects.method, config.border_weight.w0) == (method, w0)
        assert not config.objects.finds_objects or not config.objects.is_complete

    @pytest.mark.parametrize(
        ("kind", "w0", "is_said"),
        [("classes", 10.0, True), ("classes", 0.0, False), ("instances", 10.0, False)],
    )
    def test_regions_that_serve_as_objects_are_said(self, dataset, kind, w0, is_said):
        images = [ImageSizes((64, 64), np.zeros(0))] * 4
        classes = replace(CELLS, values=(0, 1), kind=kind)
        choices = parse_choices({"border_weight": {"w0": w0}}, "the options")
        _, reasons = choose_config(dataset, images, classes, PixelFormat(1), choices)
        assert is_said == any("connected regions of each class" in why for why in reasons)

    def test_a_size_that_the_network_does_not_take_is_rounded_and_said(self, dataset):
        choices = gather_choices({"data": "photos"}, size=(12, 100))
        images = [ImageSizes(size, np.zeros(0)) for size in PHOTOS[0]]
        config, reasons = choose_config(dataset, images, *PHOTOS[1:], choices)
        assert (config.scale.height, config.scale.width) == (32, 96)
        assert "size 12x100 becomes 32x96: the network takes multiples of 32" in reasons

    def test_at_their_own_scale_the_encoder_is_shorter(self, dataset):
        network = choose(dataset, FRAMES).network
        assert (network.depth, network.detail_filters) == (4, 16)
        assert choose(dataset, PHOTOS).network == PRESETS["pretrained"]
        given = {"preset": "pretrained", "network": {"filters": [8, 8, 8, 8, 8]}}
        assert choose(dataset, FRAMES, given).network.filters == (8,) * 5

    @pytest.mark.parametrize(
        ("preset", "filters", "detail", "stem"),
        [
            ("pretrained", (16, 32, 48, 64), 16, 1),
            ("fast", (8, 16, 32, 64, 128, 256), 0, 1),
            ("notebook", PRESETS["notebook"].filters, 0, 1),
        ],
    )
    def test_thin_structures_have_features_at_full_resolution(
        self, dataset, preset, filters, detail, stem
    ):
        images = [ImageSizes((512, 512), np.zeros(0), {255: (4.0, 900)})] * 4
        choices = parse_choices({"preset": preset}, "the options")
        config, reasons = choose_config(dataset, images, *FRAMES[1:], choices)
        network = config.network
        assert (network.filters, network.detail_filters) == (filters, detail)
        assert network.stem_stride == stem
        is_changed = network != PRESETS[preset]
        assert is_changed == any("what is thin is 4.0 pixels wide" in why for why in reasons)

    def test_thin_structures_of_small_images_do_not_cost_a_level(self, dataset):
        images = [ImageSizes((200, 200), np.zeros(0), {255: (4.0, 900)})] * 4
        config, _ = choose_config(dataset, images, *FRAMES[1:], parse_choices({}, "the options"))
        assert (config.scale.policy, config.network.depth) == ("resize", 5)
        assert config.network.detail_filters == 16

    def test_a_third_of_the_crops_have_a_rare_class(self, dataset):
        assert choose(dataset, FRAMES).training.class_crops == pytest.approx(1 / 3)

    def test_without_a_preset_the_encoder_is_pretrained(self, dataset, monkeypatch):
        assert choose(dataset, PHOTOS).preset == "pretrained"
        # What is given of a network belongs to one from scratch.
        assert choose(dataset, PHOTOS, {"network": {"residual": False}}).preset == "fast"
        monkeypatch.setattr(efficientnet_lite0, "PACKAGE", "no_such_package")
        assert choose(dataset, PHOTOS).preset == "fast"

    @pytest.mark.parametrize("encoder", ENCODERS)
    def test_an_encoder_brings_the_preset_and_pixels_that_fit_it(self, dataset, encoder):
        config = choose(dataset, FRAMES, {"network": {"encoder": encoder}})
        assert (config.preset, config.training.encoder_rate) == ("pretrained", 0.1)
        fitted = fitted_network("pretrained", is_native=True, is_thin=False)
        assert config.network == replace(fitted, encoder=encoder)
        assert config.normalization == ENCODER_NORMALIZATION
        given = {"preset": "fast", "network": {"encoder": encoder, "stem_stride": 1}}
        assert choose(dataset, PHOTOS, given).normalization == ENCODER_NORMALIZATION
        own = choose(dataset, PHOTOS, {"network": {"encoder": "unet"}})
        assert (own.preset, own.normalization.add) == ("fast", -1.0)

    def test_a_file_of_weights_is_found_from_any_folder(self, dataset):
        given = {"network": {"encoder": "resnet50"}, "training": {"encoder_weights": "mine.h5"}}
        weights = choose(dataset, PHOTOS, given).training.encoder_weights
        assert weights == str(Path("mine.h5").resolve())

    def test_small_images_of_one_size_are_not_cropped(self, dataset):
        scale = choose(dataset, ([(100, 130)] * 4, *PHOTOS[1:])).scale
        # the next multiples of the stride of 32
        assert (scale.policy, scale.height, scale.width) == ("resize", 128, 160)

    def test_the_paper_preset_has_its_own_tile_size(self, dataset):
        scale = choose(dataset, FRAMES, {"preset": "paper"}).scale
        assert (scale.height, scale.width) == (388, 388)

    def test_the_notebook_preset_trains_as_the_notebook_does(self, dataset):
        config = choose(dataset, PHOTOS, {"preset": "notebook"})
        assert config.augmentation == NO_AUGMENTATION
        assert config.normalization.multiply == 1 / 256
        training = config.training
        assert (training.optimizer, training.loss, training.batch_size) == (
            "adam",
            {"cross_entropy": 1.0},
            32,
        )
        # 20 times 100 samples are 63 steps of 32; 5 epochs of 4 steps are at least 20 steps
        assert (training.steps, training.steps_per_validation) == (63, 20)

    def test_epochs_are_passes_over_the_training_pairs(self, dataset):
        training = choose(dataset, PHOTOS, {"training": {"batch_size": 4}}, epochs=3).training
        # 100 / 4 = 25 steps per pass
        assert (training.steps, training.steps_per_validation) == (75, 25)

    def test_an_epoch_of_crops_covers_the_frames(self, dataset):
        training = choose(dataset, FRAMES, {"training": {"batch_size": 4}}, epochs=1).training
        # 512 * 512 / (192 * 192) = 7.11 crops per frame, 100 frames: 711 samples, 178 steps of 4
        assert training.steps == 178

    def test_few_samples_are_not_seen_more_often_than_asked(self, dataset):
        few = (PHOTOS[0][:20], *PHOTOS[1:])
        training = choose(dataset, few, epochs=1).training
        assert training.steps == 2  # of 16 samples

    def test_steps_are_taken_as_they_are(self, dataset):
        asked = {"training": {"steps": 31, "steps_per_validation": 10}}
        assert choose(dataset, PHOTOS, asked).training.steps == 31

    def test_validation_follows_at_least_every_200_steps(self, dataset):
        many = (PHOTOS[0] * 1000, *PHOTOS[1:])
        assert choose(dataset, many).training.steps_per_validation == 200

    def test_given_values_override_defaults(self, dataset):
        given = {
            "scale": {"fit": "letterbox"},
            "training": {"learning_rate": 1, "loss": "dice"},
            "network": {"filters": [4, 8]},
            "classes": {"names": ["a", "b", "c"], "values": [1, 2, 3], "background": 1},
            "pixels": {"low": [3], "high": [250.0]},
            "sources": {"masks": "*_seg"},
            "split": {"group_by": "(dish)"},
        }
        config = choose(dataset, PHOTOS, given)
        assert config.scale.fit == "letterbox"
        assert config.training.learning_rate == 1.0
        assert config.network.filters == (4, 8)
        assert config.classes.names == ("a", "b", "c")
        assert config.pixels == PixelFormat(3, low=(3.0,), high=(250.0,))
        assert config.sources == Sources(masks="*_seg")
        assert config.split.group_by == "(dish)"

    def test_a_split_file_is_found_from_any_folder(self, dataset, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        config = choose(dataset, PHOTOS, {"split": {"file": "mine.json"}})
        assert config.split.file == str(tmp_path / "mine.json")

    def test_data_are_found_from_any_folder(self, folder, monkeypatch):
        (folder / "pairs.csv").write_text("image,mask\nimages/photo_00.jpg,masks/photo_00.png\n")
        monkeypatch.chdir(folder.parent)
        for name in ("data", "data/pairs.csv"):
            config = choose(find_dataset(name), PHOTOS)
            assert config.data == str(folder.parent / name)


class TestGather:
    def test_arguments_override_the_configuration(self):
        config = {"data": "one", "scale": {"height": 32, "fit": "letterbox"}, "split": {"seed": 1}}
        choices = gather_choices(config, data="two", size=(64, 96), seed=7)
        assert choices.data == "two"
        assert choices.scale.given == {"height": 64, "width": 96, "fit": "letterbox"}
        assert choices.split.given == choices.training.given == {"seed": 7}

    def test_a_side_is_height_and_width(self):
        assert gather_choices({"data": "x"}, size=64).scale.given == {"height": 64, "width": 64}

    def test_checked_choices_are_not_parsed_again(self):
        choices = gather_choices({"data": "x", "training": {"loss": "dice"}})
        assert gather_choices(choices) == choices

    def test_data_must_be_given(self):
        with pytest.raises(ConfigError, match="no data are given; accepted is a folder"):
            gather_choices({})

    def test_an_unknown_preset_is_refused_before_the_data_are_read(self):
        with pytest.raises(ConfigError, match=r"preset 'fats' is unknown; .*did you mean 'fast'\?"):
            gather_choices({"data": "does not exist"}, preset="fats")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"size": 12.5}, "height in size is 12.5; accepted is int"),
            ({"size": ("a", 3)}, "height in size is 'a'; accepted is int"),
            ({"seed": "x"}, "seed in the options is 'x'; accepted is int"),
        ],
    )
    def test_arguments_of_a_wrong_type_are_refused(self, arguments, message):
        with pytest.raises(ConfigError, match=message):
            gather_choices({"data": "x"}, **arguments)


class TestRefusals:
    @pytest.mark.parametrize(
        ("section", "values", "message"),
        [
            ("training", {"batch_size": "4"}, "batch_size in .* is '4'; accepted is int"),
            ("training", {"learning_rate": True}, "learning_rate in .* is True; accepted is float"),
            ("training", {"loss": "dise"}, "loss 'dise' is unknown; .*did you mean 'dice'"),
            ("network", {"filters": [1.5, 2]}, "filters in .* is"),
            ("network", {"filters": [4]}, r"filters is \[4\]; accepted are at least two"),
            ("network", {"padding": "full"}, "padding is 'full'; accepted are 'same', 'valid'"),
            ("scale", {"policy": "crop"}, "policy is 'crop'; accepted are 'resize', 'native'"),
            ("augmentation", {"rotation": -3}, "rotation is -3.0; accepted are values from 0"),
            ("training", {"seed": -1}, "seed is -1; accepted are whole numbers from 0"),
            ("split", {"seed": 5_000_000_000}, "seed is 5000000000"),
            ("normalization", {"multiply": 0.0}, "times 0.0, plus -0.99"),
            ("network", {"filters": 16}, "filters in .* is 16; accepted is tuple"),
            ("network", {"filters": {16, 32}}, r"filters in .* is \{.*\}; accepted is tuple"),
            ("classes", {"names": 5}, "names in .* is 5; accepted is tuple"),
            ("classes", {"names": ["a", "b"]}, "have 2 names, 3 values and 3 colours; accepted"),
            ("classes", {"kind": "class"}, "kind is 'class'; .*did you mean 'classes'"),
            ("classes", {"ignore": 2}, "2 is both a class and the value to ignore"),
            ("classes", {"ignore": "255"}, "ignore in .* is '255'; accepted is int"),
            ("classes", {"threshold": 127}, "threshold is 127 for 3 classes"),
            ("pixels", {"channels": 0}, "channels is 0; accepted are 1 to 256"),
            ("pixels", {"channels": 3.0}, "channels in .* is 3.0; accepted is int"),
            ("pixels", {"dtype": "int16"}, "dtype is 'int16'; accepted are 'uint8', 'uint16'"),
            ("pixels", {"low": 0}, "low in .* is 0; accepted is tuple"),
            ("pixels", {"low": [300]}, r"low is \[300\] and high \[255.0\]; accepted is one"),
            ("pixels", {"high": [1, 2]}, r"high \[1, 2\]; .*3 channels, low below high"),
            ("sources", {"channel_axis": "middle"}, "channel_axis is 'middle'; accepted are auto"),
            ("sources", {"skip_bad": 1}, "skip_bad in .* is 1; accepted is bool"),
            ("sources", {"masks": ["GT"]}, "masks in .*; accepted is str"),
            ("split", {"group_by": "("}, "group_by is '\\(', which is not a regular expression"),
            ("split", {"test_fraction": 1.0}, "test_fraction 1.0; accepted are fractions"),
            ("split", {"file": 5}, "file in .* is 5; accepted is str"),
            ("classes", {"background": 7}, "background is class 7; accepted are indices"),
            ("classes", {"colours": [[1, 2, 999]] * 3}, "colours are .*; accepted are three whole"),
            ("classes", {"names": ["a", "b", "c\x00"]}, "unprintable characters"),
        ],
    )
    def test_values_that_are_not_accepted(self, dataset, section, values, message):
        with pytest.raises(ConfigError, match=message):
            choose(dataset, PHOTOS, {section: values})

    def test_an_unknown_preset_gets_a_suggestion(self, dataset):
        with pytest.raises(ConfigError, match=r"preset 'fats' is unknown; .*did you mean 'fast'\?"):
            choose(dataset, PHOTOS, {"preset": "fats"})

    def test_the_tiny_configuration_of_the_tests_is_accepted(self, dataset):
        assert choose(dataset, PHOTOS, TINY_CONFIG).training.steps == 4


class TestPrecision:
    """On a CPU with instructions for bfloat16, two presets use them; published trainings do not."""

    @pytest.fixture(autouse=True)
    def processor(self, monkeypatch):
        monkeypatch.setattr(backend, "fastest_precision", lambda device: "mixed_bfloat16")

    def prepared(self, folder, device="cpu:0", **given):
        choices = gather_choices(
            {"preset": "fast", "scale": {"height": 32, "width": 32}, **given}, data=folder
        )
        return prepare(find_chosen_dataset(choices), choices, None, device, Display())

    @pytest.mark.parametrize(
        ("preset", "expected"),
        [
            ("pretrained", "mixed_bfloat16"),
            ("fast", "mixed_bfloat16"),
            ("notebook", "float32"),
        ],
    )
    def test_it_is_that_of_the_preset(self, folder, preset, expected):
        data, config = self.prepared(folder, preset=preset)
        assert config.training.precision == expected
        is_said = f"precision {expected}: cpu:0 computes faster in it" in data.reasons
        assert is_said is (expected != "float32")

    def test_gpus_keep_single_precision_unless_told(self, folder):
        assert self.prepared(folder, "gpu:0")[1].training.precision == "float32"
        asked = self.prepared(folder, "gpu:0", training={"precision": "auto"})[1]
        assert asked.training.precision == "mixed_bfloat16"

    def test_what_is_given_stays(self, folder):
        _, config = self.prepared(folder, training={"precision": "float32"})
        assert config.training.precision == "float32"
        # As a resumed run, whose configuration gives every value.
        started = gather_choices(Choices.of(config), data=folder)
        _, again = prepare(find_chosen_dataset(started), started, None, "cpu:0", Display())
        assert again.training.precision == "float32"
