"""Valid input sizes of a U-Net, its output sizes, and its receptive field.

All of it follows from a few numbers of the configuration: an interval of output rows is followed
backwards through the network to the input rows that it depends on. Rows and columns behave alike,
so one axis is enough. No framework is imported, since prediction needs these numbers for ONNX
files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from unetkit.errors import SizeError

Interval = tuple[int, int]  # first and last index, both included
# (kernel, stride) of convolutions and pooling, in order; (kernel, stride, padding) if the rows that
# are padded before the first one are not those of Keras's "same".
Steps = tuple[tuple[int, ...], ...]
BLOCK: Steps = ((3, 1), (3, 1))  # two 3x3 convolutions


@dataclass(frozen=True)
class Geometry:
    """Sizes and receptive field of a network, in pixels along either axis.

    Args:
        stride: Difference between neighbouring valid input sizes.
        smallest_input: Smallest valid input size; all others are larger by multiples of `stride`.
        margin: Number of input pixels that unpadded convolutions remove on each side; 0 with
            padding.
        reach_before: Extent of the receptive field above and to the left of an output pixel.
        reach_after: Extent of the receptive field below and to the right of an output pixel.
        tile_before: Number of input pixels above and to the left of a tile on which its output
            depends, if the tile begins at a multiple of `stride`; 0 without padding, where the
            margin covers all of them.
        tile_after: Number of input pixels below and to the right of a tile on which its output
            depends, if the tile ends at a multiple of `stride`; 0 without padding.
    """

    stride: int
    smallest_input: int
    margin: int
    reach_before: int
    reach_after: int
    tile_before: int
    tile_after: int

    def output_size(self, size: int) -> int:
        """Output size for an input size.

        Raises:
            SizeError: The input size is not valid.

        >>> unet_geometry(depth=4, padding="valid").output_size(572)
        388
        """
        if size < self.smallest_input or (size - self.smallest_input) % self.stride:
            raise SizeError(
                f"input size {size} does not fit this network; accepted are "
                f"{self.smallest_input} + {self.stride} k; {self._nearest_valid(size)}"
            )
        return size - 2 * self.margin

    def input_size(self, output_size: int) -> int:
        """Smallest input size whose output covers `output_size` pixels.

        >>> unet_geometry(depth=4, padding="same").input_size(100)
        112
        >>> unet_geometry(depth=4, padding="valid").input_size(388)
        572
        """
        missing = output_size + 2 * self.margin - self.smallest_input
        return self.smallest_input + max(0, -(-missing // self.stride)) * self.stride

    def valid_size(self, most: int) -> int:
        """Largest valid input size up to `most`; 0 if there is none.

        >>> unet_geometry(depth=4, padding="valid").valid_size(600)
        588
        """
        if most < self.smallest_input:
            return 0
        return most - (most - self.smallest_input) % self.stride

    def _nearest_valid(self, size: int) -> str:
        below = self.valid_size(size)
        if size < self.smallest_input:
            return f"the nearest is {self.smallest_input}"
        return f"the nearest are {below} and {below + self.stride}"


def unet_geometry(
    depth: int,
    padding: str = "same",
    stem_stride: int = 1,
    up_kernel: int = 2,
    head: bool = False,
) -> Geometry:
    """Geometry of a U-Net with two 3x3 convolutions per block and 2x2 max pooling.

    Args:
        depth: Number of pooling layers.
        padding: "same" or "valid" (unpadded).
        stem_stride: Stride of a 3x3 convolution before the first block, 2; or 1 for none.
        up_kernel: Kernel size of the stride-2 transposed convolutions, 2 or 3.
        head: Whether one more 3x3 convolution precedes the last 1x1 convolution.
    """
    stem: Steps = ((3, 2),) if stem_stride == 2 else ()
    levels = (stem + BLOCK, *[((2, 2), *BLOCK)] * depth)
    walk = _Walk(levels, padding=padding, up_kernel=up_kernel, head=head, last_up=stem_stride == 2)
    return walk.geometry(stem_stride * 2**depth)


def encoder_geometry(
    levels: Sequence[Steps | None], detail: Steps = (), head: bool = False
) -> Geometry:
    """Geometry of a padded U-Net on another encoder, with 2x2 transposed convolutions.

    Args:
        levels: Convolutions of each level of the encoder, whose features of level l have a stride
            of 2^l; None for a level without features, which the decoder passes without a skip
            connection.
        detail: Convolutions between the image and its skip connection.
        head: Whether one more 3x3 convolution precedes the last 1x1 convolution.
    """
    return _Walk(((), *levels), detail=detail, head=head).geometry(2 ** len(levels))


def skip_crops(depth: int, padding: str) -> list[int]:
    """Pixels cropped from each side of each level's skip connection, from the top level down.

    >>> skip_crops(depth=4, padding="valid")  # Ronneberger et al. 2015, figure 1
    [88, 40, 16, 4]
    """
    if padding == "same":
        return [0] * depth
    crops = [4]  # the block below removes 2 rows per side, which are 4 after up-sampling
    while len(crops) < depth:
        crops.append(2 * (crops[-1] + 4))  # the same, plus 2 rows per side of each of two blocks
    return crops[depth - 1 :: -1]


@dataclass(frozen=True)
class _Walk:
    """Follows an interval of output rows back to the input rows that it depends on.

    Args:
        levels: Steps from the features of the level above (the image, above the first one) to those
            of each level; None for a level without features.
        padding: "same" or "valid".
        up_kernel: Kernel size of the transposed convolutions.
        head: Whether a 3x3 convolution follows the last block.
        last_up: Whether a transposed convolution without a skip connection follows the last block.
        detail: Steps between the features of the first level and its skip connection.
    """

    levels: tuple[Steps | None, ...]
    padding: str = "same"
    up_kernel: int = 2
    head: bool = False
    last_up: bool = False
    detail: Steps = ()

    @property
    def depth(self) -> int:
        return len(self.levels) - 1

    def geometry(self, stride: int) -> Geometry:
        padded = self.padding == "same"
        smallest_input, margin = (stride, 0) if padded else self.unpadded_sizes()
        spans = [(row, self.input_interval((row, row))) for row in range(stride)]
        first, last = self.input_interval((0, stride - 1))
        return Geometry(
            stride=stride,
            smallest_input=smallest_input,
            margin=margin,
            reach_before=max(row + margin - first for row, (first, _) in spans),
            reach_after=max(last - row - margin for row, (_, last) in spans),
            tile_before=-first if padded else 0,
            tile_after=last - (stride - 1) if padded else 0,
        )

    def input_interval(self, rows: Interval) -> Interval:
        if self.head:
            rows = self._before(BLOCK[:1], rows)
        if self.last_up:
            rows = self._up(rows)
        return self._level(0, rows)

    def _level(self, level: int, rows: Interval) -> Interval:
        """From rows of a decoder block's output to the input of the same level's encoder block.

        Without features of its own, a level has no encoder block: the one below follows the one
        above.
        """
        steps = self.levels[level]
        if level < self.depth:
            merged = self._before(BLOCK, rows)
            below = self._level(level + 1, self._up(merged))
            if steps is None:
                return below
            crop = skip_crops(self.depth, self.padding)[level]
            skip = self._before(self.detail if level == 0 else (), merged)
            rows = min(below[0], skip[0] + crop), max(below[1], skip[1] + crop)
        return self._before(steps or (), rows)

    def _before(self, steps: Steps, rows: Interval) -> Interval:
        """Rows of the input of some layers on which rows of their output depend."""
        first, last = rows
        for kernel, stride, *given in reversed(steps):
            before = given[0] if given else 0
            if not given and self.padding == "same":
                # Keras pads even sizes by kernel - stride rows, the odd one at the end.
                before = max(0, kernel - stride) // 2
            first, last = stride * first - before, stride * last - before + kernel - 1
        return first, last

    def _up(self, rows: Interval) -> Interval:
        # With kernel 3, output row o depends on the input rows i with 2i <= o <= 2i + 2.
        overhang = self.up_kernel - 2
        return (rows[0] - overhang) // 2, rows[1] // 2

    def unpadded_sizes(self) -> tuple[int, int]:
        """Smallest input with at least one output row, and the rows removed on each side."""
        bottom = 1
        while self._sizes(bottom)[1] < 1:
            bottom += 1
        smallest, output = self._sizes(bottom)
        return smallest, (smallest - output) // 2

    def _sizes(self, bottom: int) -> tuple[int, int]:
        """Input and output size for a bottleneck of `bottom` rows; 0 if a feature map is empty."""
        size, output = bottom + 4, bottom
        for _ in range(self.depth):
            size = 2 * size + 4
            output = max(0, 2 * output - 4)
        return size, output - 2 if self.head else output
