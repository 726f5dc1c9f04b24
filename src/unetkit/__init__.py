"""U-Net image segmentation: train on a folder, evaluate honestly, predict anywhere.

    import unetkit

    run = unetkit.train("photos", minutes=20)
    figures = unetkit.evaluate(run, "photos")
    mask = unetkit.Predictor(run)("new.jpg")

The names below are the public ones. Each is imported when it is first used, so that importing the
package costs nothing, and predicting never starts a training framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from unetkit.datasets import synthetic_pet, write_synthetic_pets
    from unetkit.demonstration import demo
    from unetkit.errors import UnetkitError
    from unetkit.evaluation import evaluate
    from unetkit.exporting import export
    from unetkit.model import PRESETS, UNetConfig, build_unet
    from unetkit.prediction import Predictor
    from unetkit.training import train

_HOMES = {
    "PRESETS": "model",
    "Predictor": "prediction",
    "UNetConfig": "model",
    "UnetkitError": "errors",
    "build_unet": "model",
    "demo": "demonstration",
    "evaluate": "evaluation",
    "export": "exporting",
    "synthetic_pet": "datasets",
    "train": "training",
    "write_synthetic_pets": "datasets",
}
_FROM_TRAIN_EXTRA = (
    "keras",
    "tensorflow",
    "matplotlib",
    "sklearn",
    "tomli_w",
    "tf2onnx",
    "onnx",
    "jax",
    "torch",
)

__all__ = [
    "PRESETS",
    "Predictor",
    "UNetConfig",
    "UnetkitError",
    "__version__",
    "build_unet",
    "demo",
    "evaluate",
    "export",
    "synthetic_pet",
    "train",
    "write_synthetic_pets",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unetkit' has no attribute {name!r}")
    try:
        return getattr(import_module(f"unetkit.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _FROM_TRAIN_EXTRA:
            raise
        from unetkit.errors import MissingExtraError

        raise MissingExtraError(
            f"unetkit.{name} needs {error.name}, which is not installed; the bare install "
            'predicts only; pip install "unetkit[train]"'
        ) from error


def __dir__() -> list[str]:
    return sorted(__all__)
