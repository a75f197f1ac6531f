/** Which day the page shows: the one in its address (#2026-11-18), else the running system; and the day picker. */

import { setHidden } from "./dom.js";

const DAY = /^#(\d{4}-\d{2}-\d{2})$/;

/** The day in an address's fragment; null means now. Pure. */
export function dayOf(fragment) {
  return DAY.exec(fragment)?.[1] ?? null;
}

/** The stored days before and after a day; null where there is none. `days` in any order. Pure. */
export function around(days, day) {
  const sorted = [...days].sort();
  const before = sorted.filter((each) => day === null || each < day).at(-1) ?? null;
  const after = day === null ? null : (sorted.find((each) => each > day) ?? null);
  return { before, after };
}

export class Days {
  #picker = document.getElementById("day");
  #before = document.getElementById("day-before");
  #after = document.getElementById("day-after");
  #live = document.getElementById("day-live");
  #days = [];
  #shown = null;
  #asked = null;
  #today = "";
  #onLive;
  #onAsked;
  #onDay;
  #onTrouble;

  /**
   * @param {{onLive: () => void, onAsked: () => void, onDay: (state: object) => void,
   *   onTrouble: (text: string) => void}} handlers
   *   the page shows the running system; nothing, until a stored day is there; that day; or why it cannot be shown
   *   ("" ends that)
   */
  constructor({ onLive, onAsked, onDay, onTrouble }) {
    this.#onLive = onLive;
    this.#onAsked = onAsked;
    this.#onDay = onDay;
    this.#onTrouble = onTrouble;
  }

  /** The day that the page shows; null: the running system. */
  get shown() {
    return this.#shown;
  }

  /** The day of the running system: the picker shows it, and choosing it leads back to now. */
  set today(day) {
    if (day === this.#today) return;
    this.#today = day;
    this.#showChoice();
  }

  start() {
    addEventListener("hashchange", () => this.#follow());
    this.#picker.addEventListener("change", () => this.#go(this.#picker.value || null));
    this.#before.addEventListener("click", () => this.#go(around(this.#stored(), this.#shown).before));
    this.#after.addEventListener("click", () => this.#go(around(this.#stored(), this.#shown).after));
    this.#live.addEventListener("click", () => this.#go(null));
    this.#picker.addEventListener("focus", () => this.#list());
    this.#list();
    this.#follow();
  }

  #go(chosen) {
    const day = chosen === this.#today ? null : chosen;
    const fragment = day === null ? "" : `#${day}`;
    if (location.hash === fragment) return;
    history.pushState(null, "", `${location.pathname}${location.search}${fragment}`);
    this.#follow();
  }

  async #list() {
    try {
      const answer = await fetch("api/days");
      const found = answer.ok ? await answer.json() : [];
      this.#days = Array.isArray(found) ? found : found.days;
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // no connection: the page is grey already
    }
    this.#showChoice();
  }

  /** Days before today; today is what the page shows anyway. */
  #stored() {
    return this.#days.filter((day) => day !== this.#today);
  }

  #showChoice() {
    const { before, after } = around(this.#stored(), this.#shown);
    if (this.#shown === null && document.activeElement === this.#live) this.#picker.focus();
    this.#before.disabled = before === null;
    this.#after.disabled = after === null;
    setHidden(this.#live, this.#shown === null);
    if (this.#days.length > 0) {
      const sorted = [...this.#days].sort();
      this.#picker.min = sorted[0];
      this.#picker.max = this.#today > sorted.at(-1) ? this.#today : sorted.at(-1);
    }
    this.#picker.value = this.#shown ?? this.#today;
  }

  #follow() {
    this.#asked?.abort();
    this.#asked = null;
    this.#shown = dayOf(location.hash);
    this.#showChoice();
    this.#onTrouble("");
    if (this.#shown === null) this.#onLive();
    else this.#ask(this.#shown);
  }

  async #ask(day) {
    const asking = new AbortController();
    this.#asked = asking;
    this.#onAsked();
    document.body.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(`api/days/${day}`, { signal: asking.signal });
      const found = await answer.json();
      if (answer.ok) this.#onDay(found);
      else this.#onTrouble(found.error ?? `The day ${day} cannot be shown: HTTP ${answer.status}.`);
    } catch (error) {
      if (asking.signal.aborted) return;
      this.#onTrouble(`The day ${day} cannot be shown (${error.message}). Choose it again later.`);
    } finally {
      if (this.#asked === asking) document.body.removeAttribute("aria-busy");
    }
  }
}
