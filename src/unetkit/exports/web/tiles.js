"use strict";
// An image cut into tiles whose outputs, put together, are those of one run over the whole image:
// tiles start at multiples of the network's stride, and the outputs that the border of a tile
// affects are thrown away. The same cuts as unetkit predict makes for the same size of a tile.

function inputSize(geometry, output) {
  const missing = output + 2 * geometry.margin - geometry.smallest_input;
  return geometry.smallest_input + Math.max(0, Math.ceil(missing / geometry.stride)) * geometry.stride;
}

function upToStride(geometry, size) {
  return Math.ceil(size / geometry.stride) * geometry.stride;
}

function lostRows(geometry) {
  const lost = 2 * geometry.margin + upToStride(geometry, geometry.tile_before) + upToStride(geometry, geometry.tile_after);
  const rest = (geometry.smallest_input - lost) % geometry.stride;
  return lost + (rest < 0 ? rest + geometry.stride : rest);
}

function smallestTile(geometry) {
  return inputSize(geometry, lostRows(geometry) - 2 * geometry.margin + geometry.stride);
}

function countTiles(geometry, size, tile) {
  const whole = inputSize(geometry, size);
  return tile >= whole ? 1 : 1 - Math.floor((tile - whole) / (tile - lostRows(geometry)));
}

function tileSide(geometry, size, count) {
  const whole = inputSize(geometry, size), lost = lostRows(geometry);
  const least = count > 1 ? lost - Math.floor((lost - whole) / count) : whole;
  return inputSize(geometry, least - 2 * geometry.margin);
}

// Spans of rows: where the input of a tile starts, its size, and the rows of the image it decides.
function spansOf(geometry, size, count) {
  const whole = inputSize(geometry, size), tile = tileSide(geometry, size, count);
  const starts = Array.from({length: count}, (_, i) => Math.min(i * (tile - lostRows(geometry)), whole - tile));
  const firsts = starts.map((start, i) => (i === 0 ? 0 : start + upToStride(geometry, geometry.tile_before)));
  return starts.map((start, i) => ({
    start: start - geometry.margin, size: tile, first: firsts[i],
    last: Math.min(i + 1 < count ? firsts[i + 1] : size, size),
  }));
}

// The spans of rows and columns of all tiles; of at most `mostPixels` each, unless it is null.
function cutTiles(geometry, height, width, mostPixels) {
  let best = null; // pixels of all tiles, rows of tiles, columns of tiles
  if (mostPixels === null) best = [0, 1, 1];
  else {
    const least = [height, width].map((side) => Math.min(smallestTile(geometry), inputSize(geometry, side)));
    const highest = Math.min(inputSize(geometry, height), Math.floor(mostPixels / least[1]));
    for (let allowed = least[0]; allowed <= highest; allowed += geometry.stride) {
      const rows = countTiles(geometry, height, allowed), tall = tileSide(geometry, height, rows);
      const most = Math.floor(mostPixels / tall);
      if (most < Math.max(least[1], geometry.smallest_input)) continue;
      const wide = most - ((most - geometry.smallest_input) % geometry.stride);
      if (wide < least[1]) continue;
      const columns = countTiles(geometry, width, wide);
      const found = [rows * tall * columns * tileSide(geometry, width, columns), rows, columns];
      const order = best === null ? -1 : found.map((value, i) => value - best[i]).find(Boolean) ?? 0;
      if (order < 0) best = found;
    }
  }
  return {rows: spansOf(geometry, height, best[1]), columns: spansOf(geometry, width, best[2])};
}

// The index of the image that each row of a span shows, mirrored beyond the edges.
function mirroredIndices(span, size) {
  const period = Math.max(1, 2 * (size - 1));
  return Int32Array.from({length: span.size}, (_, i) => {
    const row = (((span.start + i) % period) + period) % period;
    return Math.min(row, period - row);
  });
}

// The input of a tile, in single precision.
function readTile(image, rows, columns) {
  const down = mirroredIndices(rows, image.height), across = mirroredIndices(columns, image.width);
  const {channels} = image, found = new Float32Array(down.length * across.length * channels);
  let to = 0;
  for (const row of down) {
    for (const column of across) {
      const from = channels * (row * image.width + column);
      for (let k = 0; k < channels; k++) found[to++] = image.data[from + k];
    }
  }
  return found;
}
