"""Several models that predict together: which they are, and whether they fit together.

Their probabilities are averaged at the size of the image, so that they may have different scales,
sizes and presets. How they are averaged is left to `certainty`.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from unetkit._shared import run_folder
from unetkit._shared.records import convert, read_json, refusing
from unetkit.errors import ConfigError, DataNotFoundError
from unetkit.models.spec import ModelSpec
from unetkit.prediction.engine import find_model


class _Folds(msgspec.Struct):
    """What is read of the plan of a cross-validation."""

    folds: int


def find_models(model: str | Path | Sequence[str | Path]) -> list[Path]:
    """Returns the model files of an ensemble.

    Args:
        model: Run folder, folder of a cross-validation, which stands for the models of all its
            folds, or .onnx file; or several of them.

    Raises:
        ConfigError: None is given.
        DataNotFoundError: One does not exist, or holds no model file, or a fold has none yet.
        DataError: The plan of a cross-validation is damaged.
    """
    given = [model] if isinstance(model, str | Path) else list(model)
    if not given:
        raise ConfigError(
            "no model is given; accepted are one or several, or None for the built-in network"
        )
    return [file for one in given for file in _files_of(Path(one))]


def _files_of(model: Path) -> list[Path]:
    plan = model / run_folder.PLAN
    if not plan.is_file():
        return [find_model(model)]
    with refusing(plan, "accepted is the folder of a cross-validation; name folds one by one"):
        folds = convert(read_json(plan), _Folds).folds
    files = [model / run_folder.FOLD.format(k) / run_folder.MODEL for k in range(1, folds + 1)]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DataNotFoundError(
            f"{missing[0]} of the cross-validation {model} does not exist; accepted are the models "
            f"of all {folds} folds; run: {shlex.join(['unetkit', 'train', '--resume', str(model)])}"
        )
    return files


def require_alike(specs: Sequence[ModelSpec], paths: Sequence[Path]) -> None:
    """Refuses models whose predictions have no mean.

    Args:
        specs: Metadata of the models.
        paths: Their files, for the message.

    Raises:
        ConfigError: Their classes, their images or their ways to tell objects apart differ.
    """
    first = _traits(specs[0])
    for spec, path in zip(specs[1:], paths[1:], strict=True):
        for (name, expected), found in zip(first.items(), _traits(spec).values(), strict=True):
            if found != expected:
                raise ConfigError(
                    f"{path} has {name} {found}, and {paths[0]} has {expected}; accepted are "
                    "models of the same classes, for the same images; leave one of them out"
                )


def _traits(spec: ModelSpec) -> dict[str, str]:
    """What models that predict together have in common, in words."""
    classes, background = spec.classes, spec.classes.background
    return {
        "the classes": ", ".join(classes.names),
        "the background": "none" if background is None else classes.names[background],
        "images of": f"{spec.pixels.channels} channels of {spec.pixels.dtype}",
        "objects told apart by": spec.objects.method,
    }
