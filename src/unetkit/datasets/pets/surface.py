"""Round cones in space, and their visible surface, with fur.

`Cone` and `chain` describe limbs, cushions and balls; `Camera` projects them; `find_surface`
returns the surface nearest to the viewer in each pixel, with depth, normal and direction of hairs.

Outline, depth and normal of a round cone (two spheres and their hull) follow from a
few array operations, so an animal needs no mesh, its silhouette is exact, and hairs follow the
limbs. A first pass over the cones finds the nearest one in each pixel; everything else is computed
once, from that cone.

Axes in space: forward, up, towards the animal's left; 1 is a body length and the ground is at
height 0. Axes of what is projected: column, row, towards the viewer, in pixels.

Which cones make an animal, and what a region number means, is in `animal`; objects are in `scene`,
colours in `coat`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

# Depth behind everything that is drawn, in pixels.
_OUTSIDE = np.float32(-1e6)

Point3D = Sequence[float] | np.ndarray  # three coordinates


class Camera(NamedTuple):
    """Parallel projection: animal coordinates to (column, row, towards the viewer) in pixels."""

    rotation: np.ndarray
    scale: float
    column: float
    row: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) in body lengths to (N, 3) in pixels."""
        moved = points @ self.rotation.T * self.scale + (self.column, self.row, 0.0)
        return np.asarray(moved)

    def unproject(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `project`."""
        turn = np.asarray(self.rotation / self.scale, points.dtype)
        moved = points - np.array((self.column, self.row, 0), points.dtype)
        return np.asarray(moved @ turn)


class Cone(NamedTuple):
    """A round cone: two spheres and their hull; `offset` continues `along` from the last cone."""

    start: Point3D
    end: Point3D
    start_radius: float
    end_radius: float
    region: int
    offset: float = 0.0

    def projected(self, camera: Camera) -> Cone:
        """Returns the cone projected by a camera, in pixels."""
        start, end = camera.project(np.array((self.start, self.end), float))
        first, last = camera.scale * self.start_radius, camera.scale * self.end_radius
        return Cone(start, end, first, last, self.region, self.offset)


class Surface(NamedTuple):
    """Nearest surface of some cones in a window of the canvas; each array is (h, w)."""

    window: tuple[slice, slice]
    alpha: np.ndarray
    depth: np.ndarray
    normal: np.ndarray  # (h, w, 3): right, down, towards the viewer
    along: np.ndarray  # pixels along the limb
    hair: np.ndarray  # light and dark of single hairs, deviation 1
    region: np.ndarray


def chain(points: Sequence[Point3D], radii: Sequence[float], region: int) -> list[Cone]:
    """Returns cones between successive points; `along` increases through the whole chain."""
    cones, offset = [], 0.0
    for i, start in enumerate(points[:-1]):
        cones.append(Cone(start, points[i + 1], radii[i], radii[i + 1], region, offset))
        offset += math.dist(start, points[i + 1])
    return cones


@functools.cache
def fur_tile() -> np.ndarray:
    """Returns a texture of hairs along the columns, (256, 256) float32, mean 0, deviation 1.

    It is the same in every image and is periodic. It is cached: do not write to it.
    """
    noise = np.random.default_rng(0).standard_normal((256, 256), np.float32)
    noise = np.pad(noise, 32, mode="wrap")
    fine = cv2.GaussianBlur(noise, (0, 0), sigmaX=5, sigmaY=0.8)[32:-32, 32:-32]
    coarse = cv2.GaussianBlur(noise, (0, 0), sigmaX=8, sigmaY=3)[32:-32, 32:-32]
    tile = fine / fine.std() + 0.8 * coarse / coarse.std()
    return np.asarray((tile - tile.mean()) / tile.std(), np.float32)


def sample_tile(tile: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Samples a periodic tile at coordinates in its pixels, (h, w) float32."""
    return cv2.remap(
        tile,
        columns.astype(np.float32, copy=False),
        rows.astype(np.float32, copy=False),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )


def find_surface(
    cones: list[Cone], shape: tuple[int, int], fur: np.ndarray, scale: float
) -> Surface:
    """Finds the surface nearest to the viewer in each pixel, with a slightly hairy outline.

    Args:
        cones: Projected cones, in pixels.
        shape: (height, width) of the canvas.
        fur: Texture from `fur_tile`, perhaps rolled.
        scale: Pixels per body length, for the size of hairs and rounded creases.

    Returns:
        The surface in the smallest window of the canvas that contains it.
    """
    soft = max(0.012 * scale, 0.6)
    table, low, high = _cone_table(cones, shape, scale, 3.4 * soft + 2)
    (left, top), (right, bottom) = low.min(0), high.max(0)
    columns = np.arange(left, right, dtype=np.float32)[None, :]
    rows = np.arange(top, bottom, dtype=np.float32)[:, None]
    winner, depth, distance = _lay_cones(table, low, high, columns, rows)
    x0, y0, z0, dx, dy, dz, r0, dr, down, right_, slant, offset, region = table.T[:, winner]
    x, y = columns - x0, rows - y0
    along, across = offset + (x * right_ + y * down) * slant, x * down - y * right_
    t = _place(x, y, dx, dy)
    x, y = x - t * dx, y - t * dy
    depth = np.where(depth < _OUTSIDE / 2, z0 + t * dz, depth)
    radius = np.maximum(r0 + t * dr, np.sqrt(x * x + y * y))
    # Blurring rounds the creases where cones meet.
    planar = cv2.GaussianBlur(np.dstack((x / radius, y / radius)), (0, 0), soft * 1.25)
    towards = np.sqrt(np.clip(1 - planar[..., 0] ** 2 - planar[..., 1] ** 2, 0.01, 1))
    edge = cv2.GaussianBlur(distance, (0, 0), soft)
    # Hairs keep their size in the image when the animal is nearer, as in a portrait.
    fine = min(scale, 0.75 * math.sqrt(shape[0] * shape[1]))
    hair = sample_tile(fur, along * (130 / fine), across * (130 / fine))
    alpha = np.clip(0.5 - edge + 0.005 * fine * hair, 0, 1)
    window, normal = (slice(top, bottom), slice(left, right)), np.dstack((planar, towards))
    return Surface(window, alpha, depth, normal, along, hair, region.astype(np.uint8))


def _cone_table(
    cones: list[Cone], shape: tuple[int, int], scale: float, margin: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cones as rows of numbers, and the first and one past the last (column, row) of each.

    Returns:
        (N, 13) float32: start (3), end less start (3), radius and its growth, direction of the
        hairs (row, column), their stretch and offset, region; and two (N, 2) int64.
    """
    start, end = (np.array([cone[i] for cone in cones], np.float32) for i in (0, 1))
    radii = np.array([cone[2:4] for cone in cones], np.float32)
    axis, length = end - start, np.linalg.norm(end - start, axis=1)
    flat = np.hypot(axis[:, 0], axis[:, 1])[:, None]
    # Hairs follow the limb even if only its end is visible; those of a ball hang down.
    way = np.where(flat > 0.03, axis[:, 1::-1] / (flat + 1e-6), (1, 0))
    slant = np.clip(length[:, None] / (flat + 1e-6), 1, 2)
    # Seen almost end-on, a cone's nearer sphere hides the rest of it.
    for i in np.flatnonzero(length > 2 * flat[:, 0]):
        near = int(axis[i, 2] > 0)
        start[i] = end[i] = (start[i], end[i])[near]
        radii[i] = radii[i, near]
    reach = radii.max(1)[:, None] + margin
    low = np.floor(np.minimum(start, end)[:, :2] - reach).astype(int)
    high = np.ceil(np.maximum(start, end)[:, :2] + reach).astype(int) + 1
    low, high = (np.clip(corner, 0, shape[::-1]) for corner in (low, high))
    rest = np.array([(cone.offset * scale, cone.region) for cone in cones])
    growth = radii[:, 1:] - radii[:, :1]
    columns = (start, end - start, radii[:, :1], growth, way, slant, rest)
    return np.hstack(columns).astype(np.float32), low, high


def _place(x: np.ndarray, y: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Position of the nearest point along an axis, from 0 at its start to 1 at its end."""
    t = (x * dx + y * dy) / (dx * dx + dy * dy + np.float32(1e-3))
    return np.asarray(np.minimum(np.maximum(t, 0), 1))


def _lay_cones(
    table: np.ndarray, low: np.ndarray, high: np.ndarray, columns: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest cone of each pixel.

    Args:
        table, low, high: Result of `_cone_table`.
        columns: Column coordinates of the window, (1, w) float32.
        rows: Row coordinates of the window, (h, 1) float32.

    Returns:
        Number of the cone, its depth, and the distance to the nearest outline, negative inside;
        each (h, w).
    """
    left, top = low.min(0)
    winner = np.zeros((rows.size, columns.size), np.uint8)
    depth = np.full(winner.shape, -1e9, np.float32)
    distance = np.full(winner.shape, 1e6, np.float32)
    for i in np.flatnonzero((low < high).all(1)).tolist():
        box = (slice(low[i, 1] - top, high[i, 1] - top), slice(low[i, 0] - left, high[i, 0] - left))
        spot = columns[:, box[1]], rows[box[0]]
        _lay_cone(i, table[i], *spot, winner[box], depth[box], distance[box])
    return winner, depth, distance


def _lay_cone(
    number: int,
    cone: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    winner: np.ndarray,
    depth: np.ndarray,
    distance: np.ndarray,
) -> None:
    """Writes one cone into the arrays of its box wherever it is nearest so far."""
    x0, y0, z0, dx, dy, dz, r0, dr = cone[:8]
    x, y = x - x0, y - y0
    t = _place(x, y, dx, dy)
    x, y = x - t * dx, y - t * dy
    squared = x * x + y * y
    radius = r0 + t * dr
    edge = np.sqrt(squared) - radius
    np.minimum(distance, edge, out=distance)
    front = z0 + t * dz + np.sqrt(np.maximum(radius * radius - squared, 0))
    # Outside all cones the nearest outline decides, whatever its depth.
    front = np.where(edge < 0, front, _OUTSIDE - edge)
    nearer = front > depth
    np.copyto(depth, front, where=nearer)
    np.copyto(winner, np.uint8(number), where=nearer)
