// What the pointer and the keys do on the stage.

const TOOLS = { // by name: words, key, and what it does
  brush: ["Brush", "b", "draws the class"],
  eraser: ["Eraser", "e", "makes pixels unlabelled"],
  polygon: ["Polygon", "p", "corners by clicks; Enter closes it"],
  lasso: ["Lasso", "l", "fills what it goes around"],
  fill: ["Fill", "f", "a region of similar colour"],
  pick: ["Pick", "i", "takes what is under the pointer"],
  pan: ["Move", "h", "moves the image"],
};
const OBJECT_TOOLS = {
  merge: ["Merge", "m", "a click gives an object the current number"],
  cut: ["Cut", "c", "a line divides an object"],
};
const FLUSH_MILLISECONDS = 400; // after which the beginning of a long stroke is sent
const NEAR = 10; // pixels of the screen within which a click closes a polygon

class Drawing {
  constructor(view, outbox, hooks) {
    Object.assign(this, {view, outbox, hooks, tool: "brush", value: 0, size: 20, tolerance: 16, protect: false});
    this.points = []; // corners of a polygon, or the line of a lasso or cut, in pixels of the image
    this.pointers = new Map();
    this.cursor = null; // where the keys are, in pixels of the image
    this.hover = null; // where the pointer is, in pixels of the stage
    this.last = null; // where the brush was
    this.isSpace = this.hasPen = this.isPenDown = false;
    const {stage} = view;
    stage.addEventListener("pointerdown", (event) => this.down(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => this.up(event));
    stage.addEventListener("pointerleave", () => { this.hover = null; view.later(); });
    stage.addEventListener("wheel", (event) => this.wheel(event), {passive: false});
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
    stage.addEventListener("dblclick", () => this.tool === "polygon" && this.close());
    view.drawMarks = (context) => this.drawMarks(context);
    setInterval(() => this.flush(), FLUSH_MILLISECONDS);
  }

  get mask() { return this.view.mask; }

  get radius() { return this.size / 2; }

  choose(tool) {
    this.stop();
    this.tool = tool;
    this.view.later();
  }

  stop() { // gives up what has begun and is not complete
    if (this.mask?.stroke) this.finish();
    this.points = [];
    this.isPenDown = false;
    this.action = null;
    this.view.later();
  }

  flush() {
    if (this.mask?.stroke) this.outbox.add(this.mask, this.mask.unsent());
  }

  at(event) {
    const box = this.view.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    if (!this.mask || event.target.closest("button")) return;
    const [x, y] = this.at(event);
    this.view.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [x, y]);
    this.cursor = null;
    this.hasPen ||= event.pointerType === "pen";
    if (event.pointerType === "touch" && this.pointers.size > 1) {
      if (this.action === "draw" && this.mask.stroke) this.takeBack();
      if (this.tool !== "polygon") this.points = [];
      this.action = "pinch";
      return;
    }
    const isMoving = this.tool === "pan" || this.isSpace || event.button > 0 || (event.pointerType === "touch" && this.hasPen);
    if (event.pointerType === "pen" && event.buttons & 32) this.begin(...this.view.toImage(x, y), "eraser");
    else if (isMoving) this.action = "pan";
    else this.begin(...this.view.toImage(x, y), event.altKey ? "pick" : this.tool);
  }

  move(event) {
    const place = this.at(event), before = this.pointers.get(event.pointerId);
    this.hover = event.pointerType === "touch" ? null : place;
    this.view.later();
    if (!before) return;
    if (this.action === "pinch" && this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const distance = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
      const middle = [(place[0] + other[0]) / 2, (place[1] + other[1]) / 2];
      this.view.pan((place[0] - before[0]) / 2, (place[1] - before[1]) / 2);
      this.view.zoom(distance(place) / distance(before), ...middle);
    } else if (this.action === "pan") this.view.pan(place[0] - before[0], place[1] - before[1]);
    else if (this.action) {
      const steps = event.getCoalescedEvents?.() ?? [];
      for (const step of steps.length ? steps : [event]) this.go(...this.view.toImage(...this.at(step)));
    }
    this.pointers.set(event.pointerId, place);
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.action === "pinch" || this.action === "pan") {
      if (!this.pointers.size) this.action = null;
    } else if (this.action) {
      if (event.type === "pointercancel" && this.mask.stroke) this.takeBack();
      else this.complete();
      this.action = null;
    }
  }

  wheel(event) {
    event.preventDefault();
    if (!this.mask) return;
    const lines = event.deltaMode === 1 ? 30 : 1;
    this.view.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), ...this.at(event));
  }

  // A stroke, corner, fill or choice begins at a point of the image.
  begin(x, y, tool) {
    this.action = "draw";
    this.using = tool;
    if (tool === "brush" || tool === "eraser") {
      this.mask.begin();
      this.last = this.snapped(x, y);
      this.brush(...this.last);
    } else if (tool === "lasso" || tool === "cut") this.points = [[x, y]];
    else if (tool === "polygon") this.corner(x, y);
    else if (tool === "fill") this.fill(x, y);
    else if (tool === "pick" || tool === "merge") this.touch(x, y, tool);
  }

  go(x, y) {
    const tool = this.using;
    if (tool === "brush" || tool === "eraser") this.brush(...this.snapped(x, y));
    else if (tool === "lasso" || tool === "cut") {
      this.points.push([x, y]);
      this.view.later();
    }
  }

  complete() {
    const tool = this.using;
    if (this.mask.stroke) this.finish();
    else if (tool === "lasso") this.close();
    else if (tool === "cut") {
      this.mask.begin();
      const parts = cutObject(this.mask, this.points, this.hooks.background());
      this.points = [];
      this.finish();
      this.hooks.say(parts > 1 ? `The object is cut into ${parts}.` : "The line does not divide an object: draw it right across one.");
    }
  }

  snapped(x, y) { // a brush of a pixel or two is drawn at centres of pixels
    return this.size > 2 ? [x, y] : [Math.floor(x) + 0.5, Math.floor(y) + 0.5];
  }

  paintValue() { return this.using === "eraser" ? this.mask.unlabelled : this.value; }

  brush(x, y) {
    const {mask, radius, last: [ax, ay]} = this, value = this.paintValue();
    const only = this.protect && this.using !== "eraser" ? mask.unlabelled : null;
    coverCapsule(ax, ay, x, y, radius, (row, first, last) => mask.cover(row, first, last, value, only));
    this.view.changed([Math.min(ax, x) - radius, Math.min(ay, y) - radius, Math.max(ax, x) + radius + 1, Math.max(ay, y) + radius + 1]);
    this.last = [x, y];
  }

  corner(x, y) {
    const {points, view} = this;
    if (points.length > 2) {
      const [sx, sy] = view.toStage(x, y);
      const isNear = ([px, py]) => { const [qx, qy] = view.toStage(px, py); return Math.hypot(qx - sx, qy - sy) < NEAR; };
      if (isNear(points[0]) || (this.cursor && isNear(points.at(-1)))) return this.close();
    }
    points.push([x, y]);
    view.later();
    return undefined;
  }

  close() { // fills the polygon or lasso
    const {points, mask} = this;
    this.points = [];
    this.view.later();
    if (points.length < 3) return;
    mask.begin();
    const only = this.protect ? mask.unlabelled : null;
    coverPolygon(points, (row, first, last) => mask.cover(row, first, last, this.value, only));
    this.finish();
  }

  async fill(x, y) {
    const {mask, value, tolerance} = this;
    const column = Math.floor(x), row = Math.floor(y);
    if (column < 0 || row < 0 || column >= mask.width || row >= mask.height) return;
    await this.outbox.empty();
    try {
      const answer = await ask(`v1/images/${mask.id}/region?row=${row}&column=${column}&tolerance=${tolerance}`);
      const runs = new Uint32Array(await answer.arrayBuffer());
      if (mask !== this.mask || mask.stroke) return;
      mask.begin();
      for (let i = 0; i < runs.length; i += 2) mask.set(runs[i], runs[i + 1], value);
      this.finish();
    } catch (error) {
      this.hooks.warn(error);
    }
  }

  touch(x, y, tool) {
    const {mask} = this, column = Math.floor(x), row = Math.floor(y);
    if (column < 0 || row < 0 || column >= mask.width || row >= mask.height) return;
    const value = mask.values[row * mask.width + column];
    if (tool === "pick") this.hooks.pick(value);
    else if (value !== mask.unlabelled && value !== this.hooks.background() && value !== this.value) {
      mask.begin();
      renumber(mask, value, this.value);
      this.finish();
    }
  }

  finish() {
    const {mask} = this, stroke = mask.stroke.after;
    const bounds = boundsOf(stroke.from(0), mask.width);
    this.outbox.add(mask, mask.end());
    this.view.changed(bounds);
    this.hooks.drawn();
  }

  takeBack() {
    this.outbox.add(this.mask, this.mask.cancel());
    this.view.changed();
    this.hooks.drawn();
  }

  step(isBack) {
    if (!this.mask || this.mask.stroke) return;
    if (isBack && this.points.length && this.tool === "polygon") {
      this.points.pop();
      this.view.later();
      return;
    }
    const runs = isBack ? this.mask.undo() : this.mask.redo();
    if (!runs) return;
    this.outbox.add(this.mask, runs);
    this.view.changed(boundsOf(runs, this.mask.width));
    this.hooks.drawn();
  }

  // Keys on the stage; returns whether the key was for it.
  key(event) {
    const arrows = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
    const {mask, view} = this;
    if (event.key in arrows) {
      const length = event.altKey ? 1 : Math.max(1, Math.round((event.shiftKey ? 40 : 8) / view.scale));
      const [dx, dy] = arrows[event.key];
      const [x, y] = this.cursor ?? view.toImage(view.size[0] / 2, view.size[1] / 2).map((at) => Math.floor(at) + 0.5);
      this.cursor = [Math.min(mask.width - 0.5, Math.max(0.5, x + dx * length)), Math.min(mask.height - 0.5, Math.max(0.5, y + dy * length))];
      view.reveal(...this.cursor);
      if (this.isPenDown) this.go(...this.cursor);
      view.later();
      return true;
    }
    if (event.key === "Enter") {
      if (!this.cursor && this.tool === "polygon") this.close();
      else if (this.isPenDown) {
        this.isPenDown = false;
        this.complete();
        this.action = null;
      } else if (this.cursor && this.tool !== "pan") {
        this.begin(...this.cursor, this.tool);
        this.isPenDown = ["brush", "eraser", "lasso", "cut"].includes(this.tool);
        if (!this.isPenDown) this.action = null;
      }
      return true;
    }
    if (event.key === "Escape") {
      if (mask.stroke) this.takeBack();
      this.stop();
      return true;
    }
    if (event.key === "Backspace" && this.points.length) {
      this.points.pop();
      view.later();
      return true;
    }
    return false;
  }

  drawMarks(context) {
    const {view, points} = this, cursor = this.cursor ? view.toStage(...this.cursor) : this.hover;
    const line = (path) => {
      for (const [style, width] of [["#000000aa", 3], ["#ffffff", 1.5]]) {
        context.strokeStyle = style;
        context.lineWidth = width;
        context.stroke(path);
      }
    };
    if (points.length) {
      const path = new Path2D();
      for (const point of points) path.lineTo(...view.toStage(...point));
      if (this.tool === "polygon" && cursor) path.lineTo(...cursor);
      line(path);
      if (this.tool === "polygon") {
        const corners = new Path2D();
        for (const point of points) {
          const [x, y] = view.toStage(...point);
          corners.rect(x - 3, y - 3, 6, 6);
        }
        line(corners);
      }
    }
    if (!cursor) return;
    const path = new Path2D(), [x, y] = cursor;
    if (this.tool === "brush" || this.tool === "eraser") path.arc(x, y, Math.max(2, this.radius * view.scale), 0, 7);
    if (this.cursor || this.tool !== "brush") {
      path.moveTo(x - 8, y);
      path.lineTo(x + 8, y);
      path.moveTo(x, y - 8);
      path.lineTo(x, y + 8);
    }
    line(path);
    if (this.isPenDown) {
      context.fillStyle = "#d55e00";
      context.beginPath();
      context.arc(x, y, 4, 0, 7);
      context.fill();
    }
  }
}
