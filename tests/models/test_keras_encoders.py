"""Encoders of `keras.applications` against Keras's networks, and their weights over loopback."""

import hashlib
import re
import socket
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras.src.applications import convnext, resnet

from tests.loopback import (
    Listener,
    Server,
    closed_port,
    deliver,
    refuse,
    spoil,
    stall,
    stay_on_loopback,
)
from unetkit._shared.display import Display
from unetkit.errors import DataNotFoundError, ModelFileError
from unetkit.models import keras_encoders
from unetkit.models.encoders import ENCODER_NORMALIZATION, load_pretrained
from unetkit.models.keras_encoders import KERAS_ENCODERS, fetch_weights
from unetkit.models.unet import PRESETS, build_unet

NAMES = tuple(KERAS_ENCODERS)
LEVELS = 5
PREPROCESSING = {  # as Keras documents it; ConvNeXt has it inside
    "resnet50": keras.applications.resnet50.preprocess_input,
    "convnext_tiny": keras.applications.convnext.preprocess_input,
}
PUBLISHED = {"resnet50": resnet, "convnext_tiny": convnext}


def unlike_new(model: keras.Model) -> None:
    """Weights as after a training: statistics, scales and biases differ from 0 and 1."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        kind = weight.path.split("/")[-1]
        if kind in ("gamma", "moving_variance", "variable"):  # the last one is that of LayerScale
            weight.assign(rng.uniform(0.3, 0.7, weight.shape))
        elif kind != "kernel":
            weight.assign(rng.normal(0, 0.1, weight.shape))


@pytest.fixture(scope="module", params=NAMES)
def original(request):
    """Name and network of Keras, with weights that nobody has trained."""
    constructor = getattr(keras.applications, KERAS_ENCODERS[request.param].constructor)
    model = constructor(include_top=False, weights=None, input_shape=(None, None, 3))
    unlike_new(model)
    return request.param, model


@pytest.fixture(scope="module")
def file(original, tmp_path_factory):
    """Its weights in the format of the files that Keras publishes."""
    path = tmp_path_factory.mktemp("weights") / "published.h5"
    original[1].save(path)
    return path


@pytest.fixture(scope="module")
def network(original, file):
    model = build_unet(
        replace(PRESETS["pretrained"], encoder=original[0], filters=(2,) * LEVELS), num_classes=2
    )
    load_pretrained(model, original[0], str(file))
    return model


def inner_outputs(name: str, model: keras.Model) -> list:
    """Keras's features by level: the outputs before each stage halves them, and the last one."""
    if name == "resnet50":
        ends = [
            "conv1_relu",
            *(f"conv{s}_block{n}_out" for s, n in zip("2345", "3463", strict=True)),
        ]
        return [model.get_layer(end).output for end in ends]
    sums = [each.output for each in model.operations if type(each).__name__ == "Add"]
    return [sums[place] for place in (2, 5, 14, 17)]  # of 3, 3, 9 and 3 blocks


def own_outputs(name: str, model: keras.Model) -> list:
    """The encoder's features by level: what the decoder concatenates, and what it begins with."""
    skips = [
        model.get_layer(f"decoder{level}_concat").input[1]
        for level in range(2 if name == "convnext_tiny" else 1, LEVELS)
    ]
    return [*skips, model.get_layer(f"decoder{LEVELS - 1}_up").input]


def features(model: keras.Model, outputs: list, images: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(each) for each in keras.Model(model.input, outputs)(images)]


def photo(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (1, 64, 96, channels)).astype(np.float32)


class TestFeatures:
    def test_each_level_has_those_of_keras_up_to_the_edges(self, original, network):
        name, theirs = original
        image = photo()
        wanted = features(theirs, inner_outputs(name, theirs), PREPROCESSING[name](image.copy()))
        found = features(network, own_outputs(name, network), ENCODER_NORMALIZATION.apply(image))
        strides = [4, 8, 16, 32] if name == "convnext_tiny" else [2, 4, 8, 16, 32]
        assert [64 // each.shape[1] for each in found] == strides
        for one, other in zip(found, wanted, strict=True):
            assert one.shape == other.shape
            assert np.abs(one - other).max() < 1e-5 * np.abs(other).max()

    @pytest.mark.parametrize("channels", [1, 5])
    def test_equal_channels_have_those_of_a_grey_photo(self, original, file, network, channels):
        name, _ = original
        config = replace(PRESETS["pretrained"], encoder=name, filters=(2, 2))
        other = build_unet(config, in_channels=channels, num_classes=2)
        load_pretrained(other, name, str(file))
        grey = ENCODER_NORMALIZATION.apply(photo(1))
        stems = []
        for model in (network, other):
            (stem,) = [layer for layer in model.layers if layer.name.endswith("_stem")]
            image = np.repeat(grey, model.input.shape[-1], axis=3)
            stems.append(np.asarray(keras.Model(model.input, stem.output)(image))[0])
        inner = (slice(2, -2), slice(2, -2))  # the edges are padded with the mean
        assert np.allclose(stems[0][inner], stems[1][inner], atol=1e-4 * np.abs(stems[0]).max())

    def test_weights_by_name_are_the_same(self, original, tmp_path, network):
        name, theirs = original
        theirs.save_weights(tmp_path / "mine.weights.h5")
        before = network.get_weights()
        count = load_pretrained(network, name, str(tmp_path / "mine.weights.h5"))
        encoder = [layer for layer in network.layers if layer.name.startswith("encoder")]
        assert count == sum(layer.count_params() for layer in encoder)
        assert all(map(np.array_equal, network.get_weights(), before))


class TestTable:
    @pytest.mark.parametrize("name", NAMES)
    def test_steps_are_those_of_the_layers(self, name):
        steps: list[list[tuple[int, ...]]] = [[] for _ in range(LEVELS)]
        padding = None
        for record in keras_encoders._records(name):
            size = record.config.get("kernel_size") or record.config.get("pool_size") or [1]
            stride = record.config.get("strides", [1])[0]
            if record.kind == "ZeroPadding2D":
                padding = record.config["padding"][0][0]
            elif not record.source.endswith("_0_conv") and (size[0], stride) != (1, 1):
                own = (size[0], stride) if padding is None else (size[0], stride, padding)
                steps[record.level - 1].append(own)
                padding = None
        assert [tuple(each) or None for each in steps] == list(KERAS_ENCODERS[name].steps)

    @pytest.mark.parametrize("name", NAMES)
    def test_address_and_digest_are_those_of_keras(self, name):
        encoder, source = KERAS_ENCODERS[name], PUBLISHED[name]
        assert encoder.digest == source.WEIGHTS_HASHES[name][1]
        assert encoder.address == source.BASE_WEIGHTS_PATH + encoder.weights_file

    def test_the_seed_of_a_network_does_not_depend_on_what_was_built_before(self):
        config = replace(PRESETS["pretrained"], encoder="resnet50", filters=(2, 2))
        built = []
        for _ in range(2):
            if not built:
                keras_encoders._records.cache_clear()
            keras.utils.set_random_seed(7)
            built.append(build_unet(config).get_weights())
        assert all(map(np.array_equal, *built))


class TestFile:
    def test_one_of_another_network_is_refused(self, tmp_path):
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "other.h5")
        model = build_unet(replace(PRESETS["pretrained"], encoder="resnet50", filters=(2, 2)))
        message = (
            r"other\.h5 cannot be loaded \(.*\); accepted are weights of keras\.applications\."
            r"ResNet50 with include_top=False, such as https://"
        )
        with pytest.raises(ModelFileError, match=message):
            load_pretrained(model, "resnet50", str(tmp_path / "other.h5"))

    def test_one_of_another_kind_is_refused(self, tmp_path):
        (tmp_path / "notes.h5").write_text("no weights")
        model = build_unet(replace(PRESETS["pretrained"], encoder="resnet50", filters=(2, 2)))
        with pytest.raises(ModelFileError, match=r"notes\.h5 cannot be loaded"):
            load_pretrained(model, "resnet50", str(tmp_path / "notes.h5"))


CONTENT = bytes(range(256)) * 2000  # half a megabyte of what stands for weights


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Keras's cache, empty; no network but loopback."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    stay_on_loopback(monkeypatch)
    return tmp_path / "keras" / "models"


def publish(monkeypatch, name: str, address: str, content: bytes) -> str:
    """Makes an encoder's weights those of an address; returns the name of the file."""
    file = KERAS_ENCODERS[name].weights_file
    digest = hashlib.sha256(content).hexdigest()
    changed = replace(KERAS_ENCODERS[name], address=address + file, digest=digest)
    monkeypatch.setitem(KERAS_ENCODERS, name, changed)
    return file


@pytest.fixture
def server(monkeypatch):
    file = KERAS_ENCODERS["resnet50"].weights_file
    with Server({file: CONTENT}) as server:
        publish(monkeypatch, "resnet50", server.url(), CONTENT)
        server.file = file
        yield server


class TestDownload:
    def test_it_is_kept_in_the_cache_of_keras(self, cache, server, capsys):
        shown = Listener()
        path = fetch_weights("resnet50", shown)
        assert path == cache / server.file
        assert path.read_bytes() == CONTENT
        (said,) = shown.said
        assert said == f"weights   downloading {server.url()}{server.file} to {cache}"
        assert fetch_weights("resnet50", shown) == path
        assert (len(server.log), len(shown.said)) == (1, 1)
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (deliver(cut=100_000), "retrieval incomplete"),
            (spoil(), "hash does not match"),
            (refuse(404), "404 -- Not Found"),
            (refuse(503), "503 -- Service Unavailable"),
        ],
    )
    def test_one_that_fails_leaves_nothing(self, cache, server, answer, reason):
        server.answers[("", server.file)] = [answer]
        with pytest.raises(DataNotFoundError, match=reason) as refusal:
            fetch_weights("resnet50", Display())
        assert list(cache.iterdir()) == []
        assert re.search(
            r"the weights of resnet50 could not be downloaded \(.*\); accepted is a network "
            rf"connection, or the file {server.url()}{server.file} as {cache / server.file}, or "
            r'under any other path in encoder_weights = "PATH\.h5" of \[training\]; '
            r'encoder_weights = "random" trains without them',
            str(refusal.value),
        )

    def test_a_damaged_file_in_the_cache_is_replaced(self, cache, server):
        cache.mkdir(parents=True)
        (cache / server.file).write_bytes(CONTENT[:1000])
        assert fetch_weights("resnet50", Display()).read_bytes() == CONTENT

    def test_a_server_that_falls_silent_is_given_up(self, cache, server, monkeypatch):
        monkeypatch.setattr(keras_encoders, "READ_SECONDS", 0.2)
        server.answers[("", server.file)] = [stall(after=50_000)]
        with pytest.raises(DataNotFoundError, match=r"could not be downloaded \(.*timed out"):
            fetch_weights("resnet50", Display())
        assert list(cache.iterdir()) == []
        assert socket.getdefaulttimeout() is None

    def test_nobody_listens(self, cache, monkeypatch):
        publish(monkeypatch, "resnet50", closed_port(), CONTENT)
        with pytest.raises(DataNotFoundError, match=r"downloaded \(.*Connection refused"):
            fetch_weights("resnet50", Display())

    def test_without_a_network_it_says_what_to_do(self, cache):
        with pytest.raises(DataNotFoundError, match=r"no network in this test\); accepted is"):
            fetch_weights("convnext_tiny", Display())

    def test_the_network_has_what_the_server_has(self, cache, monkeypatch, original, file, network):
        name, _ = original
        content = file.read_bytes()
        with Server({KERAS_ENCODERS[name].weights_file: content}) as server:
            publish(monkeypatch, name, server.url(), content)
            config = replace(PRESETS["pretrained"], encoder=name, filters=(2, 2))
            model = build_unet(config)
            assert load_pretrained(model, name) == sum(
                layer.count_params() for layer in model.layers if layer.name.startswith("encoder")
            )
        for layer in model.layers:
            if layer.name.startswith("encoder"):
                same = network.get_layer(layer.name).get_weights()
                assert all(map(np.array_equal, layer.get_weights(), same))
