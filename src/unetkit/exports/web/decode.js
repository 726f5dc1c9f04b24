"use strict";
// Image files to pixels as the model takes them: upright, without opacity, grey or colour.

class Refusal extends Error {} // its message completes "NAME cannot be opened: ..."

// JPEG and others are decoded by the browser, which has no pixels of more than 8 bits to give.
async function decodeImage(file, mostPixels) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (isPng(bytes)) {
    requireFewPixels(pngSize(bytes), mostPixels);
    return decodePng(bytes);
  }
  const signature = String.fromCharCode(...bytes.subarray(0, 4));
  let bitmap;
  try {
    // By itself, a browser would change colours by the file's profile, and by their opacity.
    const exact = {colorSpaceConversion: "none", premultiplyAlpha: "none"};
    bitmap = await createImageBitmap(new Blob([bytes], {type: file.type}), exact);
  } catch {
    const isTiff = signature === "II*\0" || signature === "MM\0*";
    const kind = isTiff ? "it is a TIFF, which this browser does not show" : "it is not an image that this browser shows, or it is damaged";
    throw new Refusal(`${kind}; open a PNG, JPEG or WebP`);
  }
  try {
    requireFewPixels(bitmap, mostPixels);
    return pixelsOf(bitmap);
  } finally {
    bitmap.close();
  }
}

function requireFewPixels({width, height}, most) {
  if (width === 0 || height === 0) throw new Refusal("it has no pixels");
  if (width * height <= most) return;
  const millions = (pixels) => (pixels / 1e6).toFixed(0);
  throw new Refusal(
    `it is ${width} × ${height}, ${millions(width * height)} million pixels; ` +
    `this page takes up to ${millions(most)} million; unetkit predict has no such limit`,
  );
}

function pixelsOf(bitmap) {
  const {width, height} = bitmap, data = new Uint8Array(3 * width * height);
  const side = 2048, canvas = new OffscreenCanvas(Math.min(side, width), Math.min(side, height));
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.globalCompositeOperation = "copy";
  for (let top = 0; top < height; top += side) {
    for (let left = 0; left < width; left += side) {
      const rows = Math.min(side, height - top), columns = Math.min(side, width - left);
      context.drawImage(bitmap, -left, -top);
      const piece = context.getImageData(0, 0, columns, rows).data;
      for (let row = 0; row < rows; row++) {
        let to = 3 * ((top + row) * width + left), from = 4 * row * columns;
        for (let column = 0; column < columns; column++, to += 3, from += 4) {
          data[to] = piece[from];
          data[to + 1] = piece[from + 1];
          data[to + 2] = piece[from + 2];
        }
      }
    }
  }
  return {width, height, channels: 3, data};
}

// Source: EXIF 2.3, tag 0x0112: where the first row and the first column belong.
function turned(image, orientation) {
  if (orientation === 1) return image;
  const {width, height, channels, data} = image;
  const isSwapped = orientation >= 5;
  const rows = isSwapped ? width : height, columns = isSwapped ? height : width;
  const flipsRows = [3, 4, 7, 8].includes(orientation);
  const flipsColumns = [2, 3, 6, 7].includes(orientation);
  const found = new data.constructor(data.length);
  let to = 0;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const down = flipsRows ? rows - 1 - row : row;
      const across = flipsColumns ? columns - 1 - column : column;
      const from = channels * (isSwapped ? across * width + down : down * width + across);
      for (let k = 0; k < channels; k++) found[to++] = data[from + k];
    }
  }
  return {width: columns, height: rows, channels, data: found};
}

// Converts channels and bits to those of the model, if `pixels` is its pixel format.
function acceptPixels(image, pixels) {
  const {width, height} = image, count = width * height;
  let {data} = image;
  if (image.channels === 3 && pixels.channels === 1) {
    const grey = new data.constructor(count), [red, green, blue] = pixels.luma;
    const f = Math.fround;
    for (let i = 0, j = 0; i < count; i++, j += 3) {
      grey[i] = rint(f(f(f(data[j] * red) + f(data[j + 1] * green)) + f(data[j + 2] * blue)));
    }
    data = grey;
  } else if (image.channels === 1 && pixels.channels === 3) {
    const colours = new data.constructor(3 * count);
    for (let i = 0, j = 0; i < count; i++) {
      for (let k = 0; k < 3; k++) colours[j++] = data[i];
    }
    data = colours;
  }
  if (pixels.dtype === "uint16" && data instanceof Uint8Array) {
    data = Uint16Array.from(data, (value) => value * 257);
  } else if (pixels.dtype === "uint8" && data instanceof Uint16Array) {
    data = Uint8Array.from(data, (value) => Math.floor((value + 128) / 257));
  }
  return {width, height, channels: pixels.channels, data};
}

// To the nearest whole number, of two equally near to the even one, as NumPy's.
function rint(value) {
  const below = Math.floor(value), rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}
