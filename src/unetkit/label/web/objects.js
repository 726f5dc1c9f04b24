// Objects of a mask, each with its own number: found, merged, cut.

function largestNumber(mask) {
  let largest = 0;
  for (const value of mask.values) if (value !== mask.unlabelled && value > largest) largest = value;
  return largest;
}

// Gives all pixels of one number another one, within a stroke that has begun.
function renumber(mask, from, to) {
  const {values} = mask;
  for (let i = 0; i < values.length;) {
    if (values[i] !== from) { i += 1; continue; }
    let end = i + 1;
    while (end < values.length && values[end] === from) end += 1;
    mask.set(i, end - i, to);
    i = end;
  }
}

// Cuts the object that a line passes through most, within a stroke that has begun. The largest part
// keeps the number, each further one gets a new one; pixels of the line stay with the largest part.
// Returns the number of parts.
function cutObject(mask, points, background) {
  const {values, width, height, unlabelled} = mask, line = new Set(), counts = new Map();
  for (let i = 0; i + 1 < points.length; i++) {
    lineThrough(...points[i], ...points[i + 1], (x, y) => {
      if (x < 0 || y < 0 || x >= width || y >= height) return;
      const place = y * width + x, value = values[place];
      if (line.has(place)) return;
      line.add(place);
      if (value !== unlabelled && value !== background) counts.set(value, (counts.get(value) ?? 0) + 1);
    });
  }
  if (!counts.size) return 0;
  const number = [...counts].reduce((best, one) => (one[1] > best[1] ? one : best))[0];
  const seen = new Uint8Array(values.length), parts = [];
  for (const place of line) {
    for (const near of neighbours(place, width, height)) {
      if (values[near] === number && !line.has(near) && !seen[near]) parts.push(collect(near));
    }
  }
  parts.sort((a, b) => b.length - a.length);
  let next = largestNumber(mask);
  for (const part of parts.slice(1)) {
    next += 1;
    part.sort((a, b) => a - b);
    for (const place of part) mask.set(place, 1, next);
  }
  return parts.length;

  function collect(start) { // pixels of the object that are connected without crossing the line
    const found = [start];
    seen[start] = 1;
    for (let i = 0; i < found.length; i++) {
      for (const near of neighbours(found[i], width, height)) {
        if (values[near] !== number || seen[near] || line.has(near)) continue;
        seen[near] = 1;
        found.push(near);
      }
    }
    return found;
  }
}

function neighbours(place, width, height) { // that share an edge
  const x = place % width, found = [];
  if (x > 0) found.push(place - 1);
  if (x < width - 1) found.push(place + 1);
  if (place >= width) found.push(place - width);
  if (place < width * (height - 1)) found.push(place + width);
  return found;
}

function colourOfNumber(number) { // 0xffBBGGRR, far apart for neighbours in number
  const hue = (number * 0.6180339887498949) % 1, light = 0.5 + 0.12 * (number % 3);
  const channel = (shift) => {
    const k = (shift + hue * 12) % 12;
    return Math.round(255 * (light - 0.42 * Math.min(light, 1 - light) * 2 * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  const [red, green, blue] = [0, 8, 4].map((shift) => Math.max(0, Math.min(255, channel(shift))));
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
