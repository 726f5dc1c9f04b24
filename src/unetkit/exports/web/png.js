"use strict";
// PNG files read and written here and not by the browser: it would change colours by their opacity
// and profile, and keep 8 of 16 bits. Source: PNG 1.2; EXIF 2.3 for the orientation.

const PNG_SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const CHANNELS_OF = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}; // by colour type
const BITS_OF = {0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16]};
// Of each pass of interlaced files: first row and column, and the steps between rows and columns.
const PASSES = [
  [0, 0, 8, 8], [0, 4, 8, 8], [4, 0, 8, 4], [0, 2, 4, 4], [2, 0, 4, 2], [0, 1, 2, 2], [1, 0, 2, 1],
];

const CRC_TABLE = Uint32Array.from({length: 256}, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});

function crc32(...parts) {
  let crc = 0xffffffff;
  for (const bytes of parts) {
    for (let i = 0; i < bytes.length; i++) crc = CRC_TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

function isPng(bytes) {
  return PNG_SIGNATURE.every((value, place) => bytes[place] === value);
}

// The size of a PNG, from its first bytes.
function pngSize(bytes) {
  if (bytes.length < 33) throw new Refusal("it is cut off");
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return {width: view.getUint32(16), height: view.getUint32(20)};
}

// Pixels of a PNG without its opacity: {width, height, channels: 1 or 3, data: 8 or 16 bits}.
async function decodePng(bytes) {
  const {header, content, palette, orientation} = readChunks(bytes);
  const {width, height, bits, colour, isInterlaced} = header;
  const stored = CHANNELS_OF[colour];
  const passes = isInterlaced ? PASSES : [[0, 0, 1, 1]];
  const shapes = passes.map(([row, column, down, across]) => ({
    rows: Math.ceil((height - row) / down), columns: Math.ceil((width - column) / across),
  })).map(({rows, columns}) => (rows > 0 && columns > 0 ? {rows, columns} : {rows: 0, columns: 0}));
  const rowBytes = (columns) => Math.ceil((columns * stored * bits) / 8);
  const total = shapes.reduce((sum, {rows, columns}) => sum + rows * (1 + rowBytes(columns)), 0);
  const raw = await inflate(content, total);
  const channels = colour === 3 || stored >= 3 ? 3 : 1;
  const data = new (bits === 16 ? Uint16Array : Uint8Array)(width * height * channels);
  let offset = 0;
  passes.forEach(([firstRow, firstColumn, down, across], pass) => {
    const {rows, columns} = shapes[pass];
    const step = Math.max(1, (stored * bits) >> 3);
    let above = new Uint8Array(rowBytes(columns));
    for (let row = 0; row < rows; row++) {
      const line = raw.subarray(offset + 1, offset + 1 + above.length);
      unfilter(raw[offset], line, above, step);
      offset += 1 + line.length;
      above = line;
      const start = (firstRow + row * down) * width + firstColumn;
      for (let column = 0; column < columns; column++) {
        const place = channels * (start + column * across);
        if (colour === 3) {
          const index = 3 * sample(line, column, bits);
          if (index >= palette.length) throw new Refusal("a pixel has no colour in its palette");
          for (let k = 0; k < 3; k++) data[place + k] = palette[index + k];
        } else if (bits < 8) { // stretched, so that the largest value is white
          data[place] = sample(line, column, bits) * (255 / ((1 << bits) - 1));
        } else {
          for (let k = 0; k < channels; k++) data[place + k] = sample(line, column * stored + k, bits);
        }
      }
    }
  });
  return turned({width, height, channels, data}, orientation);
}

function readChunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found = {header: null, content: [], palette: new Uint8Array(0), orientation: 1};
  let kind = "", offset = PNG_SIGNATURE.length;
  while (kind !== "IEND") {
    if (offset + 12 > bytes.length) throw new Refusal("it is cut off");
    const length = view.getUint32(offset);
    if (offset + 12 + length > bytes.length) throw new Refusal("it is cut off");
    const chunk = bytes.subarray(offset + 4, offset + 8 + length), body = chunk.subarray(4);
    kind = String.fromCharCode(...chunk.subarray(0, 4));
    const isCritical = kind[0] < "a";
    if (isCritical && view.getUint32(offset + 8 + length) !== crc32(chunk)) {
      throw new Refusal(`its part ${kind} is damaged`);
    }
    if (kind === "IHDR") {
      found.header = {
        width: view.getUint32(offset + 8), height: view.getUint32(offset + 12),
        bits: body[8], colour: body[9], isInterlaced: body[12] === 1,
      };
      if (!BITS_OF[body[9]]?.includes(body[8])) throw new Refusal("its header is damaged");
    } else if (kind === "PLTE") found.palette = body;
    else if (kind === "IDAT") found.content.push(body);
    else if (kind === "eXIf") found.orientation = exifOrientation(body);
    offset += 12 + length;
  }
  if (!found.header) throw new Refusal("it has no header");
  return found;
}

function exifOrientation(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  try {
    const little = view.getUint16(0) === 0x4949, start = view.getUint32(4, little);
    for (let i = 0; i < view.getUint16(start, little); i++) {
      const entry = start + 2 + 12 * i;
      if (view.getUint16(entry, little) !== 0x0112) continue;
      const value = view.getUint16(entry + 8, little);
      return value >= 1 && value <= 8 ? value : 1;
    }
  } catch { /* a damaged block; the pixels are not affected */ }
  return 1;
}

async function inflate(parts, length) {
  const found = new Uint8Array(length);
  const reader = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  let filled = 0;
  try {
    while (filled < length) {
      const {done, value} = await reader.read();
      if (done) break;
      found.set(value.subarray(0, length - filled), filled);
      filled += Math.min(value.length, length - filled);
    }
  } catch {
    throw new Refusal("its pixels are damaged");
  }
  if (filled < length) throw new Refusal("it is cut off");
  reader.cancel().catch(() => {});
  return found;
}

function unfilter(kind, line, above, step) {
  const size = line.length;
  if (kind > 4) throw new Refusal("its pixels are damaged");
  if (kind === 1) for (let i = step; i < size; i++) line[i] += line[i - step];
  else if (kind === 2) for (let i = 0; i < size; i++) line[i] += above[i];
  else if (kind === 3) {
    for (let i = 0; i < size; i++) line[i] += ((i < step ? 0 : line[i - step]) + above[i]) >> 1;
  } else if (kind === 4) {
    for (let i = 0; i < size; i++) {
      const left = i < step ? 0 : line[i - step], up = above[i], corner = i < step ? 0 : above[i - step];
      const toLeft = Math.abs(up - corner), toUp = Math.abs(left - corner);
      const toCorner = Math.abs(left + up - 2 * corner);
      line[i] += toLeft <= toUp && toLeft <= toCorner ? left : toUp <= toCorner ? up : corner;
    }
  }
}

function sample(line, number, bits) {
  if (bits === 8) return line[number];
  if (bits === 16) return (line[2 * number] << 8) | line[2 * number + 1];
  const place = number * bits;
  return (line[place >> 3] >> (8 - bits - (place & 7))) & ((1 << bits) - 1);
}

// A PNG of 8 bits: `rows(first, last)` returns its bytes, of 1, 3 or 4 channels.
async function encodePng(width, height, channels, rows, note) {
  const colour = {1: 0, 3: 2, 4: 6}[channels];
  const header = new Uint8Array(13), view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, colour, 0, 0, 0], 8);
  const stream = new CompressionStream("deflate"), writer = stream.writable.getWriter();
  const packed = new Response(stream.readable).arrayBuffer();
  const band = Math.max(1, Math.floor((1 << 20) / width));
  for (let first = 0; first < height; first += band) {
    const last = Math.min(height, first + band), pixels = await rows(first, last);
    const size = width * channels, lines = new Uint8Array((last - first) * (size + 1));
    for (let row = 0; row < last - first; row++) {
      const to = row * (size + 1), from = row * size;
      const filter = channels > 1 ? 1 : 0; // differences of neighbours, which photos pack well by
      lines[to] = filter;
      for (let i = 0; i < size; i++) {
        const before = filter && i >= channels ? pixels[from + i - channels] : 0;
        lines[to + 1 + i] = pixels[from + i] - before;
      }
    }
    await writer.write(lines);
  }
  await writer.close();
  const text = new TextEncoder().encode(`unetkit\0${asciiJson(note)}`);
  return new Blob([
    new Uint8Array(PNG_SIGNATURE), pngChunk("IHDR", header), pngChunk("tEXt", text),
    pngChunk("IDAT", new Uint8Array(await packed)), pngChunk("IEND", new Uint8Array(0)),
  ], {type: "image/png"});
}

function pngChunk(kind, body) {
  const chunk = new Uint8Array(12 + body.length), view = new DataView(chunk.buffer);
  view.setUint32(0, body.length);
  chunk.set(new TextEncoder().encode(kind), 4);
  chunk.set(body, 8);
  view.setUint32(8 + body.length, crc32(chunk.subarray(4, 8 + body.length)));
  return chunk;
}

function asciiJson(value) { // the text of a PNG has no other characters
  const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(value).replace(/[^\x20-\x7e]/g, escaped);
}
