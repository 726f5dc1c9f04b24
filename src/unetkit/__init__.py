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

__version__ = "0.1.0"

# TensorFlow leaves oneDNN's kernels off on CPUs without AVX-512, where they train `fast` 1.5 times
# as fast (docs/log.md, 2026-11-25). It looks only once, when it is loaded.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

if TYPE_CHECKING:
    from unetkit.cells import synthetic_cells, write_synthetic_cells
    from unetkit.comparison import compare
    from unetkit.crossvalidation import cross_validate, resume_folds
    from unetkit.datasets import synthetic_pet, write_synthetic_pets
    from unetkit.demonstration import demo
    from unetkit.errors import UnetkitError
    from unetkit.evaluation import evaluate
    from unetkit.exporting import export
    from unetkit.finding import Sources
    from unetkit.model import PRESETS, UNetConfig, build_unet
    from unetkit.overview import check
    from unetkit.oxford_pets import download_oxford_pets
    from unetkit.predictor import Predictor
    from unetkit.reporting import report
    from unetkit.runs import list_runs
    from unetkit.splits import SplitRule
    from unetkit.training import resume, train
    from unetkit.unet_drawing import draw_unet
    from unetkit.verification import verify

_HOMES = {
    "PRESETS": "model",
    "Predictor": "predictor",
    "Sources": "finding",
    "SplitRule": "splits",
    "UNetConfig": "model",
    "UnetkitError": "errors",
    "build_unet": "model",
    "check": "overview",
    "compare": "comparison",
    "cross_validate": "crossvalidation",
    "demo": "demonstration",
    "download_oxford_pets": "oxford_pets",
    "draw_unet": "unet_drawing",
    "evaluate": "evaluation",
    "export": "exporting",
    "list_runs": "runs",
    "report": "reporting",
    "resume": "training",
    "resume_folds": "crossvalidation",
    "synthetic_cells": "cells",
    "synthetic_pet": "datasets",
    "train": "training",
    "verify": "verification",
    "write_synthetic_cells": "cells",
    "write_synthetic_pets": "datasets",
}
_FROM_TRAIN_EXTRA = (
    "keras",
    "tensorflow",
    "jinja2",
    "matplotlib",
    "h5py",
    "psutil",
    "pooch",
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
