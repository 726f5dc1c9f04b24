"""One service of the built-in network for the tests of a file."""

import pytest

from tests.serving import serving
from unetkit.prediction.predictor import Predictor


@pytest.fixture(scope="session")
def built_in():
    return Predictor(memory=2 << 30)


@pytest.fixture(scope="module")
def service(built_in):
    with serving(built_in) as running:
        yield running
