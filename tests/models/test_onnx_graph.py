"""Layers become nodes with the same output, for every stride, kernel and edge."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers

from tests.models.test_onnx_export import make_spec
from unetkit.data.scale import Scale
from unetkit.errors import ModelFileError
from unetkit.models.keras_encoders import Gelu
from unetkit.models.normalization import BatchNormalization, LayerNormalization
from unetkit.models.onnx_graph import IR_VERSION, OPSET, onnx_model
from unetkit.models.spec import Normalization
from unetkit.models.unet import UNetConfig

pytestmark = pytest.mark.contract
IMAGES = np.random.default_rng(0).normal(0, 1, (2, 8, 12, 3)).astype(np.float32)
SPEC = make_spec(UNetConfig(filters=(4, 8)), Scale("native", 8, 12), Normalization(1.0, 0.0))


def network(*kinds):
    """Layers one after another, none of whose weights is as it was built."""
    rng = np.random.default_rng(1)
    image = x = layers.Input((None, None, 3), name="image")
    for kind in kinds:
        x = kind(x)
    model = keras.Model(image, x)
    for weight in model.weights:
        weight.assign(rng.uniform(0.2, 2, weight.shape))
    return model


def run(made):
    onnx.checker.check_model(made, full_check=True)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    assert [value.name for value in session.get_inputs()] == ["image"]
    assert [value.name for value in session.get_outputs()] == ["logits"]
    return session.run(None, {"image": IMAGES})[0]


def kinds_of(made):
    return [node.op_type for node in made.graph.node]


@pytest.mark.parametrize(
    "layer",
    [
        *(
            lambda kernel=kernel, strides=strides, padding=padding: layers.Conv2D(
                4, kernel, strides=strides, padding=padding
            )
            for kernel, strides in ((1, 1), (3, 1), (3, 2), (5, 2), (2, 2), ((3, 5), (1, 2)))
            for padding in ("same", "valid")
        ),
        lambda: layers.Conv2D(4, 3, padding="same", dilation_rate=2),
        lambda: layers.Conv2D(6, 3, padding="same", groups=3),
        *(
            lambda kernel=kernel, strides=strides: layers.DepthwiseConv2D(
                kernel, strides=strides, padding="same", depth_multiplier=2
            )
            for kernel in (3, 5)
            for strides in (1, 2)
        ),
        *(
            lambda kernel=kernel: layers.Conv2DTranspose(4, kernel, strides=2, padding="same")
            for kernel in (1, 2, 3, 4, 5)
        ),
        lambda: layers.MaxPooling2D(2),
        lambda: layers.MaxPooling2D(3, 2),
        lambda: layers.MaxPooling2D(3, 2, padding="same"),
        lambda: layers.ZeroPadding2D(((1, 2), (0, 3))),
        lambda: layers.Rescaling(0.5, offset=[1.0, 2.0, -3.0]),
        lambda: layers.Rescaling(1.0, offset=2.0),
        lambda: LayerNormalization(),
        lambda: Gelu(),
        lambda: layers.ReLU(),
        lambda: layers.ReLU(0.5),
        lambda: layers.Dropout(0.5),
        lambda: layers.Cropping2D(((1, 2), (0, 3))),
        lambda: layers.BatchNormalization(),
    ],
)
def test_a_layer_has_the_output_of_keras(layer):
    model = network(layer())
    expected = keras.ops.convert_to_numpy(model(IMAGES, training=False))
    np.testing.assert_allclose(run(onnx_model(model, SPEC)), expected, rtol=1e-5, atol=1e-5)


def test_batch_norm_is_folded_by_hand():
    norm = BatchNormalization(epsilon=0.25)
    model = network(layers.Conv2D(1, 1, use_bias=False), norm)
    model.layers[1].set_weights([np.full((1, 1, 3, 1), 2.0)])
    norm.set_weights([np.array([number]) for number in (3.0, 5.0, 4.0, 2.0)])
    made = onnx_model(model, SPEC)
    kernel, bias = (
        onnx.numpy_helper.to_array(array)
        for array in made.graph.initializer
        if "conv" in array.name
    )
    # gamma / sqrt(variance + epsilon) = 3 / sqrt(2 + 0.25) = 2; 2 * 2 = 4; 5 - 4 * 2 = -3
    assert kernel.tolist() == [[[[4.0]], [[4.0]], [[4.0]]]]
    assert bias.tolist() == [-3.0]
    assert kinds_of(made) == ["Mul", "Add", "Transpose", "Conv", "Transpose"]


def test_a_convolution_that_others_see_too_keeps_its_batch_norm_apart():
    image = layers.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    model = keras.Model(image, layers.Add()([x, layers.BatchNormalization()(x)]))
    model.layers[2].set_weights([np.full(4, number) for number in (3.0, 5.0, 4.0, 2.0)])
    made = onnx_model(model, SPEC)
    assert kinds_of(made)[3:] == ["Conv", "Mul", "Add", "Add", "Transpose"]
    expected = keras.ops.convert_to_numpy(model(IMAGES, training=False))
    np.testing.assert_allclose(run(made), expected, rtol=1e-5, atol=1e-5)


def test_old_runtimes_read_it():
    made = onnx_model(network(layers.ReLU()), SPEC)
    assert (made.ir_version, made.opset_import[0].version) == (IR_VERSION, OPSET) == (8, 17)


def test_a_layer_that_is_unknown_is_named():
    with pytest.raises(
        ModelFileError,
        match=r"layer 'mean' is of the kind AveragePooling2D, which is not exported; accepted are "
        r"Add, BatchNormalization, .*Conv2DTranspose",
    ):
        onnx_model(network(layers.AveragePooling2D(2, name="mean")), SPEC)


def decoder_of(first, second, wanted=3):
    """Features of the image, joined with others of it, and convolved once or more."""
    image = layers.Input((None, None, 3), name="image")
    parts = [
        image if width == 3 else layers.Conv2D(width, 1, name=f"features{place}")(image)
        for place, width in enumerate((first, second))
    ]
    joined = layers.Concatenate(name="joined")(parts)
    outputs = [layers.Conv2D(wanted, 3, padding="same")(joined) for _ in range(wanted - 2)]
    model = keras.Model(image, outputs[0] if len(outputs) == 1 else layers.Add()(outputs))
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.uniform(-1, 1, weight.shape))
    return model


@pytest.mark.parametrize("widths", [(16, 3), (3, 32), (16, 5)])
def test_a_map_with_few_channels_more_is_not_joined(widths):
    model = decoder_of(*widths)
    made = onnx_model(model, SPEC)
    assert "Concat" not in kinds_of(made)
    expected = keras.ops.convert_to_numpy(model(IMAGES))
    assert np.abs(run(made) - expected).max() < 1e-5 * np.ptp(expected)


@pytest.mark.parametrize("widths", [(16, 16), (5, 3), (16, 32)])
def test_other_maps_are_joined(widths):
    assert kinds_of(onnx_model(decoder_of(*widths), SPEC)).count("Concat") == 1


def test_maps_with_several_consumers_are_joined():
    model = decoder_of(16, 3, wanted=4)
    made = onnx_model(model, SPEC)
    assert kinds_of(made).count("Concat") == 1
    expected = keras.ops.convert_to_numpy(model(IMAGES))
    assert np.abs(run(made) - expected).max() < 1e-5 * np.ptp(expected)
