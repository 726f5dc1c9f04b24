"""Models, run folders, data sets, side files and archives, damaged by chance.

Each is put before the commands that read it, in this process.
"""

import csv
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from PIL import Image

from tests.corpus.images import NUMBERS, Rng, cut, damage, pick
from tests.data.annotations.examples import RICH, SUFFIXES, as_text
from unetkit._shared.display import Display
from unetkit.datasets.unpacking import unpack_archive
from unetkit.models.onnx_check import DIGEST_KEY
from unetkit.models.spec import METADATA_KEY


@dataclass(frozen=True)
class Given:
    """What the damaged ones are made from.

    Args:
        run: Finished run folder of a small network.
        data: Its data, with lists.
    """

    run: Path
    data: Path


@dataclass(frozen=True)
class Trial:
    """One input and what is done with it.

    Args:
        what: What was made, in words.
        command: Arguments of a command; empty if `call` is used.
        call: Function that reads the input.
    """

    what: str
    command: tuple[str, ...] = ()
    call: Callable[[], object] | None = None


LETTERS = (
    "ab \u00e9e\u0301\u7532\U0001f408", "\x1b[31m]0;\x07\x08", "\n\r\t\v\u2028\u202e\u200f",
    "'\"`$&|;<>()*?[]{}!#%~\\", "-.+=,:@^_", "\udcff\udc80",
)  # fmt: skip


def a_name(rng: Rng, suffix: str) -> str:
    """A file's name of letters that terminals, shells and parsers treat in their own ways."""
    length = int(pick(rng, 1, 3, 9, 40, 80))
    letters = [str(pick(rng, *str(pick(rng, *LETTERS)))) for _ in range(length)]
    return "".join(letters).replace("/", "_")[:60].rstrip(".") + suffix


def odd_names(rng: Rng, folder: Path, given: Given) -> Trial:
    """Images and masks under odd names, one of them damaged."""
    data = folder / "data"
    (data / "images").mkdir(parents=True)
    (data / "masks").mkdir()
    names = [a_name(rng, ".png") for _ in range(3)]
    for number, name in enumerate(names):
        stream = io.BytesIO()
        array = rng.integers(0, 2, (12, 12), dtype=np.uint8)
        Image.fromarray(array).save(stream, "PNG")
        content = stream.getvalue()
        (data / "images" / name).write_bytes(content[:40] if number == 0 else content)
        (data / "masks" / name).write_bytes(content)
    image, model = str(data / "images" / names[0]), str(given.run)
    return Trial(
        f"names {names!a}",
        tuple(
            pick(
                rng,
                ("check", str(data)),
                ("check", str(data), "--json"),
                ("predict", "--model", model, "--out", str(folder / "out"), "--", image),
                ("predict", str(data / "images"), "--model", model, "--out", str(folder / "out")),
                ("info", str(data / "images" / names[1])),
            )
        ),
    )


def a_model(rng: Rng, folder: Path, given: Given) -> Trial:
    """A model file from a stranger, described and used."""
    model = onnx.load(given.run / "model.onnx")
    for entry in list(model.metadata_props):
        if entry.key == DIGEST_KEY.decode():  # else every change is found by it
            model.metadata_props.remove(entry)
    content = model.SerializeToString()
    how = str(pick(rng, "damage", "cut", "metadata", "nodes", "nodes", "weights", "shapes"))
    if how == "damage":
        what, content = damage(rng, content)
    elif how == "cut":
        what, content = cut(rng, content)
    else:
        what = CHANGES[how](rng, model)
        content = model.SerializeToString()
    path = folder / "model.onnx"
    path.write_bytes(content)
    image = folder / "image.png"
    Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(image)
    use = ("predict", str(image), "--model", str(path), "--out", str(folder / "out"))
    command = pick(rng, ("info", str(path)), (*use, "--memory", "1GiB"), use)
    return Trial(f"{how}: {what}", tuple(command))


def change_value(rng: Rng, document: object) -> str:
    """Replaces a value somewhere in a parsed JSON document; returns what was done."""
    places: list[tuple[dict | list, str | int]] = []

    def walk(value: object) -> None:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            places.append((value, key))
            if isinstance(inner, dict | list):
                walk(inner)

    walk(document)
    if not places:
        return "nothing"
    inner, key = places[rng.integers(len(places))]
    values = (None, -1, 0, 1e300, 0.1, 1 << 31, 10**30, "", "x", [], {}, True, [[[]]], "\x1b[2J\n",
              float("nan"), float("inf"), "9" * 5000, [0] * 3000)  # fmt: skip
    value = pick(rng, *range(len(values) + 1))
    if value == len(values):
        del inner[key]
        return f"without {key!a}"
    inner[key] = values[int(value)]
    return f"{key!a} is {str(values[int(value)])[:40]!a}"


def change_metadata(rng: Rng, model: onnx.ModelProto) -> str:
    entry = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    document = json.loads(entry.value)
    done = [change_value(rng, document) for _ in range(rng.integers(1, 3))]
    entry.value = json.dumps(document)
    return ", ".join(done)


def change_nodes(rng: Rng, model: onnx.ModelProto) -> str:
    nodes = model.graph.node
    place = int(rng.integers(len(nodes)))
    node = nodes[place]
    how = str(pick(rng, "attribute", "remove", "type", "concat", "repeat", "pad", "input"))
    if how == "attribute" and node.attribute:
        attribute = node.attribute[rng.integers(len(node.attribute))]
        if attribute.ints:
            number = int(pick(rng, -1, *NUMBERS))
            attribute.ints[rng.integers(len(attribute.ints))] = number
            return f"{node.op_type}: {attribute.name} has {number}"
        attribute.i = int(pick(rng, -1, *NUMBERS))
        return f"{node.op_type}: {attribute.name} is {attribute.i}"
    if how == "remove":
        kind = node.op_type
        del nodes[place]
        return f"without a {kind}"
    if how == "type":
        kind, node.op_type = (
            node.op_type,
            str(pick(rng, "Loop", "Relu", "Reshape", "Add", "Exp", "x")),
        )
        return f"{kind} becomes {node.op_type}"
    if how == "input" and node.input:
        node.input[0] = str(pick(rng, *(other.output[0] for other in nodes), "", "\xff"))
        return f"{node.op_type} reads another"
    name, count = node.output[0], int(pick(rng, 1, 3, 12, 40, 2000))
    for number in range(count):
        kind, extra = "Relu", {}
        inputs = [name if number == 0 else f"more{number - 1}"]
        if how == "concat":
            kind, inputs, extra = "Concat", inputs * 2, {"axis": int(rng.integers(4))}
        elif how == "pad":
            kind, extra = "Transpose", {"perm": rng.permutation(4).tolist()}
        nodes.insert(place + 1 + number, helper.make_node(kind, inputs, [f"more{number}"], **extra))
    for other in list(nodes)[place + 1 + count :]:
        for index, given in enumerate(other.input):
            if given == name:
                other.input[index] = f"more{count - 1}"
    return f"{count} times {how} after a {node.op_type}"


def change_weights(rng: Rng, model: onnx.ModelProto) -> str:
    tensors = model.graph.initializer
    tensor = tensors[rng.integers(len(tensors))]
    how = str(pick(rng, "dims", "nan", "external", "huge", "type", "cut"))
    if how == "dims":
        tensor.dims[:] = [int(pick(rng, *NUMBERS, -1)) for _ in range(rng.integers(6))]
    elif how == "external":
        tensor.data_location = 1
        tensor.external_data.add(key="location", value=str(pick(rng, "/etc/passwd", "../x", "x")))
        tensor.ClearField("raw_data")
    elif how == "type":
        tensor.data_type = int(rng.integers(20))
    elif how == "cut":
        tensor.raw_data = tensor.raw_data[:-1]
    else:
        array = numpy_helper.to_array(tensor)
        value = np.nan if how == "nan" else 1e38
        changed = np.full_like(array, value if array.dtype.kind == "f" else 1 << 30)
        tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    return f"{how} of {tensor.name[:40]}"


def change_shapes(rng: Rng, model: onnx.ModelProto) -> str:
    side = pick(rng, model.graph.input[0], model.graph.output[0])
    dims = side.type.tensor_type.shape.dim
    dim = dims[rng.integers(len(dims))]
    dim.dim_value = int(pick(rng, -1, *NUMBERS))
    return f"{side.name} has {dim.dim_value}"


CHANGES: dict[str, Callable[[Rng, onnx.ModelProto], str]] = {
    "metadata": change_metadata,
    "nodes": change_nodes,
    "weights": change_weights,
    "shapes": change_shapes,
}


def spoil(rng: Rng, path: Path) -> str:
    """Damages one file, or puts something else in its place."""
    how = str(
        pick(rng, "damage", "damage", "cut", "empty", "gone", "folder", "pipe", "link", "text")
    )
    content = path.read_bytes()
    if how == "damage":
        what, content = damage(rng, content)
        path.write_bytes(content)
        return f"{path.name}: {what}"
    if how == "cut":
        what, content = cut(rng, content) if content else ("empty", b"")
        path.write_bytes(content)
        return f"{path.name}: {what}"
    path.unlink()
    if how == "empty":
        path.touch()
    elif how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "link":
        path.symlink_to(str(pick(rng, "/dev/zero", "nowhere", path.name)))
    elif how == "text":
        path.write_bytes(rng.bytes(100))
    return f"{path.name}: {how}"


def damaged_json(rng: Rng, path: Path) -> str:
    document = json.loads(path.read_text(encoding="utf-8"))
    done = change_value(rng, document)
    path.write_text(json.dumps(document), encoding="utf-8")
    return f"{path.name}: {done}"


def a_run(rng: Rng, folder: Path, given: Given) -> Trial:
    """A run folder of which one file is damaged, before a command that reads it."""
    run = folder / "run"
    shutil.copytree(given.run, run)
    files = sorted(path for path in run.rglob("*") if path.is_file())
    path = files[rng.integers(len(files))]
    if path.suffix == ".json" and rng.integers(3):
        what = damaged_json(rng, path)
    else:
        what = spoil(rng, path)
    image = next((given.data / "images").iterdir())
    command = pick(
        rng,
        ("info", str(run)),
        ("verify", str(run)),
        ("runs", str(folder)),
        ("predict", str(image), "--model", str(run), "--out", str(folder / "out")),
        ("export", str(run), "--out", str(folder / "out.onnx")),
        ("train", "--resume", str(run)),
        ("evaluate", str(run), "--data", str(given.data), "--out", str(folder / "evaluation")),
    )
    return Trial(what, tuple(command))


CLASSES = """
background = "ground"
ignore = 3
[classes]
animal = 1
ground = 2
[colours]
animal = "#ff8000"
"""


def a_side_file(rng: Rng, folder: Path, given: Given) -> Trial:
    """A list, a table, a configuration or a file of classes beside a data set, damaged."""
    data = folder / "data"
    shutil.copytree(given.data, data)
    names = sorted(path.stem for path in (data / "images").iterdir())
    stream = io.StringIO()
    table = csv.writer(stream)
    table.writerow(["image", "mask"])
    masks = next(path for path in data.iterdir() if path.is_dir() and path.name != "images")
    for name in names:
        mask = next(masks.rglob(f"{name}.*"), None)
        image = next((data / "images").glob(f"{name}.*"))
        table.writerow([image, mask])
    texts = {
        "pairs.csv": stream.getvalue(),
        "classes.toml": CLASSES,
        "split.json": (given.run / "split.json").read_text(encoding="utf-8"),
        "config.toml": (given.run / "config.toml").read_text(encoding="utf-8"),
        "train.txt": "\n".join(names[:8]),
        "test.txt": "\n".join(names[8:]),
        "trainval.txt": "\n".join(names),
    }
    name = str(pick(rng, *texts))
    path = data / name
    path.write_text(texts[name], encoding="utf-8")
    is_document = name == "split.json" and rng.integers(2)
    what = damaged_json(rng, path) if is_document else spoil(rng, path)
    command: tuple[str, ...] = ("check", str(data))
    if name == "pairs.csv":
        command = ("check", str(path))
    elif name == "config.toml":
        command = ("train", "--config", str(path), "--out", str(folder / "run"))
    elif name == "split.json":
        config = str(given.run / "config.toml")
        command = ("train", str(data), "--config", config, "--split", str(path))
        command = (*command, "--out", str(folder / "run"))
    return Trial(what, command)


def an_annotation(rng: Rng, folder: Path, given: Given) -> Trial:
    """Shapes drawn in some tool, damaged as text or as a document."""
    data = folder / "data"
    (data / "images").mkdir(parents=True)
    for name in ("a", "b"):
        array = rng.integers(0, 255, (6, 8), dtype=np.uint8)
        Image.fromarray(array).save(data / "images" / f"{name}.png")
    format = str(pick(rng, *RICH))
    text, stem = as_text(format), "annotations" if format in ("coco", "via", "kaggle") else "a"
    path = data / "labels" / f"{stem}{SUFFIXES[format]}"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    if SUFFIXES[format].endswith("json") and rng.integers(3):
        what = damaged_json(rng, path)
    else:
        what = spoil(rng, path)
    return Trial(f"{format}: {what}", ("check", str(data)))


def an_archive(rng: Rng, folder: Path, given: Given) -> Trial:
    """A .tar.gz with odd members, damaged every other time."""
    stream, done = io.BytesIO(), []
    with tarfile.open(fileobj=stream, mode="w:gz", format=int(rng.integers(1, 3))) as archive:
        for number in range(rng.integers(1, 5)):
            names = (f"d/{number}.txt", "d/0.txt", "../out", "/tmp/out", "d/../../out", "a" * 300,
                     "", "c:x", "d\\x", "d", "\udcff", "d/\n")  # fmt: skip
            member = tarfile.TarInfo(str(pick(rng, *names)))
            kinds = (tarfile.REGTYPE, tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE,
                     tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE)  # fmt: skip
            member.type, member.linkname = bytes(pick(rng, *kinds)), "/etc/passwd"
            content = bytes(int(2 ** rng.uniform(0, 25))) if member.isreg() else b""
            member.size = len(content)
            done.append(f"{member.name[:20]!a} of type {member.type!r}")
            archive.addfile(member, io.BytesIO(content))
    content = stream.getvalue()
    if rng.integers(2):
        what, content = damage(rng, content)
        done.append(what)
    (folder / "archive.tar.gz").write_bytes(content)
    inside = folder / "inside"
    inside.mkdir()

    def unpack() -> None:
        def is_stray(name: str) -> bool:
            return name.startswith("._")

        try:
            unpack_archive(
                folder / "archive.tar.gz", inside, max_size=1 << 24, is_stray=is_stray,
                display=Display(),
            )  # fmt: skip
        finally:
            if {path.name for path in folder.iterdir()} - {"output"} != {
                "archive.tar.gz",
                "inside",
            }:
                raise AssertionError("something was written outside the folder")
            if any(path.is_symlink() for path in inside.rglob("*")):
                raise AssertionError("a link was written")

    return Trial(", ".join(done), call=unpack)
