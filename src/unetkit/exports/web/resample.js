"use strict";
// Images resized as in training and prediction: reduced axes take the mean of the area of each new
// pixel, enlarged ones interpolate linearly. Each product and sum is rounded to single precision,
// from the first row to the last, so that the values are those of unetkit predict bit for bit.

const MOST_SINGLE_ROWS = 16; // sums of more rows are in double precision

function resampledAxis(source, target) {
  const shrinks = target <= source, isEqual = target === source;
  const isDouble = source > MOST_SINGLE_ROWS * target;
  const first = new Int32Array(target), last = new Int32Array(target);
  const centre = (i) => (2 * i + 1) * source - target; // in units of 1 / (2 target) of a row
  for (let i = 0; i < target; i++) {
    if (shrinks) {
      first[i] = Math.floor((i * source) / target);
      last[i] = Math.ceil(((i + 1) * source) / target) - 1;
    } else {
      first[i] = Math.max(0, Math.floor(centre(i) / (2 * target)));
      last[i] = Math.min(source - 1, Math.ceil(centre(i) / (2 * target)));
    }
  }
  const taps = shrinks ? Math.max(...pairsOf(first, last)) : 2;
  const indices = new Int32Array(target * taps), weights = new Float64Array(target * taps);
  for (let i = 0; i < target; i++) {
    for (let tap = 0; tap < taps; tap++) {
      const row = Math.min(first[i] + tap, last[i]);
      let weight;
      if (shrinks) {
        const covered = Math.min((row + 1) * target, (i + 1) * source) - Math.max(row * target, i * source);
        weight = first[i] + tap <= last[i] ? covered / source : 0;
      } else {
        const beyond = first[i] === last[i] ? 0 : (centre(i) - 2 * target * first[i]) / (2 * target);
        weight = tap === 0 ? 1 - beyond : beyond;
      }
      indices[i * taps + tap] = row;
      weights[i * taps + tap] = isDouble ? weight : Math.fround(weight);
    }
  }
  return {source, target, shrinks, isEqual, isDouble, first, last, taps, indices, weights};
}

function pairsOf(first, last) {
  const counts = new Set();
  for (let i = 0; i < first.length; i++) counts.add(last[i] - first[i] + 1);
  return counts;
}

// Rows `from` to `to` of the resized image, in single precision, not rounded to whole numbers.
function resampleRows(image, down, across, from, to) {
  const top = down.isEqual ? from : down.first[from];
  const bottom = down.isEqual ? to : down.last[to - 1] + 1;
  const line = image.width * image.channels;
  let found = {
    width: image.width, height: bottom - top, channels: image.channels,
    data: image.data.subarray(top * line, bottom * line),
  };
  if (down.shrinks) {
    found = alongRows(found, down, from, to, top);
    return alongColumns(found, across);
  }
  return alongRows(alongColumns(found, across), down, from, to, top);
}

function resample(image, height, width) {
  if (height === image.height && width === image.width) return image;
  const down = resampledAxis(image.height, height), across = resampledAxis(image.width, width);
  const found = resampleRows(image, down, across, 0, height);
  if (!(image.data instanceof Float32Array)) {
    found.data = image.data.constructor.from(found.data, rint);
  }
  return found;
}

function alongRows(image, axis, from, to, top) {
  if (axis.isEqual) return image;
  const line = image.width * image.channels, {taps, indices, weights, isDouble} = axis;
  const data = new Float32Array((to - from) * line), source = image.data, f = Math.fround;
  const sums = isDouble ? new Float64Array(line) : new Float32Array(line);
  for (let row = from; row < to; row++) {
    for (let tap = 0; tap < taps; tap++) {
      const start = (indices[row * taps + tap] - top) * line, weight = weights[row * taps + tap];
      if (tap === 0) for (let i = 0; i < line; i++) sums[i] = source[start + i] * weight;
      else if (isDouble) for (let i = 0; i < line; i++) sums[i] += source[start + i] * weight;
      else for (let i = 0; i < line; i++) sums[i] += f(source[start + i] * weight);
    }
    data.set(sums, (row - from) * line);
  }
  return {...image, height: to - from, data};
}

function alongColumns(image, axis) {
  if (axis.isEqual) return image;
  const {width, height, channels, data: source} = image, {target, taps, indices, weights} = axis;
  const data = new Float32Array(height * target * channels), f = Math.fround;
  let to = 0;
  for (let row = 0; row < height; row++) {
    const start = row * width * channels;
    for (let column = 0; column < target; column++) {
      for (let k = 0; k < channels; k++) {
        let place = column * taps, sum = source[start + indices[place] * channels + k] * weights[place];
        if (axis.isDouble) {
          for (let tap = 1; tap < taps; tap++) {
            place += 1;
            sum += source[start + indices[place] * channels + k] * weights[place];
          }
        } else {
          sum = f(sum);
          for (let tap = 1; tap < taps; tap++) {
            place += 1;
            sum = f(sum + f(source[start + indices[place] * channels + k] * weights[place]));
          }
        }
        data[to++] = sum;
      }
    }
  }
  return {width: target, height, channels, data};
}

// The image at the network's scale, and the box that it fills there.
function toNetworkScale(image, scale) {
  const {height, width} = image;
  let rows, columns, box;
  if (scale.policy === "native") {
    rows = Math.max(1, rint(height * scale.factor));
    columns = Math.max(1, rint(width * scale.factor));
  } else {
    ({height: rows, width: columns} = scale);
  }
  box = {top: 0, left: 0, height: rows, width: columns};
  if (scale.policy !== "native" && scale.fit === "letterbox") {
    const shrink = Math.min(rows / height, columns / width);
    box.height = Math.min(rows, Math.max(1, rint(height * shrink)));
    box.width = Math.min(columns, Math.max(1, rint(width * shrink)));
    box.top = Math.floor((rows - box.height) / 2);
    box.left = Math.floor((columns - box.width) / 2);
  }
  const inner = resample(image, box.height, box.width);
  if (box.height === rows && box.width === columns) return {scaled: inner, box};
  const {channels} = image, data = new inner.data.constructor(rows * columns * channels);
  let to = 0;
  for (let row = 0; row < rows; row++) { // bars repeat the edge of the image
    const down = Math.min(box.height - 1, Math.max(0, row - box.top));
    for (let column = 0; column < columns; column++) {
      const across = Math.min(box.width - 1, Math.max(0, column - box.left));
      const from = channels * (down * box.width + across);
      for (let k = 0; k < channels; k++) data[to++] = inner.data[from + k];
    }
  }
  return {scaled: {width: columns, height: rows, channels, data}, box};
}
