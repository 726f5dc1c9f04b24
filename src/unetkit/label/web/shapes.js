// Which pixels a shape covers, row by row: those whose centres are inside. Coordinates count from the
// upper left corner of the image, so that the centre of the first pixel is at (0.5, 0.5).

// `emit(row, first, last)` gets the columns of each row, both included.
function coverCapsule(ax, ay, bx, by, radius, emit) { // a disc that is moved from a to b
  const length = Math.hypot(bx - ax, by - ay);
  const nx = length ? (-(by - ay) / length) * radius : 0, ny = length ? ((bx - ax) / length) * radius : 0;
  const corners = [[ax + nx, ay + ny], [bx + nx, by + ny], [bx - nx, by - ny], [ax - nx, ay - ny]];
  const top = Math.floor(Math.min(ay, by) - radius), bottom = Math.ceil(Math.max(ay, by) + radius);
  for (let row = top; row <= bottom; row++) {
    const y = row + 0.5;
    let left = Infinity, right = -Infinity;
    const reach = (x) => { left = Math.min(left, x); right = Math.max(right, x); };
    for (const [cx, cy] of [[ax, ay], [bx, by]]) {
      const square = radius * radius - (y - cy) * (y - cy);
      if (square < 0) continue;
      reach(cx - Math.sqrt(square));
      reach(cx + Math.sqrt(square));
    }
    for (let i = 0; length && i < 4; i++) {
      const [x0, y0] = corners[i], [x1, y1] = corners[(i + 1) % 4];
      if (y0 === y1 || y < Math.min(y0, y1) || y > Math.max(y0, y1)) continue;
      reach(x0 + ((y - y0) / (y1 - y0)) * (x1 - x0));
    }
    const first = Math.ceil(left - 0.5), last = Math.floor(right - 0.5);
    if (first <= last) emit(row, first, last);
  }
}

function coverPolygon(points, emit) { // by the rule of even and odd crossings
  const ys = points.map(([, y]) => y);
  const top = Math.floor(Math.min(...ys)), bottom = Math.ceil(Math.max(...ys));
  for (let row = top; row <= bottom; row++) {
    const y = row + 0.5, crossings = [];
    for (let i = 0; i < points.length; i++) {
      const [x0, y0] = points[i], [x1, y1] = points[(i + 1) % points.length];
      if ((y0 <= y) !== (y1 <= y)) crossings.push(x0 + ((y - y0) / (y1 - y0)) * (x1 - x0));
    }
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const first = Math.ceil(crossings[i] - 0.5), last = Math.ceil(crossings[i + 1] - 0.5) - 1;
      if (first <= last) emit(row, first, last);
    }
  }
}

function lineThrough(ax, ay, bx, by, visit) { // pixels of a line, each beside the one before, not diagonal
  let x = Math.floor(ax), y = Math.floor(ay);
  const endX = Math.floor(bx), endY = Math.floor(by), stepX = Math.sign(endX - x), stepY = Math.sign(endY - y);
  const dx = Math.abs(endX - x), dy = Math.abs(endY - y);
  visit(x, y);
  for (let ix = 0, iy = 0; ix < dx || iy < dy;) {
    if ((1 + 2 * ix) * dy < (1 + 2 * iy) * dx) { x += stepX; ix += 1; }
    else { y += stepY; iy += 1; }
    visit(x, y);
  }
}
