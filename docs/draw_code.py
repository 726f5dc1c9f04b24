"""Draws how data travel through the rooms of the package: python docs/draw_code.py [FILE].

A file of its own, which a code host shows as well as the site, with dark lines on a light ground.
"""

import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from xml.sax.saxutils import quoteattr

FILE = Path(__file__).parent / "pictures" / "code.svg"
WIDTH = 760
LINE = 17  # pixels from one line of text to the next
PADDING = 12
TITLE = "How data travel through the rooms of unetkit"


@dataclass(frozen=True)
class Box:
    """A room, or what goes in and comes out (then without text)."""

    left: int
    top: int
    width: int
    title: str
    text: tuple[str, ...] = ()
    needs_keras: bool = False

    @property
    def height(self) -> int:
        return 30 + LINE * len(self.text) + (6 if self.text else 4)

    @property
    def bottom(self) -> int:
        return self.top + self.height

    def draw(self) -> str:
        kind = "files" if self.text else "thing"
        rim = " keras" if self.needs_keras else ""
        x = self.left + (PADDING if self.text else self.width / 2)
        parts = [
            f'<rect class="{kind}{rim}" x="{self.left}" y="{self.top}" width="{self.width}" '
            f'height="{self.height}" rx="{6 if self.text else 17}"/>',
            f'<text class="title {kind}" x="{x:g}" y="{self.top + 21}">{escape(self.title)}</text>',
        ]
        parts += [
            f'<text class="line" x="{x:g}" y="{y}">{escape(line)}</text>'
            for y, line in zip(range(self.top + 40, self.bottom, LINE), self.text, strict=False)
        ]
        return "\n".join(parts)


BOXES = {
    "cli": Box(
        0, 0, 760, "cli", ("parses options, calls one function of the rooms below, prints",)
    ),
    "datasets": Box(0, 84, 200, "datasets", ("synthetic pets, cells;", "Oxford-IIIT Pet")),
    "folder": Box(265, 103, 230, "a folder of images and masks"),
    "data": Box(
        560,
        84,
        200,
        "data",
        ("pairs, classes, splits,", "scale, augmentation"),
    ),
    "io": Box(265, 168, 230, "io", ("opens, decodes, encodes", "image files, by windows")),
    "checks": Box(0, 195, 200, "checks", ("what a data set holds,", "and what is wrong with it")),
    "issues": Box(0, 296, 200, "issues, contact sheets"),
    "models": Box(265, 296, 230, "models", ("the U-Net, its sizes,", "the ONNX file"), True),
    "training": Box(
        560,
        222,
        200,
        "training",
        ("configuration, batches,", "the loop, checkpoints,", "model export"),
        True,
    ),
    "objects": Box(580, 360, 85, "objects", ("in masks",)),
    "losses": Box(675, 360, 85, "losses", ("of logits",), True),
    "run": Box(265, 424, 230, "a run folder, model.onnx"),
    "runs": Box(0, 397, 200, "runs", ("list, verify;", "the demo"), True),
    "prediction": Box(
        0, 516, 230, "prediction", ("one model file applied,", "in exact tiles, by windows")
    ),
    "results": Box(0, 618, 200, "results", ("masks, objects, tables,", "whole or by windows")),
    "answer": Box(300, 706, 195, "masks, overlays, tables"),
    "remote": Box(560, 697, 200, "remote", ("files of other machines",)),
    "exports": Box(
        0, 770, 230, "exports", ("the network in other files:", "a web page, ONNX"), True
    ),
    "serve": Box(300, 770, 195, "serve", ("a model over HTTP,", "and its page")),
    "label": Box(560, 770, 200, "label", ("masks drawn in a browser",), True),
    "video": Box(300, 850, 195, "video", ("frames in, masks", "and overlays out")),
    "cluster": Box(0, 708, 200, "cluster", ("batches for workers of Dask",)),
    "metrics": Box(560, 470, 200, "metrics", ("one confusion matrix,", "and what follows")),
    "evaluation": Box(
        300, 516, 195, "evaluation", ("a model scored, runs", "compared, the report")
    ),
    "visualization": Box(
        560, 574, 200, "visualization", ("overlays, figures,", "charts, diagrams"), True
    ),
    "report": Box(300, 640, 195, "report.html"),
}
# From one box to another: leaving and entering at these coordinates along their sides.
ARROWS = (
    ("datasets", "right", 120, "folder", "left", 120),
    ("folder", "right", 120, "data", "left", 120),
    ("io", "right", 190, "data", "bottom", 590),
    ("folder", "bottom", 380, "io", "top", 380),
    ("data", "bottom", 700, "training", "top", 700),
    ("io", "left", 220, "checks", "right", 220),
    ("checks", "bottom", 100, "issues", "top", 100),
    ("models", "right", 315, "training", "left", 290),
    ("objects", "top", 622, "training", "bottom", 622),
    ("losses", "top", 717, "training", "bottom", 717),
    ("training", "bottom", 570, "run", "right", 441),
    ("run", "left", 441, "runs", "right", 441),
    ("run", "bottom", 280, "prediction", "top", 180),
    ("run", "bottom", 400, "evaluation", "top", 400),
    ("prediction", "right", 550, "evaluation", "left", 550),
    ("prediction", "bottom", 100, "results", "top", 100),
    ("prediction", "bottom", 215, "exports", "top", 215),
    ("results", "right", 645, "answer", "left", 723),
    ("answer", "right", 723, "remote", "left", 723),
    ("results", "right", 660, "serve", "left", 800),
    ("results", "right", 675, "video", "left", 885),
    ("results", "bottom", 100, "cluster", "top", 100),
    ("serve", "right", 797, "label", "left", 797),
    ("metrics", "left", 530, "evaluation", "right", 530),
    ("visualization", "left", 610, "report", "right", 655),
    ("evaluation", "bottom", 400, "report", "top", 400),
)
STYLE = """
.drawing-of-code text { fill: #222; font-size: 13px;
  font-family: sans-serif; }
.drawing-of-code .title { font-weight: 600; }
.drawing-of-code .title.thing { font-weight: 400; text-anchor: middle; }
.drawing-of-code .line { font-size: 12px; }
.drawing-of-code rect { fill: #f8f9fb; stroke-width: 1;
  stroke: #6b6f76; }
.drawing-of-code rect.keras { stroke-width: 3; }
.drawing-of-code rect.thing { fill: none; stroke-dasharray: 5 3; }
.drawing-of-code path { fill: none; stroke-width: 1.3;
  stroke: #222; }
.drawing-of-code .head { fill: #222; stroke: none; }
"""


def place_on(box: Box, side: str, at: int) -> tuple[int, int]:
    """(x, y) on a side of a box."""
    if side in ("left", "right"):
        return box.left + (box.width if side == "right" else 0), at
    return at, box.bottom if side == "bottom" else box.top


def draw_arrow(start: str, side: str, at: int, end: str, other: str, to: int) -> str:
    (x, y), (to_x, to_y) = place_on(BOXES[start], side, at), place_on(BOXES[end], other, to)
    leaves_sideways, enters_sideways = side in ("left", "right"), other in ("left", "right")
    if leaves_sideways and enters_sideways:
        bend = f"H{(x + to_x) // 2}V{to_y}"
    elif leaves_sideways:
        bend = f"H{to_x}"
    elif enters_sideways:
        bend = f"V{to_y}"
    else:
        bend = f"V{(y + to_y) // 2}H{to_x}"
    if enters_sideways:
        step = 1 if other == "left" else -1
        end_of_line, head = f"H{to_x - 5 * step}", f"M{to_x - 8 * step} {to_y - 4}v8L{to_x} {to_y}Z"
    else:
        step = 1 if other == "top" else -1
        end_of_line, head = f"V{to_y - 5 * step}", f"M{to_x - 4} {to_y - 8 * step}h8L{to_x} {to_y}Z"
    return f'<path d="M{x} {y}{bend}{end_of_line}"/>\n<path class="head" d="{head}"/>'


def draw() -> str:
    height = max(box.bottom for box in BOXES.values()) + 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="drawing-of-code" role="img" '
        f"aria-label={quoteattr(TITLE)} "
        f'viewBox="-2 -2 {WIDTH + 4} {height + 2}" width="{WIDTH + 4}" height="{height + 2}" '
        'style="background: #fff">',
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
