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
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from unetkit._version import __version__

# TensorFlow leaves oneDNN's kernels off on CPUs without AVX-512, where they train `fast` 1.5 times
# as fast (docs/log.md, 2026-11-25). It looks only once, when it is loaded.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

if TYPE_CHECKING:
    from unetkit.checks.report import check as check
    from unetkit.data.sources import Sources as Sources
    from unetkit.data.splits import SplitRule as SplitRule
    from unetkit.datasets.oxford_pets import download_oxford_pets as download_oxford_pets
    from unetkit.datasets.synthetic_cells import synthetic_cells as synthetic_cells
    from unetkit.datasets.synthetic_cells import write_synthetic_cells as write_synthetic_cells
    from unetkit.datasets.synthetic_pets import synthetic_pet as synthetic_pet
    from unetkit.datasets.synthetic_pets import write_synthetic_pets as write_synthetic_pets
    from unetkit.errors import UnetkitError as UnetkitError
    from unetkit.evaluation.comparison import compare as compare
    from unetkit.evaluation.evaluate import evaluate as evaluate
    from unetkit.evaluation.report import report as report
    from unetkit.exports.export import export as export
    from unetkit.models.unet import PRESETS as PRESETS
    from unetkit.models.unet import UNetConfig as UNetConfig
    from unetkit.models.unet import build_unet as build_unet
    from unetkit.prediction.predictor import Predictor as Predictor
    from unetkit.results.from_arrays import cutout as cutout
    from unetkit.results.from_arrays import overlay as overlay
    from unetkit.results.from_arrays import polygons as polygons
    from unetkit.results.from_arrays import table as table
    from unetkit.runs.demo import demo as demo
    from unetkit.runs.listing import list_runs as list_runs
    from unetkit.runs.verification import verify as verify
    from unetkit.training.cross_validation import cross_validate as cross_validate
    from unetkit.training.cross_validation import resume_folds as resume_folds
    from unetkit.training.train import resume as resume
    from unetkit.training.train import train as train
    from unetkit.visualization.unet_diagram import draw_unet as draw_unet

_MODULE_OF = {
    "PRESETS": "models.unet",
    "Predictor": "prediction.predictor",
    "Sources": "data.sources",
    "SplitRule": "data.splits",
    "UNetConfig": "models.unet",
    "UnetkitError": "errors",
    "build_unet": "models.unet",
    "check": "checks.report",
    "compare": "evaluation.comparison",
    "cutout": "results.from_arrays",
    "cross_validate": "training.cross_validation",
    "demo": "runs.demo",
    "download_oxford_pets": "datasets.oxford_pets",
    "draw_unet": "visualization.unet_diagram",
    "evaluate": "evaluation.evaluate",
    "export": "exports.export",
    "list_runs": "runs.listing",
    "overlay": "results.from_arrays",
    "polygons": "results.from_arrays",
    "report": "evaluation.report",
    "resume": "training.train",
    "resume_folds": "training.cross_validation",
    "synthetic_cells": "datasets.synthetic_cells",
    "synthetic_pet": "datasets.synthetic_pets",
    "table": "results.from_arrays",
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
    "onnx",
)
_BACKENDS = ("jax", "torch")

__all__ = ["__version__", *_MODULE_OF]


def _choose_backend() -> None:
    """Lets Keras use JAX or PyTorch where TensorFlow, its default, is not installed."""
    if "KERAS_BACKEND" not in os.environ and find_spec("tensorflow") is None:
        installed = [name for name in _BACKENDS if find_spec(name)]
        if installed:
            os.environ["KERAS_BACKEND"] = installed[0]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'unetkit' has no attribute {name!r}")
    _choose_backend()
    try:
        return getattr(import_module(f"unetkit.{_MODULE_OF[name]}"), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in _FROM_TRAIN_EXTRA and missing not in _BACKENDS:
            raise
        from unetkit._shared.installation import install_command
        from unetkit.errors import MissingExtraError

        if missing in _BACKENDS:
            remedy = f"pip install {missing}"
            if missing == "jax":
                remedy = f"for an NVIDIA GPU {install_command('gpu')}, else {remedy}"
            raise MissingExtraError(
                f"the Keras backend is {missing} (KERAS_BACKEND, or ~/.keras/keras.json), which is "
                f"not installed; {remedy}; or set KERAS_BACKEND=tensorflow"
            ) from error
        raise MissingExtraError(
            f"unetkit.{name} needs {error.name}, which is not installed; the bare install "
            f"predicts only; {install_command('train')}"
        ) from error


def __dir__() -> list[str]:
    return sorted(__all__)
