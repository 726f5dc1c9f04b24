"""A model file whose layers are listed, so that its network can be read back."""

import pytest

from tests.models.test_onnx_import import export_to, some_network
from unetkit.models.unet import UNetConfig

NETWORK = UNetConfig(filters=(4, 6, 8), head_filters=4)


@pytest.fixture(scope="session")
def listed_model(tmp_path_factory):
    """Takes colour images of any size, and was trained on 32x40; three classes, stride 8."""
    path = tmp_path_factory.mktemp("listed") / "listed.onnx"
    return export_to(path, some_network(NETWORK), NETWORK)
