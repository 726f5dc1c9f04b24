"""U-Net image segmentation: train on a folder, evaluate honestly, predict anywhere.

    import unetkit

    run = unetkit.train("photos", minutes=20)
    figures = unetkit.evaluate(run, "photos")
    mask = unetkit.Predictor(run)("new.jpg")

The names below are the public ones. Each is imported when it is first used, so that importing the
package costs nothing, and predicting never starts a training framework.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from unetkit._version import __version__

# TensorFlow leaves oneDNN's kernels off on CPUs without AVX-512, where they train `fast` 1.5 times
# as fast (docs/log.md, 2026-11-25). It looks only once, when it is loaded.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

if TYPE_CHECKING:
    from unetkit.checks.report import check
    from unetkit.data.dataset import Sources
    from unetkit.data.splits import SplitRule
    from unetkit.datasets.oxford_pets import download_oxford_pets
    from unetkit.datasets.synthetic_cells import synthetic_cells, write_synthetic_cells
    from unetkit.datasets.synthetic_pets import synthetic_pet, write_synthetic_pets
    from unetkit.errors import UnetkitError
    from unetkit.evaluation.comparison import compare
    from unetkit.evaluation.evaluate import evaluate
    from unetkit.evaluation.report import report
    from unetkit.models.unet import PRESETS, UNetConfig, build_unet
    from unetkit.prediction.predictor import Predictor
    from unetkit.runs.demo import demo
    from unetkit.runs.listing import list_runs
    from unetkit.runs.verification import verify
    from unetkit.training.cross_validation import cross_validate, resume_folds
    from unetkit.training.export import export
    from unetkit.training.train import resume, train
    from unetkit.visualization.unet_diagram import draw_unet

_HOMES = {
    "PRESETS": "models.unet",
    "Predictor": "prediction.predictor",
    "Sources": "data.dataset",
    "SplitRule": "data.splits",
    "UNetConfig": "models.unet",
    "UnetkitError": "errors",
    "build_unet": "models.unet",
    "check": "checks.report",
    "compare": "evaluation.comparison",
    "cross_validate": "training.cross_validation",
    "demo": "runs.demo",
    "download_oxford_pets": "datasets.oxford_pets",
    "draw_unet": "visualization.unet_diagram",
    "evaluate": "evaluation.evaluate",
    "export": "training.export",
    "list_runs": "runs.listing",
    "report": "evaluation.report",
    "resume": "training.train",
    "resume_folds": "training.cross_validation",
    "synthetic_cells": "datasets.synthetic_cells",
    "synthetic_pet": "datasets.synthetic_pets",
    "train": "training.train",
    "verify": "runs.verification",
    "write_synthetic_cells": "datasets.synthetic_cells",
    "write_synthetic_pets": "datasets.synthetic_pets",
}
_FROM_TRAIN_EXTRA = (
    "keras",
    "tensorflow",
    "jinja2",
    "matplotlib",
    "h5py",
    "psutil",
    "requests",
    "urllib3",
    "skimage",
    "sklearn",
    "tomli_w",
    "imageio",
    "tf2onnx",
    "onnx",
)
_BACKENDS = ("jax", "torch")

__all__ = [
    "PRESETS",
    "Predictor",
    "Sources",
    "SplitRule",
    "UNetConfig",
    "UnetkitError",
    "__version__",
    "build_unet",
    "check",
    "compare",
    "cross_validate",
    "demo",
    "download_oxford_pets",
    "draw_unet",
    "evaluate",
    "export",
    "list_runs",
    "report",
    "resume",
    "resume_folds",
    "synthetic_cells",
    "synthetic_pet",
    "train",
    "verify",
    "write_synthetic_cells",
    "write_synthetic_pets",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unetkit' has no attribute {name!r}")
    try:
        return getattr(import_module(f"unetkit.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in _FROM_TRAIN_EXTRA and missing not in _BACKENDS:
            raise
        from unetkit.errors import MissingExtraError

        if missing in _BACKENDS:
            raise MissingExtraError(
                f"the Keras backend is {missing} (KERAS_BACKEND, or ~/.keras/keras.json), which is "
                "not installed; accepted is one that is; install it, or set "
                "KERAS_BACKEND=tensorflow"
            ) from error
        raise MissingExtraError(
            f"unetkit.{name} needs {error.name}, which is not installed; the bare install "
            'predicts only; pip install "unetkit[train]"'
        ) from error


def __dir__() -> list[str]:
    return sorted(__all__)
