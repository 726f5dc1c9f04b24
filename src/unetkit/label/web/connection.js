// The server: questions with the token of the address, and changes that are sent until they arrive.

const TOKEN = decodeURIComponent(location.hash.slice(1));
const LARGEST_POST = 1 << 22; // bytes of changes that are sent together
const WAITS = [300, 600, 1200, 2500, 5000]; // milliseconds before a change is sent again

class Refused extends Error {
  constructor(status, sentence, said) {
    super(sentence);
    Object.assign(this, {status, said});
  }
}

async function ask(path, options = {}) { // the answer, or an error whose message is a sentence
  let response;
  try {
    response = await fetch(path, {...options, headers: {Authorization: `Bearer ${TOKEN}`, ...options.headers}});
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "the server does not answer", {});
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Refused(response.status, said.error ?? `the server answers ${response.status}`, said);
}

function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function joined(arrays) { // one array of all runs
  const whole = new Uint32Array(arrays.reduce((sum, {length}) => sum + length, 0));
  let place = 0;
  for (const array of arrays) {
    whole.set(array, place);
    place += array.length;
  }
  return whole;
}

// Changes on their way: each image's in their order, one request at a time. `mask.revision` is that
// of the last change that the server has.
class Outbox {
  constructor(onState, onStale) {
    Object.assign(this, {onState, onStale, waiting: [], sending: null, failures: 0, said: ""});
    addEventListener("online", () => this.hurry());
    addEventListener("focus", () => this.hurry());
  }

  get count() { return this.waiting.length + (this.sending ? this.sending.count : 0); }

  add(mask, runs) {
    if (!runs.length) return;
    this.waiting.push({mask, runs});
    this.send();
  }

  hurry() {
    if (!this.timer) return;
    clearTimeout(this.timer);
    this.timer = null;
    this.post();
  }

  send() {
    if (this.sending) return this.onState();
    if (!this.waiting.length) {
      for (const done of this.emptied ?? []) done();
      this.emptied = [];
      return this.onState();
    }
    const {mask} = this.waiting[0], taken = [];
    let bytes = 0;
    while (this.waiting.length && this.waiting[0].mask === mask && (!taken.length || bytes < LARGEST_POST)) {
      taken.push(this.waiting.shift().runs);
      bytes += taken.at(-1).byteLength;
    }
    this.sending = {mask, body: joined(taken), key: newKey(), count: taken.length};
    this.onState();
    this.post();
  }

  async post() {
    const {mask, body, key} = this.sending;
    let answer;
    try {
      const path = `v1/images/${mask.id}/changes?base=${mask.revision}&key=${key}`;
      answer = await (await ask(path, {method: "POST", body})).json();
    } catch (error) {
      if (error.status === 409 || error.status === 422) {
        const lost = this.waiting.filter((one) => one.mask === mask).length + this.sending.count;
        this.waiting = this.waiting.filter((one) => one.mask !== mask);
        this.sending = null;
        this.failures = 0;
        this.onStale(mask, error, lost);
        return this.send();
      }
      this.failures += 1;
      this.said = error.message;
      this.timer = setTimeout(() => { this.timer = null; this.post(); }, WAITS[Math.min(this.failures, WAITS.length) - 1]);
      return this.onState();
    }
    mask.revision = answer.revision;
    this.failures = 0;
    this.said = answer.problem ?? "";
    this.sending = null;
    this.send();
  }

  leave() { // the page is closed: what is small enough may still arrive
    if (!this.waiting.length || this.sending) return;
    const {mask} = this.waiting[0];
    const body = joined(this.waiting.filter((one) => one.mask === mask).map((one) => one.runs));
    ask(`v1/images/${mask.id}/changes?base=${mask.revision}&key=${newKey()}`, {method: "POST", body, keepalive: true}).catch(() => {});
  }

  empty() { // resolves when the server has everything
    if (!this.count) return Promise.resolve();
    return new Promise((done) => { (this.emptied ??= []).push(done); });
  }
}
