"""Draws the way of the data through the files: python docs/draw_code.py [FILE].

The drawing stands within the page, so that its colours are the page's, by day and by night; as a
file of its own it falls back on dark lines.
"""

import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from xml.sax.saxutils import quoteattr

FILE = Path(__file__).parent / "pictures" / "code.svg"
WIDTH = 760
LINE = 17  # pixels from one line of modules to the next
LETTER = 7.3  # width of a letter of a module's name
GAP = 12  # between two names
PADDING = 12
TITLE = "The way of the data through the files of unetkit"


@dataclass(frozen=True)
class Box:
    """Files that do one thing, or what goes in and comes out (then without modules)."""

    left: int
    top: int
    width: int
    title: str
    modules: str = ""
    needs_keras: bool = False

    @property
    def lines(self) -> list[list[tuple[float, str]]]:
        """Modules with their distance from the left, line by line."""
        lines: list[list[tuple[float, str]]] = []
        place = float(self.width)
        for name in self.modules.split():
            length = len(name) * LETTER
            if place + length > self.width - PADDING:
                lines.append([])
                place = PADDING
            lines[-1].append((place, name))
            place += length + GAP
        return lines

    @property
    def height(self) -> int:
        return 30 + LINE * len(self.lines) + (6 if self.modules else 4)

    @property
    def bottom(self) -> int:
        return self.top + self.height

    def draw(self) -> str:
        kind = "files" if self.modules else "thing"
        rim = " keras" if self.needs_keras else ""
        x = self.left + (PADDING if self.modules else self.width / 2)
        parts = [
            f'<rect class="{kind}{rim}" x="{self.left}" y="{self.top}" width="{self.width}" '
            f'height="{self.height}" rx="{6 if self.modules else 17}"/>',
            f'<text class="title {kind}" x="{x:g}" y="{self.top + 21}">{escape(self.title)}</text>',
        ]
        for number, line in enumerate(self.lines, start=1):
            y = self.top + 23 + LINE * number
            parts += [
                f'<text class="module" x="{self.left + place:.1f}" y="{y}">{name}</text>'
                for place, name in line
            ]
        return "\n".join(parts)


BOXES = {
    "command": Box(
        0, 0, 360, "parse, call, print", "cli predicting watching options tables console display"
    ),
    "jobs": Box(400, 0, 360, "whole jobs", "demonstration crossvalidation", needs_keras=True),
    "make": Box(
        0,
        84,
        360,
        "draw or fetch data",
        "datasets pet_scene pet_animal pet_coat pet_surface cells cell_scene oxford_pets archives",
    ),
    "folder": Box(470, 84, 220, "a folder, or a table of pairs"),
    "find": Box(400, 156, 360, "find the pairs", "finding matching layout listing"),
    "pictures": Box(0, 250, 360, "read pictures", "reading parallel pictures tiff segments pixels"),
    "masks": Box(400, 250, 360, "read masks", "masks classes annotations drawings documents"),
    "check": Box(
        0,
        362,
        470,
        "look, decide, find",
        "checking looks kinds splits duplicates findings maskfindings overview",
    ),
    "sheets": Box(540, 375, 220, "findings, contact sheets"),
    "sample": Box(0, 472, 230, "cut samples", "loading augment scale resampling geometry"),
    "network": Box(265, 472, 230, "the network", "model losses unet_drawing", needs_keras=True),
    "train": Box(
        530,
        472,
        230,
        "train",
        "training choosing trainer recorder config building optimizers finetuning",
        needs_keras=True,
    ),
    "export": Box(530, 578, 230, "export, checked", "exporting importing", needs_keras=True),
    "run": Box(245, 587, 220, "a run folder, model.onnx"),
    "predict": Box(
        0,
        664,
        230,
        "predict",
        "prediction predictor tiling engine memory modelfile spec gigapixels tilestore",
    ),
    "large": Box(
        0,
        806,
        230,
        "read and write by windows",
        "sources windows tiffwindows tiffparts tiffbytes zarrwindows "
        "outputs pyramids omezarr levels",
    ),
    "evaluate": Box(
        290,
        664,
        470,
        "count, and what follows from it",
        "evaluation selection metrics calibration boundaries bootstrap summary cases provenance",
    ),
    "answer": Box(290, 885, 180, "masks, overlays, ..."),
    "figures": Box(290, 777, 180, "evaluation.json"),
    "report": Box(
        530,
        770,
        230,
        "report, compare",
        "results reporting charts plotting cautions breakdown comparison",
    ),
    "html": Box(290, 831, 180, "report.html"),
}
# From a box to another, leaving it and meeting it at these distances along their sides.
ARROWS = (
    ("make", "right", 102, "folder", "left", 102),
    ("folder", "bottom", 580, "find", "top", 580),
    ("find", "bottom", 430, "pictures", "top", 180),
    ("find", "bottom", 580, "masks", "top", 580),
    ("pictures", "bottom", 180, "check", "top", 180),
    ("masks", "bottom", 435, "check", "top", 435),
    ("check", "right", 393, "sheets", "left", 393),
    ("check", "bottom", 115, "sample", "top", 115),
    ("sample", "right", 499, "network", "left", 499),
    ("network", "right", 499, "train", "left", 499),
    ("train", "bottom", 645, "export", "top", 645),
    ("export", "left", 594, "run", "right", 594),
    ("run", "bottom", 265, "predict", "top", 185),
    ("run", "bottom", 380, "evaluate", "top", 380),
    ("predict", "right", 696, "evaluate", "left", 696),
    ("predict", "bottom", 115, "large", "top", 115),
    ("large", "right", 902, "answer", "left", 902),
    ("evaluate", "bottom", 380, "figures", "top", 380),
    ("figures", "right", 794, "report", "left", 794),
    ("report", "left", 848, "html", "right", 848),
)
STYLE = """
.drawing-of-code text { fill: var(--color-foreground-primary, #222); font-size: 13px;
  font-family: var(--font-stack, sans-serif); }
.drawing-of-code .title { font-weight: 600; }
.drawing-of-code .title.thing { font-weight: 400; text-anchor: middle; }
.drawing-of-code .module { font-family: var(--font-stack--monospace, monospace); font-size: 12px; }
.drawing-of-code rect { fill: var(--color-background-secondary, #f8f9fb); stroke-width: 1;
  stroke: var(--color-foreground-muted, #6b6f76); }
.drawing-of-code rect.keras { stroke-width: 3; }
.drawing-of-code rect.thing { fill: none; stroke-dasharray: 5 3; }
.drawing-of-code path { fill: none; stroke-width: 1.3;
  stroke: var(--color-foreground-primary, #222); }
.drawing-of-code .head { fill: var(--color-foreground-primary, #222); stroke: none; }
"""


def place_on(box: Box, side: str, at: int) -> tuple[int, int]:
    """(x, y) on a side of a box."""
    if side in ("left", "right"):
        return box.left + (box.width if side == "right" else 0), at
    return at, box.bottom if side == "bottom" else box.top


def draw_arrow(start: str, side: str, at: int, end: str, other: str, to: int) -> str:
    (x, y), (to_x, to_y) = place_on(BOXES[start], side, at), place_on(BOXES[end], other, to)
    if other == "top":
        path = f"M{x} {y}V{(y + to_y) // 2}H{to_x}V{to_y - 5}"
        head = f"M{to_x - 4} {to_y - 8}h8L{to_x} {to_y}Z"
    else:
        step = 1 if other == "left" else -1
        path = f"M{x} {y}H{(x + to_x) // 2}V{to_y}H{to_x - 5 * step}"
        head = f"M{to_x - 8 * step} {to_y - 4}v8L{to_x} {to_y}Z"
    return f'<path d="{path}"/>\n<path class="head" d="{head}"/>'


def draw() -> str:
    height = max(box.bottom for box in BOXES.values()) + 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="drawing-of-code" role="img" '
        f"aria-label={quoteattr(TITLE)} "
        f'viewBox="-2 -2 {WIDTH + 4} {height + 2}" style="width: 100%; min-width: 680px">',
        f"<title>{escape(TITLE)}</title>",
        f"<style>{STYLE}</style>",
        *(draw_arrow(*arrow) for arrow in ARROWS),
        *(box.draw() for box in BOXES.values()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    file.write_text(draw(), encoding="utf-8")
