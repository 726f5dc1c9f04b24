"""Makes samples of what this version writes, for tests that later versions still read it.

    python tests/old_runs/make.py FOLDER

FOLDER gets VERSION.tar.xz, of the version that runs this (three minutes on two cores). 0.1.0.tar.xz
was made with unetkit 0.1.0 when all its modules lay in one folder, Python 3.11.7, Keras 3.15.1,
TensorFlow 2.21.0 and ONNX Runtime 1.32.0. An archive stays as it is; another version makes its own.

In the archive, all of it synthetic and tiny:

    pets/, cells/          data: photos with trimaps, 16-bit pictures with numbered cells
    fast/                  finished and evaluated: the whole picture squashed, averaged weights
    notebook/              likewise: letterboxed, class weights
    paper/                 likewise: unpadded, at the pictures' own scale
    cells-run/             likewise: at a factor of it, own levels, dishes kept together
    NAME.onnx              what `unetkit export` made of each of them
    interrupted/           begun as `fast`, stopped by Ctrl-C between two looks
    folds/                 two folds, tested and pooled
    pets.png, cells.tif    a picture of each kind that no network has seen
    expected.npz           NAME-mask and NAME-probabilities of it, (H, W) and (H, W, K)

Left out is what only people look at: pictures/, curves.png, cases.png and report.html; and the
checkpoints of what is finished. Afterwards, places are renamed so that all of it seems to lie in
/old, and the kernel's name is taken out; else every file is as the program wrote it.
"""

import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import unetkit

PLACE = "/old"
STOPPED_AT = 13  # of 24 steps; looks are after 8, 16 and 24
CLEAR = 1e-4  # between the two most probable classes everywhere: no rounding turns the mask
NEW = range(100, 200)  # numbers of synthetic pictures that are in no data set

RECIPES = {
    "fast": """
preset = "fast"
[network]
filters = [4, 8]
head_filters = 4
[scale]
policy = "resize"
height = 32
width = 48
[training]
steps = 24
steps_per_validation = 8
batch_size = 2
accumulation = 2
averaging = 0.8
clip_norm = 1.0
""",
    "notebook": """
preset = "notebook"
[network]
filters = [4, 6, 8]
head_filters = 4
[scale]
policy = "resize"
height = 32
width = 32
fit = "letterbox"
[training]
steps = 60
steps_per_validation = 20
batch_size = 4
learning_rate = 0.005
""",
    "paper": """
preset = "paper"
[network]
filters = [4, 6, 8]
dropout = 0.0
[scale]
policy = "native"
height = 32
width = 40
[normalization]
multiply = 0.02
add = -2.5
[training]
steps = 100
steps_per_validation = 25
batch_size = 4
momentum = 0.95
learning_rate = 0.05
""",
    "cells-run": """
preset = "fast"
[network]
filters = [4, 8]
head_filters = 4
[scale]
policy = "native"
height = 24
width = 32
factor = 0.75
[split]
group_by = "dish(.)"
[training]
steps = 32
steps_per_validation = 16
batch_size = 4
learning_rate = 0.03
""",
    "folds": """
preset = "notebook"
[network]
filters = [4, 6]
head_filters = 0
[scale]
policy = "resize"
height = 16
width = 16
[training]
steps = 4
steps_per_validation = 4
batch_size = 4
""",
}
FINISHED = ("fast", "notebook", "paper", "cells-run")
WEIGHTS = ["--class-weights", "1.2,0.6,1.3"]
OPTIONS = {"notebook": WEIGHTS, "paper": WEIGHTS, "folds": ["--folds", "2"]}
NOT_READ = ("pictures", "curves.png", "cases.png", "report.html")
TEXTS = (".json", ".toml", ".txt", ".csv")


def data_of(name: str) -> str:
    return "cells" if name == "cells-run" else "pets"


def command(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "unetkit", *arguments], cwd=root, check=True)


def write_data(root: Path) -> None:
    unetkit.write_synthetic_pets(root / "pets", count=14, height=40, width=48)
    unetkit.write_synthetic_cells(root / "cells", count=8, height=48, width=64, bits=16)


def write_runs(root: Path) -> None:
    """Whatever the command line makes."""
    for name, recipe in RECIPES.items():
        file = root / f"{name}-recipe.toml"
        file.write_text(recipe, "utf-8")
        options = [*OPTIONS.get(name, []), "--config", file.name, "--out", name]
        command(root, "train", data_of(name), *options)
        file.unlink()
    for name in FINISHED:
        command(root, "evaluate", name, "--data", data_of(name))
        command(root, "export", name)


def interrupt(root: Path) -> None:
    """Trains as `fast` was, and presses Ctrl-C in the midst of it."""
    import keras  # not before unetkit has said what TensorFlow is to be like

    def stop(batch: int, logs: object) -> None:
        if batch + 1 == STOPPED_AT:
            signal.raise_signal(signal.SIGINT)

    pressed = keras.callbacks.LambdaCallback(on_train_batch_end=stop)
    before = Path.cwd()
    os.chdir(root)
    try:
        unetkit.train(out="interrupted", config="fast/config.toml", callbacks=[pressed])
        raise RuntimeError("the training was not interrupted")
    except KeyboardInterrupt:
        pass
    finally:
        os.chdir(before)


def require_resumable(root: Path) -> None:
    """The interrupted run, resumed, is `fast`."""
    copy = root / "copy"
    shutil.copytree(root / "interrupted", copy)
    command(root, "train", "--resume", copy.name)
    of_both = [unetkit.Predictor(run).probabilities(root / "pets.png") for run in ("copy", "fast")]
    if not np.array_equal(*of_both):
        raise RuntimeError("the resumed run is not the one that was not interrupted")
    shutil.rmtree(copy)


def write_expected(root: Path) -> None:
    """A picture of each kind that no network has seen, and what each network says of it."""
    found = {}
    photos = (unetkit.synthetic_pet(number, height=40, width=48)[0] for number in NEW)
    counts = (unetkit.synthetic_cells(i, height=48, width=64, bits=16)[0] for i in NEW)
    for file, pictures in (("pets.png", photos), ("cells.tif", counts)):
        names = [name for name in FINISHED if data_of(name) == Path(file).stem]
        picture = next(picture for picture in pictures if is_clear(root, names, picture))
        Image.fromarray(picture).save(root / file)
        for name in names:
            predictor = unetkit.Predictor(root / name)
            found[f"{name}-mask"] = predictor(root / file)
            found[f"{name}-probabilities"] = predictor.probabilities(root / file).round(5)
    np.savez(root / "expected.npz", **found)


def is_clear(root: Path, names: list[str], picture: np.ndarray) -> bool:
    """Whether each network sees several classes in a picture, and no pixel between two."""
    for name in names:
        probabilities = unetkit.Predictor(root / name).probabilities(picture)
        *_, second, first = np.moveaxis(np.sort(probabilities), -1, 0)
        several = len(np.unique(probabilities.argmax(-1))) > 1
        if not several or (first - second).min() < CLEAR:
            return False
    return True


def leave_out(root: Path) -> None:
    """Removes what no command reads."""
    for path in sorted(root.rglob("*"), reverse=True):
        is_finished = path.parent.name != "interrupted"
        if path.name in NOT_READ or (path.name == "checkpoints" and is_finished):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def hide_machine(root: Path) -> None:
    """Moves what is written of places to PLACE, and takes the kernel's name out."""
    system = f"{platform.system()}-{platform.machine()}"
    for path in (path for path in root.rglob("*") if path.is_file()):
        if path.suffix in TEXTS:
            text = path.read_bytes().replace(str(root).encode(), PLACE.encode())
            path.write_bytes(text.replace(platform.platform().encode(), system.encode()))
        for word in (str(root.parent), str(Path.home()), platform.release()):
            if word.encode() in path.read_bytes():
                raise RuntimeError(f"{path} names {word}")


def pack(root: Path, archive: Path) -> None:
    with tarfile.open(archive, "x:xz", preset=9) as packed:
        for path in sorted(root.iterdir()):
            packed.add(path, path.name, filter=of_nobody)


def of_nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def main(folder: Path) -> None:
    archive = folder.resolve() / f"{unetkit.__version__}.tar.xz"
    with tempfile.TemporaryDirectory() as made:
        root = Path(made).resolve() / "old"
        root.mkdir()
        write_data(root)
        write_runs(root)
        interrupt(root)
        for name in (*FINISHED, "interrupted"):
            command(root, "verify", name)
        os.chdir(root)
        write_expected(root)
        require_resumable(root)
        leave_out(root)
        hide_machine(root)
        pack(root, archive)
        os.chdir(folder)
    sys.stdout.write(f"{archive}: {archive.stat().st_size} bytes\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
