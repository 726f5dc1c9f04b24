"use strict";
// The network in a thread of its own, so that the page stays alive while it computes.
// Messages in: load, segment, preview, save. Messages out: ready, progress, segmented, preview,
// saved, failed; each with the number of its request.

let model, network, result = null, newest = 0;

onmessage = async ({data}) => {
  if (data.kind === "segment") newest = data.number;
  try {
    const reply = await {load, segment, preview: showView, save}[data.kind](data);
    if (reply) postMessage({number: data.number, ...reply});
  } catch (error) {
    const text = error instanceof Refusal ? error.message : reasonOf(error);
    postMessage({kind: "failed", of: data.kind, number: data.number, text});
  }
};

function reasonOf(error) {
  const text = String(error?.message ?? error);
  const isFull = error instanceof RangeError || /alloc|memory/i.test(text);
  return isFull ? "this browser has too little memory for it" : text.split("\n")[0].slice(0, 200);
}

async function load({packed, described}) {
  model = described;
  const [script, wasm, weights] = await Promise.all(packed.map(unpack));
  const address = URL.createObjectURL(new Blob([script], {type: "text/javascript"}));
  const ort = await import(address);
  URL.revokeObjectURL(address);
  ort.env.wasm.numThreads = 1; // more need a server that isolates the page
  ort.env.wasm.wasmBinary = wasm.buffer;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(weights, {
    executionProviders: ["wasm"], enableMemPattern: false, logSeverityLevel: 4,
  });
  network = async (tile, height, width) => {
    const input = new ort.Tensor("float32", tile, [1, height, width, model.pixels.channels]);
    const found = await session.run({[session.inputNames[0]]: input});
    return found[session.outputNames[0]].data;
  };
  return {kind: "ready"};
}

async function unpack(text) { // base64 of gzip
  const bytes = Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function segment({file, number}) {
  const decoded = await decodeImage(file, model.most_image_pixels);
  if (number !== newest) return null;
  const image = acceptPixels(decoded, model.pixels);
  const found = await segmentPixels(image, async (done, total) => {
    postMessage({kind: "progress", number, done, total});
    await new Promise((resume) => setTimeout(resume)); // for messages that have arrived meanwhile
    return number === newest;
  });
  if (found === null) return null;
  result = found;
  const {width, height} = image;
  return {kind: "segmented", width, height, counts: found.counts, tiles: found.tiles};
}

// Segments pixels that the model takes; `proceed` is called after each tile and says whether to
// go on. Returns null if not.
async function segmentPixels(image, proceed) {
  const {scale, geometry} = model, classes = model.classes.names.length;
  const pixels = image.width * image.height;
  const labels = new Uint8Array(pixels);
  const alpha = model.classes.background === null ? null : new Uint8Array(pixels);
  const {scaled, box} = toNetworkScale(image, scale);
  const isNative = scale.policy === "native", isPixelByPixel = isNative && scale.factor === 1;
  const tiles = cutTiles(geometry, scaled.height, scaled.width, isNative ? model.most_pixels : null);
  const scores = isPixelByPixel ? null : new Float32Array(scaled.height * scaled.width * classes);
  const one = new Float32Array(classes), total = tiles.rows.length * tiles.columns.length;
  const decide = (found, from, place) => {
    labels[place] = largestOf(found, from, classes);
    if (alpha === null) return;
    if (isPixelByPixel) softmax(found, from, classes, one, 0);
    else for (let k = 0; k < classes; k++) one[k] = found[from + k];
    calibrate(one, model.temperature);
    alpha[place] = opacityOf(one, 0, model.classes, model.cutout);
  };
  let done = 0;
  for (const rows of tiles.rows) {
    for (const columns of tiles.columns) {
      if (!(await proceed(done, total))) return null;
      const logits = await network(readTile(scaled, rows, columns), rows.size, columns.size);
      const wide = columns.size - 2 * geometry.margin;
      if (logits.length !== (rows.size - 2 * geometry.margin) * wide * classes) {
        throw new Error("the network's output has another shape than its description");
      }
      for (let row = rows.first; row < rows.last; row++) {
        for (let column = columns.first; column < columns.last; column++) {
          const down = row - rows.start - geometry.margin;
          const across = column - columns.start - geometry.margin;
          const from = classes * (down * wide + across), place = row * scaled.width + column;
          if (!Number.isFinite(logits[from])) throw new Error("the network's answer is not finite");
          if (isPixelByPixel) decide(logits, from, place);
          else softmax(logits, from, classes, scores, classes * place);
        }
      }
      done += 1;
    }
  }
  if (scores !== null) {
    await scaledBack(scores, scaled.width, box, image, decide);
  }
  const counts = countsOf(labels, classes);
  const sizes = {count: total, height: tiles.rows[0].size, width: tiles.columns[0].size};
  return {image, labels, alpha, counts, tiles: sizes, note: {...model.note, tiles: tilesAsText(sizes)}};
}

// Probabilities resized to the image, some rows at a time, each pixel passed to `decide`.
async function scaledBack(scores, width, box, image, decide) {
  const channels = model.classes.names.length;
  const inner = {width: box.width, height: box.height, channels, data: scores};
  if (box.width !== width || box.top !== 0) {
    inner.data = new Float32Array(box.height * box.width * channels);
    for (let row = 0; row < box.height; row++) {
      const from = channels * ((box.top + row) * width + box.left);
      const line = scores.subarray(from, from + channels * box.width);
      inner.data.set(line, row * box.width * channels);
    }
  }
  const down = resampledAxis(box.height, image.height), across = resampledAxis(box.width, image.width);
  const band = Math.max(1, Math.floor((1 << 20) / image.width));
  for (let first = 0; first < image.height; first += band) {
    const last = Math.min(image.height, first + band);
    const {data} = resampleRows(inner, down, across, first, last);
    const start = first * image.width, count = (last - first) * image.width;
    for (let i = 0; i < count; i++) decide(data, i * channels, start + i);
  }
}

function tilesAsText({count, height, width}) {
  return count === 1 ? `one run of ${height}x${width}` : `${count} tiles of ${height}x${width}`;
}

function showView({view, side}) {
  if (result === null) return null;
  const {width, height, data} = preview(view, result, model, side);
  return {kind: "preview", view, width, height, data};
}

async function save({view}) {
  if (result === null) return null;
  const blob = view === "table"
    ? new Blob([areasAsCsv(model.classes.names, result.counts)], {type: "text/csv"})
    : await viewAsPng(view, result, model);
  return {kind: "saved", view, blob};
}
