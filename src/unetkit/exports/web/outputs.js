"use strict";
// What is shown and saved of a segmented image: mask, overlay, cut-out, areas; the same pixels as
// the files of unetkit predict.

// Probabilities of the K classes of a pixel, into `found`, from its logits at `from`.
function softmax(logits, from, classes, found, to) {
  const f = Math.fround;
  let largest = logits[from], sum = 0;
  for (let k = 1; k < classes; k++) largest = Math.max(largest, logits[from + k]);
  for (let k = 0; k < classes; k++) {
    found[to + k] = Math.exp(f(logits[from + k] - largest));
    sum = k === 0 ? found[to] : f(sum + found[to + k]);
  }
  for (let k = 0; k < classes; k++) found[to + k] /= sum;
}

// Divides the logarithms of the probabilities of a pixel by a temperature.
function calibrate(probabilities, temperature) {
  if (temperature === 1) return;
  const f = Math.fround, inverse = f(1 / temperature);
  const logs = probabilities.map((p) => f(f(Math.log(Math.max(p, 1.1754944e-38))) * inverse));
  softmax(logs, 0, logs.length, probabilities, 0);
}

function largestOf(scores, from, classes) {
  let best = 0;
  for (let k = 1; k < classes; k++) if (scores[from + k] > scores[from + best]) best = k;
  return best;
}

// Opacity of a pixel of a cut-out, 0 to 255, from its probabilities at `from`.
function opacityOf(probabilities, from, {background, border}, [transparent, opaque]) {
  const f = Math.fround;
  let missing = probabilities[from + background];
  if (border !== null) missing = f(missing + f(probabilities[from + border] / 2));
  const place = f(f(f(1 - missing) - f(transparent)) / f(opaque - transparent));
  const t = Math.min(1, Math.max(0, place));
  return rint(f(f(f(t * t) * f(3 - f(2 * t))) * 255));
}

// Channels 0 to 2 of the image as people see it.
function shownPixel(image, format, place, found, to) {
  const {channels, data} = image;
  for (let k = 0; k < 3; k++) {
    const channel = channels === 3 ? k : 0;
    let value = data[place * channels + channel];
    if (format.dtype !== "uint8") {
      const scaled = Math.fround(Math.fround(value - format.low[channel]) * format.multiply[channel]);
      value = rint(Math.min(255, Math.max(0, scaled)));
    }
    found[to + k] = value;
  }
}

const VIEW_CHANNELS = {mask: 1, overlay: 3, cutout: 4, photo: 3};

// Pixels of a view at the places from `first` to `last`, row by row, as they are saved.
function viewPixels(view, result, model, first, last) {
  const channels = VIEW_CHANNELS[view], {image, labels, alpha} = result, f = Math.fround;
  if (view === "mask") return labels.subarray(first, last);
  const found = new Uint8Array((last - first) * channels);
  const {background, colours} = model.classes, share = f(model.overlay_strength);
  for (let place = first, to = 0; place < last; place++, to += channels) {
    shownPixel(image, model.pixels, place, found, to);
    if (view === "cutout") found[to + 3] = alpha[place];
    else if (view === "overlay" && labels[place] !== background) {
      const colour = colours[labels[place]];
      for (let k = 0; k < 3; k++) {
        found[to + k] = rint(f(f(found[to + k] * f(1 - share)) + f(colour[k] * share)));
      }
    }
  }
  return found;
}

async function viewAsPng(view, result, model) {
  const {width, height} = result.image;
  const rows = (first, last) => viewPixels(view, result, model, first * width, last * width);
  return encodePng(width, height, VIEW_CHANNELS[view], rows, result.note);
}

// A view for the screen, of at most `side` pixels in height and width: means of square blocks.
function preview(view, result, model, side) {
  const {width, height} = result.image, channels = VIEW_CHANNELS[view];
  const step = Math.max(1, Math.ceil(Math.max(width, height) / side));
  const columns = Math.ceil(width / step), rows = Math.ceil(height / step);
  const found = new Uint8ClampedArray(4 * rows * columns);
  for (let row = 0; row < rows; row++) {
    const sums = new Float64Array(4 * columns), counts = new Uint32Array(columns);
    const end = Math.min(height, (row + 1) * step);
    for (let y = row * step; y < end; y++) {
      const line = viewPixels(view, result, model, y * width, (y + 1) * width);
      for (let x = 0; x < width; x++) {
        const column = Math.floor(x / step);
        const colour = view === "mask" ? model.classes.colours[line[x]] : line;
        const from = view === "mask" ? 0 : x * channels;
        const weight = view === "cutout" ? line[from + 3] : 255;
        for (let k = 0; k < 3; k++) sums[4 * column + k] += colour[from + k] * weight;
        sums[4 * column + 3] += weight;
        counts[column] += 1;
      }
    }
    for (let column = 0; column < columns; column++) {
      const to = 4 * (row * columns + column), weight = sums[4 * column + 3];
      for (let k = 0; k < 3; k++) found[to + k] = weight === 0 ? 0 : sums[4 * column + k] / weight;
      found[to + 3] = weight / counts[column];
    }
  }
  return {width: columns, height: rows, data: found};
}

function countsOf(labels, classes) {
  const counts = new Array(classes).fill(0);
  for (let i = 0; i < labels.length; i++) counts[labels[i]] += 1;
  return counts;
}

function areasAsCsv(names, counts) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const quoted = (name) => (/[",\r\n]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name);
  const rows = names.map((name, k) => `${k},${quoted(name)},${counts[k]},${counts[k] / total}`);
  return `${["number,class,pixels,fraction", ...rows].join("\r\n")}\r\n`;
}
