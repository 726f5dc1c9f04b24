"""Groups of options, those that several commands share, and the keys of a configuration they set.

An option that is not given sets nothing; its value is then taken from the configuration file, the
preset or the data.
"""

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from unetkit._shared.memory_budget import BUDGET
from unetkit.cli.group import OneOf, long_name
from unetkit.errors import ConfigError, DataError
from unetkit.remote.addresses import Address, is_address

if TYPE_CHECKING:
    from unetkit.training.config import Choices

Command = Callable[..., Any]
Option = Callable[[Command], Command]

# Options by the section of a configuration in which they set a key.
SECTIONS = {
    "sources": (
        *("images", "masks", "channel_axis", "skip_bad", "accept"),
        *("alpha_masks", "mask_files", "strict_annotations", "blocks", "gap"),
        *("run_order", "first_pixel"),
    ),
    "classes": ("kind", "classes", "ignore", "threshold"),
    "split": ("group_by", "test_fraction", "split"),
    "training": (
        *("batch_size", "accumulation", "loss", "class_weights", "learning_rate", "clip_norm"),
        *("averaging", "patience", "start", "freeze", "precision", "deterministic"),
    ),
    "border_weight": ("border_weight", "border_sigma"),
    "objects": ("separation",),
}
OTHER_KEYS = {
    "classes": "names",
    "split": "file",
    "border_weight": "w0",
    "border_sigma": "sigma",
    "separation": "method",
}  # of options that have another name
POSITIVE = click.IntRange(min=1)
NOT_NEGATIVE = click.IntRange(min=0)
# Paths are completed by the shell; whether they can be read is said by whoever reads them.
ANY_LOCATION = click.Path(readable=False)


class _LocalPath(click.Path):
    """A path of this machine."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if is_address(value):
            name = "a path" if param is None else param.human_readable_name
            raise ConfigError(
                f"{name} is {Address(value)}, an address; accepted here are paths of this machine; "
                "copy it to this machine first (unetkit predict takes addresses of images and of "
                "--out)"
            )
        return super().convert(value, param, ctx)


PATH = _LocalPath(readable=False)
# Words that the library accepts, without its imports, so that help appears at once.
SEPARATION_NAMES = ("none", "ridge", "border", "distance")
PRESET_NAMES = ("pretrained", "fast", "notebook", "paper")
MASK_KIND_NAMES = ("classes", "colours", "instances")
RUN_ORDER_NAMES = ("column", "row")
CHANNEL_AXIS_NAMES = ("auto", "first", "last")
LOSS_NAMES = ("cross_entropy", "dice", "tversky", "focal", "boundary")
PRECISION_NAMES = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
PART_NAMES = ("test", "validation", "train", "all")
MASK_STYLE_NAMES = ("index", "palette", "binary", "values")
POLYGON_NAMES = ("geojson", "coco", "yolo", "labelme")
ENGINE_NAMES = ("onnxruntime", "openvino")
DEVICE_NAMES = ("cpu", "gpu")
OVERLAY_FORMAT_NAMES = ("png", "jpeg")
PROBABILITY_DTYPE_NAMES = ("float32", "float16", "uint8")
AUGMENTATION_NAMES = ("mirror", "flips", "turns")
OUTPUT_FORMAT_NAMES = ("auto", "png", "tiff", "zarr")
EXPORT_FORMAT_NAMES = (
    "onnx",
    "web",
    "keras",
    "savedmodel",
    "litert",
    "openvino",
    "bioimageio",
    "all",
)
WEIGHT_NAMES = ("float32", "float16", "int8")


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")


def _limit_memory(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        from unetkit.prediction.memory import parse_memory

        BUDGET.limit = parse_memory(value)


reading_memory_option = click.option(
    "--memory",
    callback=_limit_memory,
    expose_value=False,
    help="Memory of the process while images are read, such as 4GiB (default: half of the "
    "machine's, at least 1.5GiB).",
)
image_seed_option = click.option(
    "--seed", type=NOT_NEGATIVE, default=0, show_default=True, help="Seed of the images."
)


def image_size_option(default: str) -> Option:
    """The option of a size of images that are drawn; `parse_sides` parses it."""
    return click.option(
        "--size",
        default=default,
        show_default=True,
        help="Size in pixels: a side, or HEIGHTxWIDTH.",
    )


def out_option(help: str, default: str | None = None, type: click.ParamType = PATH) -> Option:
    """The option of a file or folder for the results."""
    return click.option("--out", "-o", type=type, default=default, help=help)


def complete_losses(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of losses that begin like the incomplete one, for the completion of a shell."""
    return [CompletionItem(name) for name in LOSS_NAMES if name.startswith(incomplete)]


def _together(*options: Option) -> Option:
    """One decorator that adds several options, which help lists in this order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


# Options that describe images and masks, in training and in evaluation.
mask_options = _together(
    click.option(
        "--images", help="Part of the paths of images, * for any text (default: from the folder)."
    ),
    click.option(
        "--masks", help="Part of the paths of masks, such as 'GT/SEG' (default: from the folder)."
    ),
    click.option(
        "--kind", type=OneOf(MASK_KIND_NAMES), help="Kind of masks (default: from the masks)."
    ),
    click.option(
        "--classes",
        help="Class names in the order of their mask values, separated by commas; or each with its "
        "value or colour, as in sky=#0000ff,road=#808080 (default: from the masks).",
    ),
    click.option(
        "--ignore",
        multiple=True,
        help="Mask value, #rrggbb colour, or label of polygons to leave out of training and "
        "scoring; labels may be several (default: none).",
    ),
    click.option(
        "--threshold", help="Largest mask value of the first of two classes (default: none)."
    ),
    click.option(
        "--channel-axis",
        type=OneOf(CHANNEL_AXIS_NAMES),
        help="Axis of the channels in TIFF files (default: auto).",
    ),
    click.option(
        "--skip-bad", is_flag=True, default=None, help="Leave out files that cannot be used."
    ),
    click.option(
        "--alpha-masks",
        is_flag=True,
        default=None,
        help="Take the opacity of the masks as masks, or, without masks, that of the images.",
    ),
    click.option(
        "--mask-files",
        help="What each of several mask files of an image holds: objects or classes "
        "(default: from their names).",
    ),
    click.option(
        "--strict-annotations",
        is_flag=True,
        default=None,
        help="Leave out images with a shape that has no area, instead of the shape alone.",
    ),
    click.option(
        "--run-order",
        type=OneOf(RUN_ORDER_NAMES),
        help="Whether runs of pixels in a .csv go down the columns or along the rows "
        "(default: from the runs).",
    ),
    click.option(
        "--first-pixel",
        type=click.IntRange(0, 1),
        help="Number of the first pixel in runs, 0 or 1 (default: from the runs, else 1).",
    ),
    click.option(
        "--blocks",
        type=POSITIVE,
        help="Side in pixels of the blocks that images are cut into, each a pair of its own "
        "(default: whole images; for a single large one, from its size).",
    ),
    click.option(
        "--gap",
        type=NOT_NEGATIVE,
        help="Pixels between neighbouring blocks, which are in no split (default: an eighth of a "
        "block).",
    ),
)


# Options that describe a folder of images and masks to train on.
data_options = _together(
    mask_options,
    click.option(
        "--accept",
        multiple=True,
        help="Code of an issue, as check prints it, that is not to stop the training: absent-class "
        "or all-ignored; may be repeated (default: none).",
    ),
    click.option(
        "--group-by",
        help="Regular expression for the part of a path, such as a patient, whose images "
        "stay in one split (default: none).",
    ),
    click.option(
        "--test-fraction",
        type=float,
        help="Fraction of the pairs for the test split, 0 for none (default: 0.2).",
    ),
    click.option(
        "--split",
        type=PATH,
        help="Split file to use, such as the split.json of a run (default: a new split).",
    ),
    click.option(
        "--seed",
        type=NOT_NEGATIVE,
        help="Seed of the split, the initial weights and the samples (default: 0).",
    ),
)


# Options that describe the training of a network.
training_options = _together(
    click.option(
        "--preset",
        type=OneOf(PRESET_NAMES),
        help="Network and training recipe (default: pretrained).",
    ),
    click.option(
        "--epochs",
        type=POSITIVE,
        help="Number of passes over the training images (default: from the preset).",
    ),
    click.option(
        "--minutes",
        type=float,
        help="Training time in minutes, instead of --epochs (default: from the preset).",
    ),
    click.option(
        "--size",
        help="Input size of the network in pixels: a side, or HEIGHTxWIDTH "
        "(default: from the images).",
    ),
    click.option(
        "--batch-size",
        type=POSITIVE,
        help="Number of samples in a batch (default: from the preset).",
    ),
    click.option(
        "--accumulation", type=POSITIVE, help="Number of batches per weight update (default: 1)."
    ),
    click.option(
        "--loss",
        multiple=True,
        shell_complete=complete_losses,
        help="Loss as NAME or NAME=WEIGHT: cross_entropy, dice, tversky, focal or "
        "boundary; several are summed (default: from the preset).",
    ),
    click.option(
        "--class-weights",
        help="Weights of the classes in the loss, such as 1,1,4, or auto to balance them "
        "(default: equal weights).",
    ),
    click.option(
        "--separation",
        type=OneOf(SEPARATION_NAMES),
        help="Method to tell touching objects apart (default: from the masks).",
    ),
    click.option(
        "--border-weight",
        type=float,
        help="Weight in the loss of the pixels where two objects touch, such as 10, 0 for none "
        "(default: from the preset).",
    ),
    click.option(
        "--border-sigma",
        type=float,
        help="Width of these weights in pixels at the scale of the network (default: 5).",
    ),
    click.option(
        "--learning-rate", type=float, help="Peak learning rate (default: from the preset)."
    ),
    click.option(
        "--clip-norm",
        type=float,
        help="Largest global norm of the gradients, 0 for no limit (default: 0).",
    ),
    click.option(
        "--averaging",
        type=float,
        help="Decay of the moving average of the weights, 0 for no average (default: 0).",
    ),
    click.option(
        "--patience",
        type=NOT_NEGATIVE,
        help="Number of validation passes without a better result before training "
        "stops, 0 to never stop early (default: 0).",
    ),
    click.option(
        "--from",
        "start",
        type=PATH,
        help="Run folder or .onnx file with the initial weights (default: random ones).",
    ),
    click.option(
        "--freeze",
        multiple=True,
        help="Layers that are not trained, such as encoder or encoder0; may be repeated "
        "(default: none).",
    ),
    click.option(
        "--precision",
        type=OneOf(PRECISION_NAMES),
        help="Precision of computation (default: mixed_bfloat16 on CPUs with instructions for it, "
        "else float32).",
    ),
    click.option(
        "--deterministic/--fastest",
        default=None,
        help="Reproduce a run to the byte, or allow faster kernels (default: --deterministic).",
    ),
)


# Options that describe what `predict` writes, and how.
# Options for how a network is run.
engine_options = _together(
    click.option(
        "--engine",
        type=OneOf(ENGINE_NAMES),
        default="onnxruntime",
        help="Library that runs the network; openvino is an extra of its own (default: "
        "onnxruntime).",
    ),
    click.option(
        "--device",
        type=OneOf(DEVICE_NAMES),
        default="cpu",
        help="Where the network runs; gpu needs a library that can use one (default: cpu).",
    ),
)

tta_option = click.option(
    "--tta",
    type=OneOf(AUGMENTATION_NAMES),
    help="Also predict each image mirrored (mirror: left and right; flips: upside down, too; "
    "turns: and in quarter turns), and average the probabilities (default: none).",
)

predict_options = _together(
    click.option(
        "--model",
        "-m",
        "models",
        type=PATH,
        multiple=True,
        help="A run folder, the folder of a cross-validation, or an exported .onnx file; may be "
        "repeated to average the probabilities of several (default: the built-in network, for cats "
        "and dogs in photos).",
    ),
    tta_option,
    out_option(
        "Folder for the results, or the mask of one image, such as mask.png; or its address, such "
        "as s3://bucket/results (default: predictions).",
        type=ANY_LOCATION,
    ),
    click.option(
        "--mask",
        type=OneOf(MASK_STYLE_NAMES),
        default="index",
        help="Pixels of masks: index (class numbers, which every program reads), palette (numbers "
        "shown in colours), binary (0 in the background, 255 elsewhere), values (as in the masks "
        "that the model learnt from) (default: index).",
    ),
    click.option(
        "--overlay", is_flag=True, help="Also write the photo blended with class colours."
    ),
    click.option(
        "--overlay-format",
        type=OneOf(OVERLAY_FORMAT_NAMES),
        help="Format of overlays: png, without loss, or jpeg, a quarter of the size (default: "
        "png; overlays of large images and GeoTIFFs are in --format).",
    ),
    click.option(
        "--cutout", is_flag=True, help="Also write the photo with transparent background."
    ),
    click.option("--probabilities", is_flag=True, help="Also write the probability of each class."),
    click.option(
        "--probabilities-dtype",
        type=OneOf(PROBABILITY_DTYPE_NAMES),
        help="Type of the probabilities: float32, float16, or uint8, where 255 stands for 1 "
        "(default: float32).",
    ),
    click.option(
        "--uncertainty",
        is_flag=True,
        help="Also write how uncertain each pixel is and, with several models or --tta, how far "
        "they disagree.",
    ),
    click.option(
        "--objects",
        is_flag=True,
        help="Also write the number of the object at each pixel (default for models that tell "
        "objects apart).",
    ),
    click.option(
        "--table",
        is_flag=True,
        help="Also write tables: the area of each class and, for models that tell objects apart, "
        "the measures of each object (the latter by default).",
    ),
    click.option(
        "--polygons",
        type=OneOf(POLYGON_NAMES),
        help="Also write the outlines of regions, or of objects: geojson (QuPath, Fiji, maps), "
        "coco, yolo or labelme (default: none).",
    ),
    click.option(
        "--simplify",
        type=click.FloatRange(min=0),
        help="Pixels by which outlines may differ from the exact ones (default: 0).",
    ),
    click.option(
        "--pixel-size",
        help="Side of a pixel, such as 0.65um, for measures in physical units in the table "
        "(default: from TIFF files that have it).",
    ),
    click.option(
        "--format",
        type=OneOf(OUTPUT_FORMAT_NAMES),
        default="auto",
        help="Format of the results (default: auto, which is tiff for large images and GeoTIFFs, "
        "png for others).",
    ),
    click.option("--memory", help="Memory of the process, such as 800MiB (default: 1.5GiB)."),
    click.option(
        "--threads",
        type=POSITIVE,
        help="Number of cores to use (default: all that the process may use).",
    ),
    click.option(
        "--margin",
        type=NOT_NEGATIVE,
        help="Pixels around each tile that the network also sees; few are faster, but not exact "
        "(default: as many as exact tiles need).",
    ),
    click.option(
        "--watch",
        type=PATH,
        help="Predict images that are put into this folder, until Ctrl-C (default: none).",
    ),
    click.option(
        "--recursive",
        is_flag=True,
        help="Also predict the images of subfolders, and keep the tree of folders.",
    ),
    click.option(
        "--shard",
        help="Part of the images to predict, such as 3/64 for the third of 64; several commands "
        "share the work (default: all images).",
    ),
    click.option(
        "--list-missing",
        is_flag=True,
        help="Print the images whose results are missing or damaged, and predict nothing; the exit "
        "code is 1 if there are any.",
    ),
    click.option(
        "--workers",
        type=POSITIVE,
        help="Processes of this machine that predict, each with its part of the cores and its own "
        "--memory; with --format zarr, they share each large image (default: this one alone).",
    ),
    click.option(
        "--cluster",
        help="Address of a scheduler of Dask whose workers predict, such as tcp://HOST:8786 "
        "(default: none).",
    ),
    click.option(
        "--stalled-minutes",
        type=click.FloatRange(min=0, min_open=True),
        help="Minutes after which an image that a worker has begun and not finished, or a tile of "
        "a large one, is given up; its worker is started again (default: 30).",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each image."),
    click.option(
        "--smooth",
        type=POSITIVE,
        help="Frames of a video over which probabilities are averaged, an odd number (default: 1, "
        "none).",
    ),
    click.option("--show", is_flag=True, help="Draw each mask in the terminal."),
    click.option(
        "--overwrite",
        is_flag=True,
        help="Replace results of other models, options or images, and files of unknown origin.",
    ),
    click.option(
        "--fail-fast",
        is_flag=True,
        help="Stop at the first image that cannot be predicted, instead of going on.",
    ),
)


def take_sections(options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Removes the options in SECTIONS from a command's options, and parses them.

    Returns:
        Values by section and key of a configuration, of those options that are given.

    Raises:
        ConfigError: The text of an option cannot be parsed.
    """
    sections: dict[str, dict[str, Any]] = {}
    for section, names in SECTIONS.items():
        for name in names:
            value = options.pop(name, None)
            if value is not None and value != ():
                option = f"--{name.replace('_', '-')}"
                value = PARSERS[name](value, option) if name in PARSERS else value
                is_parsed = name in ("ignore", "classes")  # to keys of their own
                keys = value if is_parsed else {OTHER_KEYS.get(name, name): value}
                sections.setdefault(section, {}).update(keys)
    return sections


def choices_from(
    config: str | None, preset: str | None, sections: dict[str, dict[str, Any]]
) -> "Choices":
    """What a configuration file and options give; options override the file.

    Args:
        config: Path of the file; None for none.
        preset: Name of the preset; None to take it from the file.
        sections: Parsed options of `take_sections`.

    Raises:
        DataNotFoundError: The file does not exist or cannot be read.
        ConfigError: A key is unknown, or a value has a wrong type.
    """
    from unetkit.training.config import Choices
    from unetkit.training.config_file import parse_choices, read_choices

    choices = Choices() if config is None else read_choices(config)
    if preset is not None:
        choices = choices.with_preset(preset)
    return choices.with_options(parse_choices(sections, "the options"))


def _parse_classes(text: str, option: str) -> dict[str, Any]:
    """Keys of [classes] for names, alone or each with its value or colour."""
    parts = [part.strip() for part in text.split(",")]
    if not all("=" in part for part in parts):
        return {"names": tuple(parts)}
    names, _, values = zip(*(part.rpartition("=") for part in parts), strict=True)
    numbers = tuple(_parse_mask_value(value.strip(), option) for value in values)
    found: dict[str, Any] = {"names": tuple(name.strip() for name in names), "values": numbers}
    return found | ({"kind": "colours"} if any("#" in value for value in values) else {})


def _parse_ignored(texts: str | tuple[str, ...], option: str) -> dict[str, Any]:
    """Keys of [classes] for what is ignored: one value or colour, and any number of labels."""
    from unetkit.data.classes import is_value

    texts = (texts,) if isinstance(texts, str) else texts
    values = [_parse_mask_value(text, option) for text in texts if is_value(text)]
    labels = tuple(text for text in texts if not is_value(text))
    if len(set(values)) > 1:
        raise ConfigError(
            f"{option} is given the values {', '.join(map(str, values))}; accepted is one value, "
            "and any number of labels of polygons"
        )
    found: dict[str, Any] = {"ignore": values[0]} if values else {}
    return found | ({"ignored_labels": labels} if labels else {})


def _parse_mask_value(text: str, option: str) -> int:
    from unetkit.data.classes import parse_value

    try:
        return parse_value(text, option)
    except DataError as error:  # an option with a wrong value is an error of usage
        raise ConfigError(str(error)) from error


def _parse_losses(terms: tuple[str, ...], option: str) -> dict[str, float]:
    parts = [term.partition("=") for term in terms]
    return {
        name: _parse_number(weight, option) if equals else 1.0 for name, equals, weight in parts
    }


def _parse_class_weights(text: str, option: str) -> str | tuple[float, ...]:
    if text == "auto":
        return text
    return tuple(_parse_number(number, option) for number in text.split(","))


def _parse_number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} in {option} is not a number; accepted are numbers such as 0.5"
        ) from error


# Parsers of the text of an option, which is named for their messages.
PARSERS: dict[str, Callable[[Any, str], Any]] = {
    "classes": _parse_classes,
    "ignore": _parse_ignored,
    "threshold": _parse_mask_value,
    "loss": _parse_losses,
    "class_weights": _parse_class_weights,
}


def parse_size(text: str | None) -> int | tuple[int, int] | None:
    """Parses a side, as in 128, or a height and a width, as in 96x128."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(
            f"size is {text!r}; accepted are a side, as in 128, or a height and a width, as in "
            "96x128"
        )
    return int(parts[0]) if len(parts) == 1 else (int(parts[0]), int(parts[1]))


def parse_sides(text: str) -> tuple[int, int]:
    """Parses a size as (height, width)."""
    size = parse_size(text)
    return size if isinstance(size, tuple) else (size or 0, size or 0)


def refuse_beside_resume(ctx: click.Context) -> None:
    """Refuses options that would change a run that is resumed."""
    allowed = ("resume", "moved", "device", "processes", "tensorboard")
    for name in ctx.params:
        source = ctx.get_parameter_source(name)
        if name not in allowed and source == click.core.ParameterSource.COMMANDLINE:
            given = next(p for p in ctx.command.params if p.name == name)
            option = name.upper() if isinstance(given, click.Argument) else long_name(given)
            again = ["--resume", str(ctx.params["resume"]), "--data", str(ctx.params[name])]
            moved = f", or use {shlex.join(again)} if they were moved" if name == "data" else ""
            raise ConfigError(
                f"{option} is given with --resume; accepted beside it are --device, --processes, "
                "--tensorboard and --data, as a run is resumed with its own configuration; leave "
                f"it out, or train a new run{moved}"
            )
