"use strict";
// A ZIP archive of files, packed by the browser.

// `files` are {name, content}, names differ; returns a Blob.
async function makeZip(files) {
  const parts = [], directory = [];
  let offset = 0;
  for (const {name, content} of files) {
    const packed = await gzip(content), trailer = new DataView(packed.buffer, packed.length - 8);
    const body = packed.subarray(10, packed.length - 8); // between its header and its trailer
    const path = new TextEncoder().encode(name);
    // From "version needed" to "extra length": UTF-8 names, deflate, 1 January 1980.
    const common = bytes([20, 2], [0x0800, 2], [8, 2], [0, 2], [0x21, 2], [trailer.getUint32(0, true), 4],
      [body.length, 4], [trailer.getUint32(4, true), 4], [path.length, 2], [0, 2]);
    parts.push(bytes([0x04034b50, 4]), common, path, body);
    directory.push(bytes([0x02014b50, 4], [20, 2]), common,
      bytes([0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]), path);
    offset += 30 + path.length + body.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = bytes([0x06054b50, 4], [0, 2], [0, 2], [files.length, 2], [files.length, 2], [size, 4],
    [offset, 4], [0, 2]);
  return new Blob([...parts, ...directory, end], {type: "application/zip"});
}

// Its deflate stream and its trailer, of CRC-32 and length, are those of an archive's entry.
async function gzip(content) {
  const packed = new Blob([content]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(packed).arrayBuffer());
}

function bytes(...numbers) { // little endian, each {value, size}
  const found = new Uint8Array(numbers.reduce((sum, [, size]) => sum + size, 0));
  const view = new DataView(found.buffer);
  let at = 0;
  for (const [value, size] of numbers) {
    if (size === 4) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
    at += size;
  }
  return found;
}
