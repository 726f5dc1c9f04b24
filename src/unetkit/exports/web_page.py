"""A trained network as one HTML file that segments images in a browser, without a network.

The page holds the model file as it is, ONNX Runtime compiled to WebAssembly, and the decoding,
resizing, tiling and drawing of `prediction`, in JavaScript. Its source is in the folder `web`:
`page.*` is what is seen, all other scripts run in a worker. Neither Keras nor a network is needed
to write it. `tools/fetch_onnxruntime_web.py` fetches the runtime.
"""

import base64
import gzip
import html
import json
import math
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from unetkit._shared.files import read_bytes, write_text
from unetkit._shared.memory_budget import MIB
from unetkit._shared.wording import format_count
from unetkit._version import __version__
from unetkit.errors import ModelFileError
from unetkit.io.pixel_format import LUMA
from unetkit.models.built_in import PURPOSE, built_in_licence, is_built_in
from unetkit.models.onnx_check import LARGEST_MODEL
from unetkit.models.spec import ModelSpec
from unetkit.prediction.engine import Engine
from unetkit.prediction.sources import WHOLE_PIXELS
from unetkit.prediction.tiling import smallest_tile
from unetkit.visualization.overlays import OPAQUE, OVERLAY_STRENGTH, TRANSPARENT

WORKER_SCRIPTS = ("png", "decode", "resample", "tiles", "outputs", "worker")
RUNTIME_SCRIPT, RUNTIME_WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm.gz"
TILE_BYTES = 512 * MIB  # that a run over one tile of a native model takes; phones have little more
LARGEST_RUN = 2048 * MIB  # of a model whose smallest tile needs more than `TILE_BYTES`


def require_web(engine: Engine) -> None:
    """Refuses a model that the page cannot run as `unetkit predict` does.

    Raises:
        ModelFileError: The model takes other pixels than those of PNGs and photos, tells objects
            apart, or needs more memory than a browser gives.
    """
    spec, pixels = engine.spec, engine.spec.pixels
    reason = ""
    if pixels.channels not in (1, 3):
        reason = f"takes images of {pixels.channels} channels; accepted are grey and colour, 1 or 3"
    elif pixels.dtype == "float32":
        reason = "takes images of float32; accepted are 8 and 16 bits, as PNGs have them"
    elif spec.objects.finds_objects:
        reason = (
            f"tells objects apart ({spec.objects.method}); accepted are models of classes alone"
        )
    elif (needed := engine.cost(engine.load_size).bytes) > LARGEST_RUN:
        reason = (
            f"needs {needed // MIB:,} MiB for its smallest tile; accepted are up to "
            f"{LARGEST_RUN // MIB:,} MiB in a browser"
        )
    if reason:
        raise ModelFileError(
            f"{engine.path} {reason}, for a web page; unetkit predict runs this model"
        )


def write_web_page(engine: Engine, name: str, path: Path) -> None:
    """Writes a model as a web page that needs no other file.

    Args:
        engine: The model.
        name: Name of the model, the title of the page.
        path: File to write or replace.

    Raises:
        ModelFileError: The page cannot run the model; nothing is written.
    """
    require_web(engine)
    folder = resources.files(__package__) / "web"
    runtime = folder / "onnxruntime"
    scripts = [_read(folder / f"{script}.js") for script in WORKER_SCRIPTS]
    parts = {
        "title": html.escape(name),
        "kind": f"unetkit {__version__} · trained network",
        "lead": html.escape(_lead(engine)),
        "style": _read(folder / "page.css"),
        "about": _definitions(_about(engine)),
        "licences": _licences(engine, runtime),
        "model": _json(_description(engine)),
        "worker": "\n".join(scripts),
        "runtime": _packed(_gzip(_bytes(runtime / RUNTIME_SCRIPT))),
        "wasm": _packed(_bytes(runtime / RUNTIME_WASM)),
        "weights": _packed(_gzip(read_bytes(engine.path, LARGEST_MODEL))),
        "script": read_source("entry.js") + _read(folder / "page.js"),
    }
    write_text(path, fill_page(_read(folder / "page.html"), parts))


def fill_page(page: str, parts: Mapping[str, str]) -> str:
    """Returns a page with its parts in the places that name them, as in [[ title ]].

    Args:
        page: The page.
        parts: Text of each part by its name.
    """
    pieces = page.split("[[ ")  # each begins with the name of a part, so that none is filled twice
    filled = [pieces[0]]
    for piece in pieces[1:]:
        part, rest = piece.split(" ]]", 1)
        filled += [parts[part], rest]
    return "".join(filled)


def read_source(name: str) -> str:
    """Text of a source of the page, such as "page.css", which other pages share."""
    return _read(resources.files(__package__) / "web" / name)


def _description(engine: Engine) -> dict[str, Any]:
    """What the scripts of the page need to know of the model."""
    spec, pixels = engine.spec, engine.spec.pixels
    low, multiply = (
        [float(value) for value in values] for values in pixels.factors()
    )  # of each channel
    return {
        "classes": {
            "names": spec.classes.names,
            "colours": spec.classes.colours,
            "background": spec.classes.background,
            "border": spec.classes.border,
        },
        "pixels": {
            "channels": pixels.channels,
            "dtype": pixels.dtype,
            "low": low,
            "multiply": multiply,
            "luma": [float(weight) for weight in LUMA],
        },
        "scale": {
            "policy": spec.scale.policy,
            "height": spec.scale.height,
            "width": spec.scale.width,
            "fit": spec.scale.fit,
            "factor": spec.scale.factor,
        },
        "geometry": {
            "stride": spec.geometry.stride,
            "smallest_input": spec.geometry.smallest_input,
            "margin": spec.geometry.margin,
            "tile_before": spec.geometry.tile_before,
            "tile_after": spec.geometry.tile_after,
        },
        "most_pixels": web_tile_pixels(engine) if spec.scale.is_native else None,
        "most_image_pixels": WHOLE_PIXELS,
        "overlay_strength": OVERLAY_STRENGTH,
        "cutout": [TRANSPARENT, OPAQUE],
        "temperature": spec.temperature,
        "note": {
            "unetkit": __version__,
            "model": engine.digest,
            **({"built_in": PURPOSE} if is_built_in(engine.path) else {}),
            "preset": spec.preset,
            "classes": list(spec.classes.names),
            "exact": True,
            "program": "web page",
        },
    }


def web_tile_pixels(engine: Engine) -> int:
    """Pixels of the largest square tile of a native model that takes at most `TILE_BYTES`.

    It is the smallest tile that has exact pixels if that one takes more.
    """
    stride = engine.spec.geometry.stride
    side = smallest_tile(engine.spec.geometry)
    step = stride
    while engine.cost((side + step, side + step)).bytes <= TILE_BYTES:
        step *= 2
    while step > stride:
        step //= 2
        if engine.cost((side + step, side + step)).bytes <= TILE_BYTES:
            side += step
    return side * side


def _lead(engine: Engine) -> str:
    names = engine.spec.classes.names
    if is_built_in(engine.path):
        return f"A trained network, in one file: it segments {PURPOSE}."
    count = format_count(names, "class", "classes")
    listed = ", ".join(names)
    return f"A trained network, in one file: it tells {count} apart, pixel by pixel: {listed}."


def _about(engine: Engine) -> list[tuple[str, str]]:
    spec: ModelSpec = engine.spec
    if spec.scale.is_native:
        size = "the image's own pixels, in tiles whose result is that of one run over the whole"
        if spec.scale.factor != 1:
            size = f"the image resized by a factor of {spec.scale.factor:g}, in exact tiles"
    else:
        fit = "stretched" if spec.scale.fit == "squash" else "with its aspect ratio kept"
        size = f"the whole image resized to {spec.scale.height}x{spec.scale.width}, {fit}"
    colours = "colour" if spec.pixels.channels == 3 else "grey"
    bits = 16 if spec.pixels.dtype == "uint16" else 8
    most = math.floor(WHOLE_PIXELS / 1e6)
    return [
        ("network", f"{spec.preset}, {spec.parameters:,} parameters"),
        ("input", f"{colours} images of {bits} bits; {size}"),
        ("images", f"up to {most} million pixels; of an animation, the first image"),
        ("SHA-256", engine.digest),
        (
            "program",
            f"unetkit {__version__}; unetkit predict gives the same classes, of other files than "
            "PNGs if it decodes them to the same colours as the browser",
        ),
    ]


def _licences(engine: Engine, runtime: Traversable) -> str:
    source = json.loads(_read(runtime / "source.json"))
    texts = [
        (f"ONNX Runtime ({source['package']} {source['version']})", _read(runtime / "LICENSE")),
        ("The program of this page: unetkit", "Apache License, Version 2.0"),
    ]
    if is_built_in(engine.path):
        licence = built_in_licence()
        texts.append(("The network and its weights", licence))
    return "\n".join(
        f"<p>{html.escape(name)}</p>\n<pre>{html.escape(text)}</pre>" for name, text in texts
    )


def _definitions(rows: list[tuple[str, str]]) -> str:
    cells = (f"<dt>{html.escape(a)}</dt><dd>{html.escape(b)}</dd>" for a, b in rows)
    return "<dl>\n" + "\n".join(cells) + "\n</dl>"


def _json(value: Any) -> str:
    """JSON that a page may hold between tags: nothing in it can end or open one."""
    return json.dumps(value).replace("<", "\\u003c")


def _packed(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def _bytes(file: Traversable) -> bytes:
    return file.read_bytes()


def _read(file: Traversable) -> str:
    return file.read_text(encoding="utf-8")
