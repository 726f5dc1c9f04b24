"use strict";
// The page: takes an image, shows what the worker answers, and saves it.

const model = JSON.parse(document.getElementById("model").textContent);
const find = (selector) => document.querySelector(selector);
const input = find(".drop input"), status = find("[role=status]"), progress = find("progress");
const problem = find(".problem"), result = find("#result"), canvas = find("canvas");
const SIDE = 2048; // pixels of the longer side of an image on the screen, at most
const NEEDED = ["Worker", "WebAssembly", "DecompressionStream", "CompressionStream", "OffscreenCanvas"];

let worker = null, isReady = false, number = 0, started = 0, waiting = null, current = null;

function say(text, share) { // share done of the work: a number, null for unknown; else no work
  status.textContent = text;
  progress.hidden = share === undefined;
  if (share === null) progress.removeAttribute("value");
  else if (share !== undefined) progress.value = share;
}

function warn(text) {
  problem.textContent = text;
  problem.hidden = !text;
}

function count(pixels) {
  return pixels.toLocaleString("en");
}

function begin() {
  const missing = NEEDED.filter((name) => !(name in window));
  if (missing.length) {
    say("");
    warn(`This browser lacks ${missing.join(", ")}, which the network needs; open the page in a newer one.`);
    return;
  }
  say("Loading the network …", null);
  const source = new Blob([find("#worker").textContent], {type: "text/javascript"});
  worker = new Worker(URL.createObjectURL(source));
  worker.onmessage = ({data}) => answers[data.kind](data);
  worker.onerror = (event) => {
    say("");
    warn(`This browser cannot run the network: ${event.message || "it allows no worker"}.`);
  };
  const packed = [...document.querySelectorAll(".packed")];
  worker.postMessage({kind: "load", described: model, packed: packed.map((one) => one.textContent)});
  for (const one of packed) one.remove();
}

const answers = {
  ready() {
    isReady = true;
    input.disabled = false;
    say("The network is ready.");
    if (waiting !== null) segment(waiting);
  },
  progress({number: of, done, total}) {
    if (of !== number) return;
    const tiles = total > 1 ? `, tile ${done + 1} of ${total}` : "";
    say(`Segmenting ${current.name}${tiles} …`, total > 1 ? done / total : null);
  },
  segmented({number: of, ...found}) {
    if (of !== number) return;
    const seconds = (performance.now() - started) / 1000;
    Object.assign(current, found);
    const {count: runs, height, width} = found.tiles;
    const work = runs === 1 ? `one run of ${height} × ${width}` : `${runs} tiles of ${height} × ${width}`;
    find("figcaption").textContent =
      `${current.name}, ${found.width} × ${found.height} pixels, ${seconds.toFixed(1)} s, ${work}`;
    fillTable(found.counts);
    showView();
    say(`${current.name} is segmented.`);
    document.body.classList.add("filled");
    result.classList.remove("stale");
    result.hidden = false;
  },
  preview({view, width, height, data}) {
    if (view !== chosenView()) return;
    canvas.width = width;
    canvas.height = height;
    canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
    canvas.className = view === "cutout" ? "clear" : "";
    // Small images are enlarged, tiny ones so that their pixels are seen; none is cut off.
    const longer = Math.max(width, height);
    const enlarged = longer < 160 ? Math.floor(320 / longer) : longer < 720 ? 1.5 : 1;
    canvas.classList.toggle("small", longer < 160);
    canvas.style.width = `min(100%, ${enlarged * width}px, ${(74 * width) / height}vh)`;
    const label = find(`.views [value=${view}] + span`).textContent;
    canvas.setAttribute("aria-label", `${label} of ${current.name}`);
  },
  saved({view, blob}) {
    const ends = {mask: ".png", overlay: "_overlay.png", cutout: "_cutout.png", table: ".csv"};
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = current.name.replace(/\.[^.]*$/, "") + ends[view];
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say(`${link.download} is saved.`);
  },
  failed({of, number: request, text}) {
    if (of === "segment" && request !== number) return;
    say(isReady ? "The network is ready." : "");
    const name = current?.name ?? "the image";
    const what = {
      load: "The network cannot be loaded", segment: `${name} cannot be segmented`,
      save: "The file cannot be made", preview: "The view cannot be drawn",
    }[of];
    warn(`${what}: ${text}.`);
    result.hidden = of === "segment" || result.hidden;
  },
};

function chosenView() {
  return find("[name=view]:checked").value;
}

function showView() {
  worker.postMessage({kind: "preview", view: chosenView(), side: SIDE, number});
}

function fillTable(counts) {
  const total = counts.reduce((sum, pixels) => sum + pixels, 0);
  find("tbody").replaceChildren(...model.classes.names.map((name, k) => {
    const row = document.createElement("tr"), head = document.createElement("th");
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = `rgb(${model.classes.colours[k].join(" ")})`;
    head.scope = "row";
    head.append(swatch, name);
    row.append(head, Object.assign(document.createElement("td"), {textContent: k}));
    for (const text of [count(counts[k]), `${((100 * counts[k]) / total).toFixed(1)} %`]) {
      row.append(Object.assign(document.createElement("td"), {textContent: text}));
    }
    return row;
  }));
}

function segment(files) {
  if (!isReady) { // an image that is dropped early waits for the network
    waiting = files;
    return;
  }
  waiting = null;
  const images = [...files], image = images[0];
  if (!image) return;
  number += 1;
  started = performance.now();
  current = {name: image.name || "pasted image"};
  warn(images.length > 1 ? `Of ${images.length} files, the first is segmented: ${current.name}.` : "");
  say(`Opening ${current.name} …`, null);
  result.classList.add("stale");
  worker.postMessage({kind: "segment", file: image, number});
}

listenForFiles(input, segment, warn);
for (const radio of document.querySelectorAll("[name=view]")) radio.addEventListener("change", showView);
for (const button of document.querySelectorAll("[data-save]")) {
  button.addEventListener("click", () => {
    say("Writing the file …", null);
    worker.postMessage({kind: "save", view: button.dataset.save, number});
  });
}
if (model.classes.background === null) { // nothing that could be left out of a cut-out
  for (const one of document.querySelectorAll("[value=cutout], [data-save=cutout]")) {
    (one.closest("label") ?? one).remove();
  }
}
begin();
