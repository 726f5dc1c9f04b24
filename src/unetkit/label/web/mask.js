// The mask of an image in memory, its strokes, and what undoes them.

const MOST_HISTORY = 1 << 28; // bytes of strokes that can be undone

class Runs { // runs of pixels: first pixel, number, value; neighbours of one value are one run
  constructor() {
    this.array = new Uint32Array(192);
    this.length = 0;
    this.sealed = 0; // where runs begin that may still grow
  }

  add(first, count, value) {
    const {array, length} = this;
    if (length > this.sealed && array[length - 1] === value && array[length - 3] + array[length - 2] === first) {
      array[length - 2] += count;
      return;
    }
    if (length + 3 > array.length) {
      this.array = new Uint32Array(2 * array.length);
      this.array.set(array);
    }
    this.array.set([first, count, value], length);
    this.length += 3;
  }

  from(start) { return this.array.slice(start, this.length); }
}

class Mask {
  constructor(id, height, width, values, revision, unlabelled) {
    Object.assign(this, {id, height, width, values, revision, unlabelled, stroke: null});
    this.undos = [];
    this.redos = [];
    this.bytes = 0;
    this.labelled = 0;
    for (let i = 0; i < values.length; i++) if (values[i] !== unlabelled) this.labelled += 1;
  }

  begin() { this.stroke = {before: new Runs(), after: new Runs(), sent: 0}; }

  // Sets pixels of a row from `first` to `last`; `only` is the value that may be replaced, if any.
  cover(row, first, last, value, only = null) {
    if (row < 0 || row >= this.height) return;
    const start = row * this.width + Math.max(0, first), end = row * this.width + Math.min(this.width - 1, last);
    this.set(start, end - start + 1, value, only);
  }

  set(start, count, value, only = null) {
    const {values, stroke, unlabelled} = this, end = start + count;
    for (let i = start; i < end;) {
      const old = values[i];
      let next = i + 1;
      while (next < end && values[next] === old) next += 1;
      if (old !== value && (only === null || old === only)) {
        stroke.before.add(i, next - i, old);
        stroke.after.add(i, next - i, value);
        if (old === unlabelled) this.labelled += next - i;
        if (value === unlabelled) this.labelled -= next - i;
        values.fill(value, i, next);
      }
      i = next;
    }
  }

  unsent() { // runs of the stroke since the last call
    const {stroke} = this, runs = stroke.after.from(stroke.sent);
    stroke.sent = stroke.after.sealed = stroke.after.length;
    return runs;
  }

  // Ends a stroke and returns what is to be sent of it.
  end() {
    const runs = this.unsent(), {before, after} = this.stroke;
    this.stroke = null;
    if (!after.length) return runs;
    this.bytes -= this.redos.reduce((sum, one) => sum + one.bytes, 0);
    this.redos = [];
    this.keep(this.undos, {before: before.from(0), after: after.from(0)});
    while (this.bytes > MOST_HISTORY && this.undos.length > 1) this.bytes -= this.undos.shift().bytes;
    return runs;
  }

  keep(stack, step) {
    step.bytes = step.before.byteLength + step.after.byteLength;
    this.bytes += step.bytes;
    stack.push(step);
  }

  undo() { return this.step(this.undos, this.redos, true); }

  redo() { return this.step(this.redos, this.undos, false); }

  // Runs that were applied, to be sent; null if there is nothing to undo or do again.
  step(from, to, isBack) {
    const step = from.pop();
    if (!step) return null;
    const runs = isBack ? turned(step.before) : step.after;
    this.apply(runs);
    to.push(step);
    return runs;
  }

  apply(runs) {
    const {values, unlabelled} = this;
    for (let i = 0; i < runs.length; i += 3) {
      const [first, count, value] = [runs[i], runs[i + 1], runs[i + 2]];
      for (let k = first; k < first + count; k++) this.labelled += (values[k] === unlabelled) - (value === unlabelled);
      values.fill(value, first, first + count);
    }
  }

  // Takes back the stroke that has not ended; returns runs to be sent if part of it was.
  cancel() {
    const runs = turned(this.stroke.before.from(0)), wasSent = this.stroke.sent > 0;
    const rest = this.unsent();
    this.stroke = null;
    this.apply(runs);
    return wasSent ? joined([rest, runs]) : new Uint32Array(0);
  }
}

function turned(runs) { // in reverse order: a pixel that a stroke changed twice gets its first value
  const result = new Uint32Array(runs.length);
  for (let i = 0; i < runs.length; i += 3) result.set(runs.subarray(i, i + 3), runs.length - 3 - i);
  return result;
}

function boundsOf(runs, width) { // [left, top, right, bottom] of the pixels, the last two excluded
  let left = Infinity, top = Infinity, right = 0, bottom = 0;
  for (let i = 0; i < runs.length; i += 3) {
    const first = runs[i], last = first + runs[i + 1] - 1;
    const firstRow = Math.floor(first / width), lastRow = Math.floor(last / width);
    top = Math.min(top, firstRow);
    bottom = Math.max(bottom, lastRow + 1);
    left = firstRow === lastRow ? Math.min(left, first % width) : 0;
    right = firstRow === lastRow ? Math.max(right, (last % width) + 1) : width;
  }
  return [left, top, right, bottom];
}
