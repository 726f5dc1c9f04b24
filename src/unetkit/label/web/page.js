// The page: images in a list, classes in a palette, and what the server says.

const find = (selector) => document.querySelector(selector);
const stage = find("#stage"), problem = find(".problem"), saved = find("#saved"), waiting = find("#waiting");
const KEPT_MASKS = 4; // of images that were open, with what undoes their strokes
const KEYS = [
  ["Ctrl+Z, Ctrl+Y", "undo, redo"], ["[ and ]", "smaller, larger brush"],
  ["+ and −, wheel, pinch", "zoom"], ["space bar, right button", "move the image while it is held"], ["Home", "whole image"],
  ["Page Up, Page Down", "previous, next image"], ["arrows", "move the cross; with Shift further, with Alt by one pixel"],
  ["Enter", "begin and end a stroke at the cross; add a corner, twice on the spot: close the polygon"],
  ["A, S", "accept the suggestion: all of it, or where it is certain"], ["T", "learn from what is drawn"],
  ["Backspace", "take back a corner"], ["Esc", "give up what has begun"], ["Alt+click", "take what is under the pointer"],
];

let project = null, entry = null, opening = 0;
const masks = new Map(); // of images that were open, by id
const view = new View(stage);
const outbox = new Outbox(showSaved, reload);
const drawing = new Drawing(view, outbox, {
  drawn: () => { learning.drawn(entry.id); showStrokes(); }, say, pick, background: () => backgroundValue(), warn: (error) => warn(sentence(error)),
});

const learning = new Learning({warn: (error) => warn(sentence(error)), suggested});

function sentence(error) { return `${error.message[0].toUpperCase()}${error.message.slice(1)}.`; }

function warn(text) {
  problem.replaceChildren(text);
  problem.hidden = !text;
  if (!text) return;
  const button = Object.assign(document.createElement("button"), {type: "button", textContent: "Close"});
  button.addEventListener("click", () => warn(""));
  problem.append(button);
}

function say(text) {
  waiting.textContent = text;
  clearTimeout(say.timer);
  if (text && !text.endsWith("…")) say.timer = setTimeout(() => { waiting.textContent = ""; }, 4000);
}

function showSaved() {
  const {count, failures} = outbox, strokes = `${count} ${count === 1 ? "stroke" : "strokes"}`;
  saved.classList.toggle("lost", failures > 0);
  if (failures) saved.textContent = `Not saved: ${outbox.said}. ${strokes} kept here, sent again by itself; leave this page open.`;
  else if (outbox.said) saved.textContent = outbox.said;
  else saved.textContent = count ? "Saving …" : "Saved";
}

async function begin() {
  say("Asking for the images …");
  try {
    project = await (await ask("v1/project")).json();
  } catch (error) {
    say("");
    if (error.status === 401) warn("This address lacks the token of the server: open the address that unetkit label printed last.");
    else {
      warn(`${sentence(error)} Is unetkit label running?`);
      setTimeout(begin, 2000);
    }
    return;
  }
  warn(project.left_out.join("; "));
  fillClasses();
  fillTools();
  fillList();
  showSaved();
  learning.ask();
  const asked = sessionStorage.getItem("image");
  openImage(project.entries.find(({id}) => id === asked) ?? project.entries[0]);
}

function colours() { // 0xAABBGGRR of every value that a mask may have
  const table = new Uint32Array(2 ** project.bits);
  const coloured = (text) => { const n = parseInt(text.slice(1), 16); return ((255 << 24) | ((n & 255) << 16) | (n & 0xff00) | (n >> 16)) >>> 0; };
  if (project.has_objects) for (let i = 1; i < table.length; i++) table[i] = colourOfNumber(i);
  for (const {value, colour, background} of project.classes) {
    if (!project.has_objects || background) table[value] = coloured(colour);
  }
  return table;
}

async function openImage(next) {
  if (!next || next === entry) return;
  drawing.stop();
  const number = opening += 1;
  const before = entry;
  entry = next;
  if (before) learning.left(before.id);
  sessionStorage.setItem("image", entry.id);
  markList(before);
  find("h1").textContent = entry.name;
  showPlace();
  document.title = `${entry.name} · unetkit`;
  say(`Opening ${entry.name} …`);
  view.mask = null;
  try {
    const image = await (await ask(`v1/images/${entry.id}`)).json();
    let mask = masks.get(entry.id);
    if (!mask) mask = await loadMask(entry, image);
    if (number !== opening) return;
    masks.delete(entry.id);
    masks.set(entry.id, mask); // the last one
    for (const id of [...masks.keys()].slice(0, -KEPT_MASKS)) masks.delete(id);
    view.open({...image, id: entry.id}, mask, colours());
    say("");
    if (project.has_objects && !isBackground(drawing.value)) pick(largestNumber(mask) + 1);
    showStrokes();
    loadSuggestion();
  } catch (error) {
    if (number !== opening) return;
    say("");
    warn(sentence(error));
    if (error.status === 0) setTimeout(() => { if (number === opening) { entry = null; openImage(next); } }, 2000);
  }
}

async function loadMask({id}, {height, width}) {
  await outbox.empty(); // strokes on it may still be on their way
  const answer = await ask(`v1/images/${id}/mask`);
  const bytes = await answer.arrayBuffer();
  const values = project.bits === 8 ? new Uint8Array(bytes) : new Uint16Array(bytes);
  return new Mask(id, height, width, values, Number(answer.headers.get("Unetkit-Revision")), project.unlabelled);
}

function reload(mask, error, lost) { // another window changed it, or the server refuses a change
  masks.delete(mask.id);
  const strokes = lost === 1 ? "the last stroke" : `the last ${lost} strokes`;
  warn(`${sentence(error)} Its mask was loaded again, without ${strokes} of this window.`);
  if (view.mask !== mask) return;
  mask.stroke = null;
  const same = entry;
  entry = null;
  openImage(same);
}

// Suggestions

async function loadSuggestion() {
  const {mask} = view, {id} = entry;
  if (entry.failure) say(`No suggestion: ${entry.failure}.`);
  if (!mask || !(id in (learning.state?.uncertainties ?? {}))) return showSuggestion();
  try {
    const answer = await ask(`v1/images/${id}/suggestion`);
    const bytes = await answer.arrayBuffer(), size = mask.values.byteLength;
    if (view.mask !== mask) return undefined;
    view.suggestion = project.bits === 8 ? new Uint8Array(bytes, 0, size) : new Uint16Array(bytes, 0, size / 2);
    view.certainty = new Uint8Array(bytes, size);
    view.round = Number(answer.headers.get("Unetkit-Round"));
  } catch (error) {
    if (error.status !== 404) warn(sentence(error));
  }
  return showSuggestion();
}

function showSuggestion() {
  const {suggestion, mask} = view;
  find("#suggestion").hidden = !suggestion;
  view.isSuggested = find("#suggested").checked;
  view.least = Math.round(2.55 * Number(find("#certain").value));
  find("#certain-value").textContent = `${find("#certain").value} %`;
  if (suggestion && mask) {
    const uncertain = learning.state.uncertainties[entry.id];
    const which = view.round ? `Of round ${view.round}` : "Of the given model";
    find("#suggestion-words").textContent = `${which}; ${(100 * (1 - uncertain)).toFixed(0)} % certain on the whole. It fills what you have not drawn.`;
  }
  view.changed();
}

function suggested({uncertainties, failures}) { // there are new suggestions
  for (const one of project.entries) {
    one.uncertainty = uncertainties[one.id] ?? null;
    one.failure = failures[one.id] ?? "";
    describe(one);
  }
  orderList();
  const known = uncertainties[entry?.id];
  if (known !== undefined && (known !== view.known || !view.suggestion)) {
    view.known = known;
    loadSuggestion();
  }
}

function accept(least) {
  const {mask, suggestion, certainty} = view;
  if (!mask || !suggestion) return;
  drawing.stop();
  mask.begin();
  acceptSuggestion(mask, suggestion, certainty, least, project.has_objects ? backgroundValue() : null);
  drawing.finish();
}

// Classes

function backgroundValue() { return project.classes.find(({background}) => background)?.value ?? -1; }

function isBackground(value) { return value === backgroundValue(); }

function fillClasses() {
  const options = project.has_objects
    ? [{...project.classes.find(({background}) => background), key: "1"}, {name: "object", value: null, key: "2"}]
    : project.classes.map((one, index) => ({...one, key: index < 10 ? String((index + 1) % 10) : ""}));
  find("#classes").replaceChildren(...options.map((one) => {
    const button = document.createElement("button"), swatch = document.createElement("span");
    Object.assign(button, {type: "button", role: "radio"});
    swatch.className = "swatch";
    if (one.colour) swatch.style.background = one.colour;
    const name = Object.assign(document.createElement("span"), {textContent: one.name, className: "of-class"});
    button.append(swatch, name, Object.assign(document.createElement("kbd"), {textContent: one.key}));
    button.dataset.value = one.value ?? "object";
    button.dataset.key = one.key;
    button.addEventListener("click", () => pick(one.value ?? (isBackground(drawing.value) ? largestNumber(view.mask) + 1 : drawing.value)));
    return button;
  }));
  find("#object-actions").hidden = !project.has_objects;
  pick(project.has_objects ? 1 : project.classes[Math.min(1, project.classes.length - 1)].value);
}

function pick(value) {
  if (value === project.unlabelled) return chooseTool("eraser");
  drawing.value = value;
  for (const button of find("#classes").children) {
    const isObject = button.dataset.value === "object";
    const isChosen = isObject ? !isBackground(value) : Number(button.dataset.value) === value;
    button.setAttribute("aria-checked", String(isChosen));
    if (isObject && isChosen) {
      button.querySelector(".of-class").textContent = `object ${value}`;
      const colour = colourOfNumber(value);
      button.querySelector(".swatch").style.background = `rgb(${colour & 255}, ${(colour >> 8) & 255}, ${(colour >> 16) & 255})`;
    }
  }
  if (["eraser", "pick", "pan"].includes(drawing.tool)) chooseTool("brush");
  return undefined;
}

function newObject() {
  if (!project.has_objects || !view.mask) return;
  pick(largestNumber(view.mask) + 1);
  say(`Object ${drawing.value} is drawn now.`);
}

// Tools

function allTools() { return {...TOOLS, ...(project.has_objects ? OBJECT_TOOLS : {})}; }

function fillTools() {
  find("#tools").replaceChildren(...Object.entries(allTools()).map(([name, [words, key, what]]) => {
    const button = document.createElement("button");
    Object.assign(button, {type: "button", role: "radio", title: `${words} (${key.toUpperCase()}): ${what}`});
    button.append(words, Object.assign(document.createElement("kbd"), {textContent: key.toUpperCase()}));
    button.dataset.tool = name;
    button.addEventListener("click", () => chooseTool(name));
    return button;
  }));
  chooseTool("brush");
  const list = [...Object.values(allTools()).map(([words, key, what]) => [key.toUpperCase(), `${words}: ${what}`]), ...(project.has_objects ? [["N", "new object"], ["1, 2", "background, object"]] : [["1 … 9, 0", "class by its place in the list; 0 for the tenth"]]), ...KEYS];
  find("#help dl").replaceChildren(...list.flatMap(([key, words]) => {
    const term = document.createElement("dt");
    term.append(Object.assign(document.createElement("kbd"), {textContent: key}));
    return [term, Object.assign(document.createElement("dd"), {textContent: words})];
  }));
}

function chooseTool(name) {
  drawing.choose(name);
  stage.dataset.tool = name;
  for (const button of find("#tools").children) button.setAttribute("aria-checked", String(button.dataset.tool === name));
}

function applyOptions() {
  const number = (id) => Number(find(id).value);
  drawing.size = Math.max(1, Math.round(400 ** (number("#size") / 100)));
  drawing.tolerance = number("#tolerance");
  drawing.protect = find("#protect").checked;
  view.labels.style.opacity = number("#opacity") / 100;
  find("#size-value").textContent = `${drawing.size} px`;
  find("#tolerance-value").textContent = String(drawing.tolerance);
  find("#opacity-value").textContent = `${number("#opacity")} %`;
  view.later();
}

function resizeBrush(factor) {
  const size = Math.min(400, Math.max(1, Math.round(drawing.size * factor) || 1));
  const grown = size === drawing.size ? size + Math.sign(factor - 1) : size;
  find("#size").value = (100 * Math.log(Math.max(1, grown))) / Math.log(400);
  applyOptions();
}

// Images

function fillList() {
  find("#images").replaceChildren(...project.entries.map((one, place) => {
    const button = document.createElement("button"), picture = document.createElement("img");
    button.type = "button";
    Object.assign(picture, {alt: "", width: 44, height: 44});
    const words = document.createElement("span");
    words.append(Object.assign(document.createElement("b"), {textContent: one.name}), document.createElement("small"));
    button.append(picture, words);
    button.addEventListener("click", () => { openImage(one); closeDrawers(); });
    Object.assign(one, {button, picture, place});
    seen.observe(button);
    seen.entries.set(button, one);
    describe(one);
    return button;
  }));
  filterList();
}

const seen = new IntersectionObserver((changes) => {
  for (const {target, isIntersecting} of changes) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    seen.waiting.push(seen.entries.get(target));
  }
  fetchThumbnails();
}, {rootMargin: "200px"});
seen.entries = new Map();
seen.waiting = [];

async function fetchThumbnails() { // one after another, so that the open image comes first
  if (seen.isBusy) return;
  seen.isBusy = true;
  while (seen.waiting.length) {
    const one = seen.waiting.pop();
    try {
      const picture = await (await ask(`v1/images/${one.id}/thumbnail`)).blob();
      one.picture.src = URL.createObjectURL(picture);
    } catch (error) {
      if (error.status) one.button.querySelector("small").textContent = "cannot be read";
    }
  }
  seen.isBusy = false;
}

function describe(one) {
  const certain = one.uncertainty != null ? `${(100 * (1 - one.uncertainty)).toFixed(0)} % certain` : "";
  const words = [one.has_mask ? "has a mask" : "", one.failure ? "no suggestion" : certain];
  one.button.querySelector("small").textContent = words.filter(Boolean).join(", ");
  one.button.title = one.failure ?? "";
}

function orderList() { // the most uncertain first, those with a mask last, if that is wished
  const wish = find("#order").value, isOpen = (one) => one.has_mask || one.uncertainty == null;
  project.entries.sort((a, b) => (wish === "name" ? 0 : isOpen(a) - isOpen(b) || (isOpen(a) ? 0 : b.uncertainty - a.uncertainty)) || a.place - b.place);
  find("#images").replaceChildren(...project.entries.map(({button}) => button));
  showPlace();
}

function showPlace() {
  find("#place").textContent = `${project.entries.indexOf(entry) + 1} of ${project.entries.length}`;
}

function markList(before) {
  before?.button.removeAttribute("aria-current");
  entry.button.setAttribute("aria-current", "true");
  entry.button.scrollIntoView({block: "nearest"});
}

function filterList() {
  const wish = find("#filter").value;
  for (const one of project.entries) one.button.hidden = wish !== "all" && one !== entry && one.has_mask !== (wish === "with");
}

function go(direction) {
  const shown = project.entries.filter(({button}) => !button.hidden);
  openImage(shown[shown.indexOf(entry) + direction]);
}

function showStrokes() {
  const {mask} = view;
  if (!mask) return;
  find("[data-do=undo]").disabled = !mask.undos.length;
  find("[data-do=redo]").disabled = !mask.redos.length;
  const share = (100 * mask.labelled) / mask.values.length;
  find("#share").textContent = `${share < 10 ? share.toFixed(1) : Math.round(share)} % of this image is labelled`;
  if (mask.labelled && !entry.has_mask) {
    entry.has_mask = true;
    describe(entry);
  }
}

// Buttons and keys

const ACTIONS = {
  undo: () => drawing.step(true), redo: () => drawing.step(false), previous: () => go(-1), next: () => go(1),
  in: () => view.mask && view.zoom(1.5, ...zoomCentre()), out: () => view.mask && view.zoom(1 / 1.5, ...zoomCentre()),
  fit: () => view.fit(), object: newObject, help: () => find("#help").showModal(), "close-help": () => find("#help").close(),
  accept: () => accept(0), acceptCertain: () => accept(view.least), learn: () => learning.start(), stop: () => learning.ask("DELETE"),
};

function zoomCentre() { return drawing.cursor ? view.toStage(...drawing.cursor) : [view.size[0] / 2, view.size[1] / 2]; }

function closeDrawers() {
  document.body.removeAttribute("data-open");
  for (const button of document.querySelectorAll(".drawer")) button.setAttribute("aria-expanded", "false");
}

for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", () => ACTIONS[button.dataset.do]());
for (const button of document.querySelectorAll(".drawer")) {
  button.addEventListener("click", () => {
    const name = button.dataset.drawer, isOpen = document.body.dataset.open === name;
    closeDrawers();
    if (isOpen) return;
    document.body.dataset.open = name;
    button.setAttribute("aria-expanded", "true");
  });
}
stage.addEventListener("pointerdown", (event) => { // a drawer that is open is closed first
  if (!document.body.dataset.open) return;
  closeDrawers();
  event.stopImmediatePropagation();
}, {capture: true});
for (const id of ["#size", "#tolerance", "#opacity", "#protect"]) find(id).addEventListener("input", applyOptions);
for (const id of ["#suggested", "#certain"]) find(id).addEventListener("input", showSuggestion);
find("#filter").addEventListener("change", filterList);
find("#order").addEventListener("change", () => { orderList(); entry.button.scrollIntoView({block: "nearest"}); });
view.onMove = () => { find("#zoom").textContent = view.mask ? `${Math.round(100 * view.scale)} %` : ""; };

addEventListener("keydown", (event) => {
  if (!project || find("#help").open || event.target.matches("select, input[type=number]")) return;
  if (event.key === "Escape" && document.body.dataset.open) closeDrawers();
  else if (keyPressed(event)) event.preventDefault();
});
addEventListener("keyup", (event) => {
  if (event.key !== " ") return;
  drawing.isSpace = false;
  stage.classList.remove("moving");
});
addEventListener("beforeunload", (event) => { if (outbox.count) event.preventDefault(); });
addEventListener("pagehide", () => {
  drawing.flush();
  outbox.leave();
});

function keyPressed(event) {
  const {key} = event, small = key.toLowerCase(), isStage = document.activeElement === stage;
  if (event.ctrlKey || event.metaKey) {
    if (small === "z") ACTIONS[event.shiftKey ? "redo" : "undo"]();
    else if (small === "y") ACTIONS.redo();
    else return false;
    return true;
  }
  if (isStage && view.mask && drawing.key(event)) return true;
  if (event.altKey) return false;
  if (key === " " && (isStage || document.activeElement === document.body)) {
    drawing.isSpace = true;
    stage.classList.add("moving");
    return true;
  }
  const others = {"+": "in", "=": "in", "-": "out", Home: "fit", PageUp: "previous", PageDown: "next", "?": "help"};
  const isRange = document.activeElement.matches("input[type=range]");
  if (isRange && ["Home", "PageUp", "PageDown"].includes(key)) return false;
  if (key in others) ACTIONS[others[key]]();
  else if (key === "[" || key === "]") resizeBrush(key === "]" ? 1.25 : 0.8);
  else if (small === "n" && project.has_objects) newObject();
  else if (small === "a") accept(0);
  else if (small === "s") accept(view.least);
  else if (small === "t") learning.start();
  else if (/^[0-9]$/.test(key)) find(`#classes [data-key="${key}"]`)?.click();
  else {
    const tool = Object.entries(allTools()).find(([, [, of]]) => of === small);
    if (!tool) return false;
    chooseTool(tool[0]);
  }
  return true;
}

applyOptions();
begin();
