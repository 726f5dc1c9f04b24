// What is seen of an image: its tiles, its mask over them, and where it is zoomed to.

const MOST_TILES = 160; // in memory, of a mebibyte each
const MOST_FETCHES = 6;
const LARGEST_ZOOM = 40; // pixels of the screen for one of the image
const STRIPE = 3; // pixels of the screen, of the stripes of suggestions

class View {
  constructor(stage) {
    this.stage = stage;
    const [photo, labels, marks] = ["photo", "labels", "marks"].map((id) => stage.querySelector(`#${id}`));
    Object.assign(this, {photo, labels, marks, mask: null, suggestion: null, scale: 1, left: 0, top: 0});
    this.tiles = new Map(); // by "level/row/column": an image, or null while it is fetched
    this.fetching = 0;
    this.wanted = [];
    this.dirty = null; // part of the labels to be drawn again, [left, top, right, bottom] of the stage
    this.isMoved = false;
    this.frame = 0;
    this.drawMarks = () => {};
    new ResizeObserver(() => this.resize()).observe(stage);
  }

  // `colours`: 0xAABBGGRR of each value in the mask.
  open(image, mask, colours) {
    for (const tile of this.tiles.values()) tile?.close();
    this.tiles.clear();
    this.wanted = [];
    this.abort?.abort();
    this.abort = new AbortController();
    Object.assign(this, {image, mask, colours, suggestion: null, certainty: null, known: null});
    this.resize();
    this.fit();
  }

  resize() {
    const {clientWidth: width, clientHeight: height} = this.stage;
    if (!width || !height) return;
    this.ratio = Math.min(2, devicePixelRatio || 1);
    const isFitted = this.mask && this.isFit;
    for (const [canvas, ratio] of [[this.photo, this.ratio], [this.labels, 1], [this.marks, this.ratio]]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    this.size = [width, height];
    this.pixels = new ImageData(this.labels.width, this.labels.height);
    this.colourOf = new Uint32Array(this.pixels.data.buffer);
    if (isFitted) this.fit();
    else this.moved();
  }

  fit() {
    if (!this.mask) return;
    const [width, height] = this.size, {mask} = this;
    this.scale = Math.min((width - 16) / mask.width, (height - 16) / mask.height, 8);
    this.left = (mask.width - width / this.scale) / 2;
    this.top = (mask.height - height / this.scale) / 2;
    this.moved();
    this.isFit = true;
  }

  toImage(x, y) { return [this.left + x / this.scale, this.top + y / this.scale]; }

  toStage(x, y) { return [(x - this.left) * this.scale, (y - this.top) * this.scale]; }

  zoom(factor, x = this.size[0] / 2, y = this.size[1] / 2) { // the point x, y of the stage stays
    const [width, height] = this.size, {mask} = this;
    const least = Math.min(width / mask.width, height / mask.height, 1) / 2;
    const scale = Math.min(LARGEST_ZOOM, Math.max(least, this.scale * factor));
    const [ix, iy] = this.toImage(x, y);
    this.scale = scale;
    this.left = ix - x / scale;
    this.top = iy - y / scale;
    this.keepInside();
  }

  pan(dx, dy) {
    this.left -= dx / this.scale;
    this.top -= dy / this.scale;
    this.keepInside();
  }

  keepInside() { // some of the image stays on the stage
    const [width, height] = this.size, {mask, scale} = this, margin = Math.min(60, width / 4, height / 4);
    this.left = Math.min(mask.width - margin / scale, Math.max((margin - width) / scale, this.left));
    this.top = Math.min(mask.height - margin / scale, Math.max((margin - height) / scale, this.top));
    this.moved();
  }

  reveal(x, y) { // a point of the image, near the edge of the stage or outside it
    const [sx, sy] = this.toStage(x, y), [width, height] = this.size, edge = 24;
    const dx = sx < edge ? edge - sx : sx > width - edge ? width - edge - sx : 0;
    const dy = sy < edge ? edge - sy : sy > height - edge ? height - edge - sy : 0;
    if (dx || dy) this.pan(dx, dy);
  }

  moved() {
    this.isMoved = true;
    this.isFit = false;
    this.later();
    this.onMove?.();
  }

  changed(bounds) { // part of the image, [left, top, right, bottom]; without it all of it
    const [width, height] = this.size;
    let part = [0, 0, width, height];
    if (bounds) {
      const [x0, y0] = this.toStage(bounds[0], bounds[1]), [x1, y1] = this.toStage(bounds[2], bounds[3]);
      part = [Math.max(0, Math.floor(x0) - 1), Math.max(0, Math.floor(y0) - 1), Math.min(width, Math.ceil(x1) + 1), Math.min(height, Math.ceil(y1) + 1)];
      if (part[0] >= part[2] || part[1] >= part[3]) return;
    }
    const {dirty} = this;
    this.dirty = !dirty ? part : [Math.min(dirty[0], part[0]), Math.min(dirty[1], part[1]), Math.max(dirty[2], part[2]), Math.max(dirty[3], part[3])];
    this.later();
  }

  later() { this.frame ||= requestAnimationFrame(() => this.draw()); }

  draw() {
    this.frame = 0;
    if (!this.mask) return;
    if (this.isMoved) {
      this.drawPhoto();
      this.dirty = [0, 0, this.labels.width, this.labels.height];
      this.isMoved = false;
    }
    if (this.dirty) this.drawLabels(this.dirty);
    this.dirty = null;
    const context = this.marks.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.marks.width, this.marks.height);
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    this.drawMarks(context);
  }

  drawPhoto() {
    const {image, scale, ratio, photo} = this, context = photo.getContext("2d", {alpha: true});
    const coarsest = image.levels - 1;
    const level = Math.max(0, Math.min(coarsest, Math.floor(Math.log2(1 / (scale * ratio)) + 0.1)));
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, photo.width, photo.height);
    context.imageSmoothingEnabled = scale * ratio < 2;
    this.wanted = [];
    for (const one of new Set([coarsest, level])) this.drawLevel(context, one);
    this.fetchTiles();
  }

  drawLevel(context, level) {
    const {image, scale, ratio, size: [width, height]} = this, side = image.tile * 2 ** level;
    const across = Math.ceil(image.width / side), down = Math.ceil(image.height / side);
    const [x1, y1] = this.toImage(width, height);
    for (let row = Math.max(0, Math.floor(this.top / side)); row < Math.min(down, y1 / side); row++) {
      for (let column = Math.max(0, Math.floor(this.left / side)); column < Math.min(across, x1 / side); column++) {
        const key = `${level}/${row}/${column}`, tile = this.tiles.get(key);
        if (tile === undefined) this.wanted.push(key);
        if (!tile) continue;
        this.tiles.delete(key); // the last one used
        this.tiles.set(key, tile);
        const [x, y] = this.toStage(column * side, row * side);
        const right = Math.min(image.width, column * side + tile.width * 2 ** level);
        const bottom = Math.min(image.height, row * side + tile.height * 2 ** level);
        const x2 = (right - this.left) * scale, y2 = (bottom - this.top) * scale;
        context.drawImage(tile, x * ratio, y * ratio, (x2 - x) * ratio, (y2 - y) * ratio);
      }
    }
  }

  fetchTiles() {
    while (this.fetching < MOST_FETCHES && this.wanted.length) this.fetchTile(this.wanted.shift());
  }

  async fetchTile(key) {
    const {abort, image} = this;
    this.tiles.set(key, null);
    this.fetching += 1;
    try {
      const answer = await ask(`v1/images/${image.id}/tiles/${key}`, {signal: abort.signal});
      const tile = await createImageBitmap(await answer.blob());
      if (abort !== this.abort) tile.close();
      else this.tiles.set(key, tile);
    } catch {
      if (abort === this.abort) {
        this.tiles.delete(key);
        setTimeout(() => { this.isMoved = true; this.later(); }, 1500); // asked for again, if still to be seen
      }
    }
    this.fetching -= 1;
    for (const [old, tile] of this.tiles) {
      if (this.tiles.size <= MOST_TILES) break;
      tile?.close();
      if (tile) this.tiles.delete(old);
    }
    if (abort === this.abort) {
      this.isMoved = true;
      this.later();
    }
    this.fetchTiles();
  }

  drawLabels([left, top, right, bottom]) {
    const {mask: {values, width, height, unlabelled}, certainty, least, colours, colourOf, scale, labels} = this;
    const suggestion = this.isSuggested ? this.suggestion : null;
    const columns = new Int32Array(right - left);
    for (let x = left; x < right; x++) {
      const column = Math.floor(this.left + (x + 0.5) / scale);
      columns[x - left] = column >= 0 && column < width ? column : -1;
    }
    for (let y = top; y < bottom; y++) {
      const row = Math.floor(this.top + (y + 0.5) / scale), place = y * labels.width;
      if (row < 0 || row >= height) {
        colourOf.fill(0, place + left, place + right);
        continue;
      }
      const start = row * width;
      for (let x = left; x < right; x++) {
        const column = columns[x - left];
        let colour = 0;
        if (column >= 0) {
          const value = values[start + column];
          if (value !== unlabelled) colour = colours[value];
          else if (suggestion && Math.floor((x + y) / STRIPE) % (certainty[start + column] < least ? 4 : 2) === 0) {
            colour = colours[suggestion[start + column]];
          }
        }
        colourOf[place + x] = colour;
      }
    }
    labels.getContext("2d").putImageData(this.pixels, 0, 0, left, top, right - left, bottom - top);
  }
}
