/** The page's own feed: a server-sent state and its changes, renewed when the connection ends or hangs. */

const STOPPED_AFTER_MS = 4000; // the page may show old figures as new for 5 s at most; a state comes each second
const CHECK_MS = 250;
const RENEW_AFTER_MS = 2000; // between two tries to connect

/** Milliseconds since a moment; the larger of two clocks, as one of them may stand while the machine sleeps. */
function since({ steady, wall }) {
  return Math.max(0, performance.now() - steady, Date.now() - wall);
}

function moment() {
  return { steady: performance.now(), wall: Date.now() };
}

/** The value after a change: `[value]` replaces, an object has the changes by key, or by index of an array. */
function changed(value, change) {
  if (Array.isArray(change)) return change[0];
  const copy = Array.isArray(value) ? [...value] : { ...value };
  for (const [key, part] of Object.entries(change)) copy[key] = changed(copy[key], part);
  return copy;
}

export class Feed {
  #address;
  #onState;
  #onChange;
  #source = null;
  #opened = moment();
  #received = moment();
  #isStopped = false;
  #state = null;

  /**
   * @param {string} address
   * @param {(state: object) => void} onState a state came
   * @param {(isStopped: boolean) => void} onChange the feed stopped, or goes on
   */
  constructor(address, onState, onChange) {
    this.#address = address;
    this.#onState = onState;
    this.#onChange = onChange;
  }

  start() {
    this.#open();
    setInterval(() => this.#check(), CHECK_MS);
    document.addEventListener("visibilitychange", () => this.#check());
  }

  /** Milliseconds since the last state; before the first one since the start. */
  get silenceMs() {
    return since(this.#received);
  }

  get isStopped() {
    return this.#isStopped;
  }

  get hasState() {
    return this.#state !== null;
  }

  /** When the last state came, by this device's clock. */
  get lastWallMs() {
    return this.#received.wall;
  }

  #open() {
    this.#source?.close();
    this.#opened = moment();
    this.#source = new EventSource(this.#address);
    this.#source.addEventListener("state", ({ data }) => this.#receive(JSON.parse(data)));
    this.#source.addEventListener("change", ({ data }) => this.#receive(changed(this.#state, JSON.parse(data))));
  }

  #receive(state) {
    this.#received = moment();
    this.#state = state;
    this.#set(false);
    this.#onState(state);
  }

  #check() {
    if (this.silenceMs < STOPPED_AFTER_MS) return;
    this.#set(true);
    if (since(this.#opened) >= RENEW_AFTER_MS) this.#open();
  }

  #set(isStopped) {
    if (this.#isStopped === isStopped) return;
    this.#isStopped = isStopped;
    this.#onChange(isStopped);
  }
}
