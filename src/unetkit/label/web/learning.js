// Rounds of training on the server: begun here, shown while they run, and what they suggest.

const ASK_MILLISECONDS = 1500; // between two questions about a round that runs
const STATES = {preparing: "Reading the masks", training: "Learning", suggesting: "Suggesting masks"};

class Learning {
  constructor(hooks) {
    Object.assign(this, {hooks, state: null, drawnSince: new Set(), lastRound: null});
  }

  get isActive() { return this.state !== null && this.state.state !== "idle"; }

  async ask(method = "GET", query = "") {
    clearTimeout(this.timer);
    try {
      this.take(await (await ask(`v1/learning${query}`, {method})).json());
    } catch (error) {
      if (method !== "GET") this.hooks.warn(error);
    }
    if (this.isActive) this.timer = setTimeout(() => this.ask(), ASK_MILLISECONDS);
  }

  take(state) {
    const wasActive = this.isActive, before = this.state;
    this.state = state;
    this.show();
    const isNew = !before || ["uncertainties", "failures"].some((name) => Object.keys(state[name]).some((id) => state[name][id] !== before[name][id]));
    if (isNew || (wasActive && !this.isActive)) this.hooks.suggested(state);
    if (state.problem && state.problem !== before?.problem) this.hooks.warn(new Error(state.problem));
  }

  async start() {
    this.drawnSince.clear();
    await outbox.empty();
    await this.ask("POST", `?minutes=${Number(find("#minutes").value) || 1.5}`);
  }

  drawn(id) { // counts images for learning by itself
    this.drawnSince.add(id);
  }

  left(id) { // another image is opened: what was drawn on this one is complete
    const wish = Number(find("#every").value) || 5;
    if (find("#alone").checked && this.drawnSince.size >= wish && (!this.isActive || this.state.state === "suggesting")) this.start();
  }

  show() {
    const {state, fraction, words, rounds, advice, warnings} = this.state;
    const isBusy = state === "preparing" || state === "training";
    find("[data-do=learn]").disabled = isBusy;
    find("[data-do=stop]").hidden = !this.isActive;
    const bar = find("#learning-progress");
    bar.hidden = !this.isActive;
    if (fraction) bar.value = fraction;
    else bar.removeAttribute("value");
    const last = rounds.at(-1);
    const idle = last ? `${last.number ? `Round ${last.number}` : "The given model"}${last.images ? ` learnt from ${last.images} images` : ""}.` : "Draw a few strokes of each class on two images or more.";
    find("#learning-words").textContent = this.isActive ? `${STATES[state]}${words ? `: ${words}` : ""} …` : idle;
    find("#advice").textContent = advice;
    find("#advice").title = warnings.join("\n");
    this.drawCurve(rounds.filter(({score}) => score !== null));
  }

  drawCurve(rounds) { // score of each round on images that it had not seen
    const figure = find("#curve"), svg = figure.querySelector("svg");
    figure.hidden = !rounds.length;
    if (!rounds.length) return;
    const make = (name, attributes, text = "") => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      made.textContent = text;
      return made;
    };
    const x = (i) => (rounds.length === 1 ? 122 : 34 + (176 * i) / (rounds.length - 1)), y = (score) => 88 - 76 * score;
    const parts = [0, 0.5, 1].flatMap((score) => [
      make("line", {x1: 28, x2: 216, y1: y(score), y2: y(score), class: "grid"}),
      make("text", {x: 22, y: y(score) + 4, "text-anchor": "end"}, String(score)),
    ]);
    parts.push(make("polyline", {points: rounds.map(({score}, i) => `${x(i)},${y(score)}`).join(" "), class: "curve"}));
    rounds.forEach(({score, number}, i) => {
      parts.push(make("circle", {cx: x(i), cy: y(score), r: 3.5}), make("text", {x: x(i), y: 104, "text-anchor": "middle"}, String(number)));
    });
    svg.replaceChildren(...parts);
    const {score, scored, changed, number} = rounds.at(-1);
    svg.setAttribute("aria-label", `Score of ${rounds.length} rounds; the last ${score.toFixed(2)}`);
    figure.querySelector("figcaption").textContent = `Score (IoU) by round, on images drawn after they were suggested. Round ${number}: ${score.toFixed(2)} on ${scored} ${scored === 1 ? "image" : "images"}; you changed ${(100 * changed).toFixed(1)} % of their labelled pixels.`;
  }
}

// Takes a suggestion over where nothing is drawn, within a stroke that has begun.
function acceptSuggestion(mask, suggestion, certainty, least, background) {
  const {values, unlabelled} = mask, numbers = background === null ? null : numbersOfSuggested(mask, suggestion, background);
  const wanted = (i) => (values[i] === unlabelled && certainty[i] >= least ? suggestion[i] : unlabelled);
  for (let i = 0; i < values.length;) {
    const value = wanted(i);
    let end = i + 1;
    while (end < values.length && wanted(end) === value) end += 1;
    const taken = numbers === null || value === unlabelled ? value : numbers.get(value);
    if (taken !== unlabelled) mask.set(i, end - i, taken);
    i = end;
  }
}

// The number that each suggested object gets: a new one if nothing of it is drawn; that of the drawn
// object on it, if this covers less than half of it; else none, since its outline is drawn already,
// or it would join two.
function numbersOfSuggested(mask, suggestion, background) {
  const {values, unlabelled} = mask, sizes = new Map(), drawn = new Map(), numbers = new Map();
  for (let i = 0; i < suggestion.length; i++) {
    const value = suggestion[i], own = values[i];
    sizes.set(value, (sizes.get(value) ?? 0) + 1);
    if (own === unlabelled || own === background) continue;
    if (!drawn.has(value)) drawn.set(value, new Map());
    drawn.get(value).set(own, (drawn.get(value).get(own) ?? 0) + 1);
  }
  let next = largestNumber(mask);
  for (const [value, size] of sizes) {
    const [first, second] = drawn.get(value) ?? [];
    if (value === background) numbers.set(value, background);
    else if (!first) numbers.set(value, next += 1);
    else numbers.set(value, second || first[1] >= size / 2 ? unlabelled : first[0]);
  }
  return numbers;
}
