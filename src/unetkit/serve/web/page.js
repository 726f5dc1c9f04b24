"use strict";
// The page of a server: sends images, one after another, and shows masks over them.

const find = (selector) => document.querySelector(selector);
const input = find(".drop input"), status = find("[role=status]"), progress = find("progress");
const problem = find(".problem"), result = find("#result"), stage = find("#stage");
const photo = find("#photo"), mask = find("#mask"), line = find(".line");
const opacity = find("#opacity"), divider = find("#divider");
const SAVES = { // what can be saved, of what the server offers: words, and the end of a file's name
  mask: ["mask", "PNG, class numbers", ".png"],
  overlay: ["overlay", "PNG", "_overlay.png"],
  cutout: ["cut-out", "PNG, transparent", "_cutout.png"],
  geojson: ["polygons", "GeoJSON", ".geojson"],
  objects: ["objects", "TIFF, numbers", "_objects.tif"],
  table: ["objects", "CSV, measures", "_objects.csv"],
  probabilities: ["probabilities", "NPZ, for NumPy", "_probabilities.npz"],
};
const ZIPPED = ["mask", "overlay", "cutout", "geojson", "objects", "table"];
const ZOOMS = [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8];
const TRIES = 8; // of a request that the server is too busy for

let model = null, token = "", shown = null, zoom = null, isSending = false;
const images = []; // {file, name, state, words, pixels, size, button}
const hidden = new Set(); // classes that are switched off

function say(text, isBusy = false) {
  status.textContent = text;
  progress.hidden = !isBusy;
  progress.removeAttribute("value");
}

function warn(text, again = null) {
  problem.replaceChildren(text);
  problem.hidden = !text;
  if (again === null) return;
  const button = Object.assign(document.createElement("button"), {type: "button", textContent: "Try again"});
  button.addEventListener("click", () => { warn(""); again(); });
  problem.append(button);
}

class Refused extends Error {
  constructor(status, sentence, wait) {
    super(sentence);
    Object.assign(this, {status, wait});
  }
}

async function ask(path, body) { // the answer, or an error whose message is a sentence
  const headers = token ? {Authorization: `Bearer ${token}`} : {};
  let response;
  try {
    response = await fetch(path, {method: body ? "POST" : "GET", body, headers});
  } catch {
    throw new Refused(0, "the server does not answer; it may have ended, or the connection is lost");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  const wait = Number(response.headers.get("Retry-After")) || 0;
  throw new Refused(response.status, said.error ?? `the server answers ${response.status}`, wait);
}

async function predict(image, output) { // asks again while the server is busy
  for (let left = TRIES; ; left--) {
    try {
      const response = await ask(`v1/predict?output=${output}`, image.file);
      return await response.blob();
    } catch (error) {
      if (![429, 503].includes(error.status) || !error.wait || left === 1) throw error;
      say(`The server is busy; ${image.name} is sent again in ${error.wait} s.`, true);
      await new Promise((resolve) => setTimeout(resolve, 1000 * error.wait));
    }
  }
}

async function begin() {
  say("Asking the server for its network …", true);
  try {
    model = await (await ask("v1/model")).json();
  } catch (error) {
    say("");
    if (error.status === 401) {
      find("#access").hidden = false;
      find("#token").focus();
      if (token) warn("The server does not accept this token.");
    } else warn(sentence(error), begin);
    return;
  }
  find("#access").hidden = true;
  warn("");
  input.disabled = false;
  fillAbout();
  fillSaves();
  say("The network is ready.");
  sendNext();
}

function sentence(error) {
  return `${error.message[0].toUpperCase()}${error.message.slice(1)}.`;
}

function take(files) {
  for (const file of files) {
    const image = {file, name: file.name || "pasted image.png", state: "waiting", words: "waiting"};
    image.button = Object.assign(document.createElement("button"), {type: "button"});
    image.button.addEventListener("click", () => show(image));
    images.push(image);
    find("#images").append(image.button);
    const most = model?.limits.body_bytes;
    if (most && file.size > most) {
      fail(image, `the file has ${megabytes(file.size)}; this server accepts up to ${megabytes(most)}`);
    }
    draw(image);
  }
  document.body.classList.add("filled");
  sendNext();
}

function megabytes(bytes) {
  return `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 24 ? 1 : 0)} MiB`;
}

async function sendNext() {
  const image = images.find((one) => one.state === "waiting");
  if (isSending || !model || !image) return;
  isSending = true;
  const others = images.filter((one) => one.state === "waiting").length - 1;
  say(`Segmenting ${image.name}${others ? `, ${others} more waiting` : ""} …`, true);
  Object.assign(image, {state: "sending", words: "segmenting …"});
  draw(image);
  const started = performance.now();
  try {
    await segment(image);
    image.words = `${image.size[1]} × ${image.size[0]}, ${((performance.now() - started) / 1000).toFixed(1)} s`;
    image.state = "done";
    draw(image);
    say(`${image.name} is segmented.`);
    if (shown === null || shown.state !== "done") show(image);
  } catch (error) {
    fail(image, error.message, error.status === 0);
  }
  isSending = false;
  sendNext();
}

function fail(image, text, mayRepeat = false) {
  Object.assign(image, {state: "failed", words: text});
  draw(image);
  say("");
  warn(`${image.name} is not segmented: ${text}.`, !mayRepeat ? null : () => {
    for (const one of images) if (one.state === "failed" && one.mayRepeat) one.state = "waiting";
    sendNext();
  });
  image.mayRepeat = mayRepeat;
}

async function segment(image) {
  const answer = await createImageBitmap(await predict(image, "mask"), {colorSpaceConversion: "none"});
  const canvas = new OffscreenCanvas(answer.width, answer.height);
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(answer, 0, 0);
  const {data} = context.getImageData(0, 0, answer.width, answer.height);
  image.pixels = new Uint8Array(answer.width * answer.height);
  for (let i = 0; i < image.pixels.length; i++) image.pixels[i] = data[4 * i];
  image.size = [answer.height, answer.width];
  image.photo = await createImageBitmap(image.file).catch(() => null); // browsers lack some formats
  image.counts = new Array(256).fill(0);
  for (const pixel of image.pixels) image.counts[pixel] += 1;
}

function draw(image) { // its button among the images
  const small = document.createElement("canvas");
  small.width = small.height = 88;
  if (image.photo) {
    const {width, height} = image.photo, side = Math.min(width, height);
    small.getContext("2d").drawImage(image.photo, (width - side) / 2, (height - side) / 2, side, side, 0, 0, 88, 88);
  }
  small.setAttribute("aria-hidden", "true");
  const words = document.createElement("span");
  words.append(
    Object.assign(document.createElement("b"), {textContent: image.name}),
    Object.assign(document.createElement("small"), {textContent: image.words}),
  );
  image.button.replaceChildren(small, words);
  image.button.disabled = image.state !== "done";
  image.button.setAttribute("aria-pressed", String(image === shown));
}

function show(image) {
  shown = image;
  zoom = null;
  for (const one of images) one.button.setAttribute("aria-pressed", String(one === shown));
  const [height, width] = image.size;
  for (const canvas of [photo, mask]) Object.assign(canvas, {width, height});
  if (image.photo) photo.getContext("2d").drawImage(image.photo, 0, 0, width, height);
  photo.setAttribute("aria-label", image.name);
  mask.setAttribute("aria-label", `mask of ${image.name}`);
  const unseen = image.photo ? "" : "; this browser cannot show its format, so that the mask is alone";
  find("figcaption").textContent = `${image.name}, ${width} × ${height} pixels${unseen}`;
  result.hidden = false;
  fillTable();
  paint();
  applySliders();
  applyZoom();
}

function paint() { // the mask, in the colours of the classes that are switched on
  const {size: [height, width], pixels} = shown, table = new Uint32Array(256);
  const view = new DataView(table.buffer);
  for (const {index, colour, background} of model.classes) {
    if (!hidden.has(index) && !background) view.setUint32(4 * index, (parseInt(colour.slice(1), 16) << 8) | 255);
  }
  const drawn = new ImageData(width, height), colours = new Uint32Array(drawn.data.buffer);
  for (let i = 0; i < pixels.length; i++) colours[i] = table[pixels[i]];
  mask.getContext("2d").putImageData(drawn, 0, 0);
}

function applySliders() {
  mask.style.opacity = opacity.value / 100;
  mask.style.clipPath = `inset(0 0 0 ${divider.value}%)`;
  line.style.left = `${divider.value}%`;
  line.hidden = divider.value === "0";
}

function fitting() {
  const [height, width] = shown.size;
  return Math.min(stage.clientWidth / width, (0.74 * window.innerHeight) / height, width < 400 ? 8 : 2);
}

function applyZoom() {
  if (shown === null) return;
  const factor = zoom ?? fitting(), [height, width] = shown.size;
  for (const canvas of [photo, mask]) {
    canvas.style.width = `${Math.max(1, Math.floor(factor * width))}px`;
    canvas.style.height = `${Math.max(1, Math.floor(factor * height))}px`;
  }
  stage.classList.toggle("near", factor >= 2);
  find(".zoom output").textContent = `${Math.round(100 * factor)} %`;
}

function changeZoom(direction) {
  if (shown === null) return;
  const now = zoom ?? fitting();
  const [x, y] = [stage.scrollLeft + stage.clientWidth / 2, stage.scrollTop + stage.clientHeight / 2];
  if (direction === "fit") zoom = null;
  else if (direction === "in") zoom = ZOOMS.find((one) => one > now * 1.01) ?? now;
  else zoom = ZOOMS.findLast((one) => one < now * 0.99) ?? now;
  applyZoom();
  const grown = (zoom ?? fitting()) / now; // the middle stays where it is
  stage.scrollTo(x * grown - stage.clientWidth / 2, y * grown - stage.clientHeight / 2);
}

function cell(kind, ...content) {
  const made = document.createElement(kind);
  made.append(...content);
  return made;
}

function fillTable() {
  const total = model.classes.reduce((sum, {index}) => sum + shown.counts[index], 0);
  find("tbody").replaceChildren(...model.classes.map(({index, name, colour, background}) => {
    const swatch = document.createElement("span"), head = document.createElement("th");
    swatch.className = "swatch";
    swatch.style.background = colour;
    head.scope = "row";
    if (background) head.append(swatch, name);
    else {
      const box = Object.assign(document.createElement("input"), {type: "checkbox", checked: !hidden.has(index)});
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(index);
        else hidden.add(index);
        paint();
      });
      head.append(cell("label", box, swatch, name));
    }
    const pixels = shown.counts[index];
    const share = total ? `${((100 * pixels) / total).toFixed(1)} %` : "–";
    return cell("tr", head, cell("td", pixels.toLocaleString("en")), cell("td", share));
  }));
}

function fillAbout() {
  const {classes, scale, formats, limits} = model;
  const listed = classes.map(({name}) => name).join(", ");
  find(".lead").textContent = `The network of this server names a class at every pixel: ${listed}.`;
  const resized = scale.policy === "native" ? "the image's own pixels" : `the image resized to ${scale.height} × ${scale.width}`;
  const rows = [
    ["input", resized],
    ["images", `${formats.join(", ")}; up to ${megabytes(limits.body_bytes)} and ${(limits.pixels / 1e6).toFixed(0)} million pixels`],
    ["SHA-256", model.model],
  ];
  find("#about dl").replaceChildren(...rows.flatMap(([name, text]) => [cell("dt", name), cell("dd", text)]));
}

function fillSaves() {
  const buttons = Object.keys(SAVES).filter((name) => name in model.outputs).map((name) => {
    const [words, kind] = SAVES[name], button = cell("button", words, cell("small", kind));
    button.type = "button";
    button.dataset.save = name;
    button.addEventListener("click", () => save(name));
    return button;
  });
  const all = cell("button", "all images", cell("small", "ZIP of masks, overlays, areas and the rest"));
  Object.assign(all, {type: "button", className: "all"});
  all.dataset.save = "zip";
  all.addEventListener("click", saveAll);
  find(".saves").replaceChildren(...buttons, all);
}

function fileName(image, end) {
  return image.name.replace(/\.[^.]*$/, "") + end;
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  say(`${name} is saved.`);
}

async function save(output) {
  const image = shown;
  say(`Asking for the ${SAVES[output][0]} of ${image.name} …`, true);
  try {
    download(await predict(image, output), fileName(image, SAVES[output][2]));
  } catch (error) {
    say("");
    warn(sentence(error), error.status === 0 ? () => save(output) : null);
  }
}

async function saveAll() {
  const done = images.filter(({state}) => state === "done"), files = [], names = new Set();
  const add = (name, content) => {
    let unique = name;
    for (let i = 2; names.has(unique); i++) unique = name.replace(/(\.[^.]*)$/, ` (${i})$1`);
    names.add(unique);
    files.push({name: unique, content});
  };
  try {
    for (const [number, image] of done.entries()) {
      for (const output of ZIPPED.filter((one) => one in model.outputs)) {
        say(`Collecting image ${number + 1} of ${done.length}: ${SAVES[output][0]} …`, true);
        add(fileName(image, SAVES[output][2]), await predict(image, output));
      }
    }
    add("areas.csv", areas(done));
    download(await makeZip(files), "unetkit.zip");
  } catch (error) {
    say("");
    warn(sentence(error), error.status === 0 ? saveAll : null);
  }
}

function areas(done) { // pixels of each class, a row for each image
  const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const rows = [["image", ...model.classes.map(({name}) => name)]];
  for (const {name, counts} of done) rows.push([name, ...model.classes.map(({index}) => String(counts[index]))]);
  return rows.map((row) => `${row.map(quote).join(",")}\n`).join("");
}

listenForFiles(input, take, warn);
opacity.addEventListener("input", applySliders);
divider.addEventListener("input", applySliders);
for (const button of document.querySelectorAll("[data-zoom]")) {
  button.addEventListener("click", () => changeZoom(button.dataset.zoom));
}
document.addEventListener("keydown", (event) => {
  const direction = {"+": "in", "=": "in", "-": "out", 0: "fit"}[event.key];
  if (!direction || event.ctrlKey || event.metaKey || event.target.matches("input")) return;
  changeZoom(direction);
  event.preventDefault();
});
window.addEventListener("resize", applyZoom);
find("#access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = find("#token").value;
  begin();
});
begin();
