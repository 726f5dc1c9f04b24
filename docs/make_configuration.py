"""Writes the page on the keys of a configuration file: python docs/make_configuration.py.

Meanings are those of the docstrings of the sections, defaults those of the presets.
"""

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from unetkit.cli.main import main as command_line
from unetkit.cli.options import OTHER_KEYS
from unetkit.cli.options import SECTIONS as SECTION_OPTIONS
from unetkit.data.augmentation import MICROSCOPE_AUGMENTATION, PHOTO_AUGMENTATION
from unetkit.data.scale import Scale
from unetkit.data.sources import Sources
from unetkit.data.splits import SplitRule
from unetkit.models.unet import PRESETS
from unetkit.training.config import RECIPES, SECTIONS

PAGE = Path(__file__).parent / "reference" / "configuration.md"
HEAD = """\
# Configuration

`unetkit train DATA --config my.toml` takes any of the keys below from a TOML file; what the file
leaves out follows from the data and the preset. Options of the command line override the file. A
run folder's `config.toml` has every key with the value that the run used, so that `unetkit train
--config RUN/config.toml` trains the same again. From Python, `unetkit.train(data, config={...})`
takes the same keys as nested dictionaries.

```toml
preset = "pretrained"

[training]
minutes = 20
loss = { cross_entropy = 1.0, dice = 1.0 }
```

An unknown key, or a value of a wrong type, is an error that names what is accepted.

| key | meaning | option |
| --- | --- | --- |
| `data` | Folder of images and masks, or a table of pairs. | `DATA` |
| `preset` | Network and recipe: `pretrained`, `fast`, `notebook` or `paper`. | `--preset` |
"""
TITLES = {
    "sources": "Which files are images and which are masks. See [Folders of images](../data.md).",
    "classes": "What mask values mean. See [Folders of images](../data.md).",
    "pixels": "How pixel values of images become numbers from 0 to 255.",
    "network": "The architecture; the defaults are those of the preset.",
    "scale": "How images are brought to the network's scale. See [Scale](../scale.md).",
    "normalization": "From pixel values between 0 and 255 to the input of the network.",
    "split": "Which pairs are for training, validation and test.",
    "augmentation": "Random changes of training samples; the defaults depend on the scale policy.",
    "training": "How weights are trained. See [Training](../training.md).",
    "objects": "How objects are told apart. See [Objects](../objects.md).",
    "border_weight": "Weights between objects. See [Losses](../losses.md#border-weights).",
}
# Options that set several keys, or none of a section.
MORE_OPTIONS = {
    "scale": {"height": "--size", "width": "--size"},
    "split": {"seed": "--seed"},
    "training": {"seed": "--seed", "minutes": "--minutes", "steps": "--epochs"},
}
FROM_MASKS, FROM_IMAGES = "from the masks", "from the images"
FROM_VALIDATION = "from the validation pairs"


def make_page() -> str:
    """The page as Markdown."""
    return "\n".join([HEAD, *(make_section(name) for name in SECTIONS)])


def make_section(name: str) -> str:
    kind = SECTIONS[name]
    meanings, options = meanings_of(kind), options_of(name)
    names = [entry.name for entry in fields(kind)]
    columns = defaults_of(name, names)
    lines = [
        f"## {name}",
        "",
        TITLES[name],
        "",
        f"| key | meaning | {' | '.join(columns)} | option |",
        "| --- " * (3 + len(columns)) + "|",
    ]
    for place, key in enumerate(names):
        cells = [column[place] for column in columns.values()]
        row = [f"`{key}`", meanings[key], *cells, options.get(key, "")]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join([*lines, ""])


def defaults_of(name: str, keys: list[str]) -> dict[str, list[str]]:
    """Texts of the defaults of a section's keys, by the heads of their columns."""
    if name in ("classes", "pixels"):
        return {"default": [FROM_MASKS if name == "classes" else FROM_IMAGES] * len(keys)}
    if name == "objects":
        chosen = (FROM_MASKS if key == "method" else FROM_VALIDATION for key in keys)
        return {"default": list(chosen)}
    objects: dict[str, Any] = {"default": {"sources": Sources(), "split": SplitRule()}.get(name)}
    if name == "network":
        objects = dict(PRESETS)
    elif name in ("training", "normalization", "border_weight"):
        objects = {preset: getattr(recipe, name) for preset, recipe in RECIPES.items()}
    elif name == "augmentation":
        objects = {"`resize`": PHOTO_AUGMENTATION, "`native`": MICROSCOPE_AUGMENTATION}
    elif name == "scale":
        objects = {"default": Scale("resize", 1, 1)}
    columns = {
        head: [text_of(getattr(values, key)) for key in keys] for head, values in objects.items()
    }
    if name == "scale":
        columns["default"][:3] = [FROM_IMAGES] * 3  # policy, height, width
    if name == "training":
        for preset, column in columns.items():
            column[keys.index("steps_per_validation")] = FROM_IMAGES
            if RECIPES[preset].epochs:
                column[keys.index("steps")] = f"{RECIPES[preset].epochs} epochs"
    return columns


def text_of(value: Any) -> str:
    """A default as it is written in a configuration file.

    >>> text_of({"dice": 1.0}), text_of(None), text_of(1 / 3), text_of((16, 32))
    ('`{ dice = 1.0 }`', '', '`0.3333`', '`[16, 32]`')
    """
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{float(f'{value:.4g}')}`"
    if isinstance(value, dict):
        return f"`{{ {', '.join(f'{name} = {weight}' for name, weight in value.items())} }}`"
    return (
        f"`{list(value)}`"
        if isinstance(value, tuple)
        else f'`"{value}"`'
        if isinstance(value, str)
        else f"`{value}`"
    )


def meanings_of(kind: type) -> dict[str, str]:
    """The meaning of each field, from the "Args" of a docstring, as the cell of a table."""
    text = inspect.getdoc(kind) or ""
    block = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, re.DOTALL | re.MULTILINE)
    entries = re.findall(
        r"^    (\w+): (.*?)(?=^    \w|\Z)", block[1] if block else "", re.DOTALL | re.MULTILINE
    )
    return {name: " ".join(words.split()).replace("|", "\\|") for name, words in entries}


def options_of(name: str) -> dict[str, str]:
    """The option of `unetkit train` that sets each key of a section."""
    spellings = {
        parameter.name: "/".join(
            f"`{option}`"
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("--")
        )
        for parameter in command_line.commands["train"].params
    }
    found = {
        OTHER_KEYS.get(option, option): spellings[option]
        for option in SECTION_OPTIONS.get(name, ())
    }
    return found | {key: f"`{option}`" for key, option in MORE_OPTIONS.get(name, {}).items()}


def main() -> None:
    PAGE.write_text(make_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
