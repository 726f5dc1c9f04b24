"use strict";
// The enlarged example: four images side by side that are moved and zoomed together.
const dialog = document.querySelector("dialog");
const stage = dialog.querySelector(".panels");
let whole, view;

function show(next) {
  const size = Math.min(whole.width, Math.max(whole.width / 40, next.width));
  const factor = size / whole.width;
  view = {width: size, height: whole.height * factor};
  view.x = Math.min(whole.width - view.width, Math.max(0, next.x));
  view.y = Math.min(whole.height - view.height, Math.max(0, next.y));
  for (const image of stage.querySelectorAll("svg")) {
    image.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
  }
}

function zoom(factor, x = view.x + view.width / 2, y = view.y + view.height / 2) {
  show({width: view.width / factor, x: x - (x - view.x) / factor, y: y - (y - view.y) / factor});
}

function position(event) { // of the pointer, in pixels of the image
  const image = event.target.closest("svg");
  if (!image) return null;
  const matrix = image.getScreenCTM().inverse();
  return new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix);
}

for (const panel of document.querySelectorAll(".case .panel")) {
  panel.addEventListener("click", () => {
    const example = panel.closest(".case");
    stage.replaceChildren(...[...example.querySelectorAll(".panel")].map((each) => {
      const copy = document.createElement("div"); // not a button: it cannot be enlarged further
      copy.className = each.className;
      copy.append(...[...each.childNodes].map((inner) => inner.cloneNode(true)));
      copy.querySelectorAll("[id]").forEach((named) => named.removeAttribute("id"));
      return copy;
    }));
    dialog.querySelector("span").textContent = example.querySelector("figcaption").textContent;
    const box = panel.querySelector("svg").viewBox.baseVal;
    whole = {width: box.width, height: box.height};
    show({width: whole.width, x: 0, y: 0});
    dialog.showModal();
  });
}
for (const button of dialog.querySelectorAll("[data-zoom]")) {
  button.addEventListener("click", () => zoom(Number(button.dataset.zoom) || 1e-9));
}
dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
stage.addEventListener("wheel", (event) => {
  const at = position(event);
  if (!at) return;
  event.preventDefault();
  zoom(event.deltaY < 0 ? 1.25 : 0.8, at.x, at.y);
}, {passive: false});
let start = null;
stage.addEventListener("pointerdown", (event) => {
  start = position(event);
  if (start) stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", (event) => {
  const image = stage.querySelector("svg");
  if (!start || !image) return;
  const scale = image.getScreenCTM().a;
  show({width: view.width, x: view.x - event.movementX / scale, y: view.y - event.movementY / scale});
});
for (const end of ["pointerup", "pointercancel"]) {
  stage.addEventListener(end, () => { start = null; });
}
const keys = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
dialog.addEventListener("keydown", (event) => {
  if (event.key === "+" || event.key === "-") {
    zoom(event.key === "+" ? 1.5 : 1 / 1.5);
  } else if (event.key in keys) {
    const [right, down] = keys[event.key];
    show({width: view.width, x: view.x + right * view.width / 8, y: view.y + down * view.height / 8});
  } else {
    return;
  }
  event.preventDefault();
});
