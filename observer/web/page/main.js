/** The page: brings each part up to date when a state comes, and the ages each second. */

import { alerts } from "./alerts.js";
import { dayAxis } from "./axis.js";
import { board } from "./board.js";
import { redrawCharts } from "./charts.js";
import { Days } from "./days.js";
import { setAttribute, setHidden, setText, whenSizesChange } from "./dom.js";
import { Feed } from "./feed.js";
import { age } from "./format.js";
import { gaps } from "./gaps.js";
import { showFeed, showFeedAge, showHead, showHeadline, showNoFigures, showTitle } from "./head.js";
import { Orders } from "./orders.js";
import { processes } from "./processes.js";
import { storage, tape } from "./storage.js";
import { sweeps } from "./sweeps.js";
import { backups, listings, premiums } from "./tables.js";
import { startTheme } from "./theme.js";
import { timeline } from "./timeline.js";
import { universe } from "./universe.js";

/** The parts of a state: each has a section of its name, and a function that returns its summary. */
const PARTS = {
  timeline,
  alerts,
  processes,
  board,
  universe,
  premiums,
  gaps,
  sweeps,
  storage,
  tape,
  backups,
  listings,
};

/** Parts whose texts depend on nothing but their figures and the axis: not drawn again while these stay the same. */
const STILL = new Set(["universe", "premiums", "gaps", "sweeps", "storage", "tape", "backups", "listings"]);

const TICK_MS = 1000;

const sections = new Map(
  Object.keys(PARTS).map((name) => {
    const section = document.getElementById(name);
    const [summary, stamp, missing, body] = [".summary", ".age", ".missing", ".body"].map((selector) =>
      section.querySelector(selector),
    );
    return [name, { section, summary, stamp, missing, body, mark: "", isBroken: false }];
  }),
);

const orders = new Orders();
let live = null; // the newest state of the running system
let shown = null; // the state to show, and when it came
let drawn = null; // the state on the page: `shown` from its first frame on
let isDue = false;

function show(state) {
  shown = { state, steady: performance.now(), wall: Date.now() };
  drawSoon();
}

/** Draws at the next frame, once however many states come before it: none in a hidden tab. */
function drawSoon() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    if (shown) draw();
  });
}

/** Nothing of another day stays visible while the chosen one is not there. Its room stays, so the page does not jump. */
function blank() {
  shown = null;
  drawn = null;
  orders.isAllowed = false;
  setAttribute(document.body, "data-view", days.shown === null ? "live" : "past");
  setAttribute(document.getElementById("parts"), "data-blank", "yes");
  showNoFigures(days.shown);
}

function draw() {
  const { state } = shown;
  drawn = state;
  const context = { state, orders, axis: dayAxis(state.timeline.phases, state.timeline.now_minute) };
  orders.isAllowed = state.is_live;
  setAttribute(document.body, "data-view", state.is_live ? "live" : "past");
  setHidden(document.getElementById("parts"), false);
  setAttribute(document.getElementById("parts"), "data-blank", null);
  setHidden(document.getElementById("waiting"), true);
  showHead(state);
  showHeadline(state, isGrey());
  for (const name in PARTS) tryPart(name, state[name], context);
  showAges();
}

/** A part that fails says so in its own place, and leaves the others alone. */
function tryPart(name, part, context) {
  const kept = sections.get(name);
  try {
    drawPart(name, part, context);
    kept.isBroken = false;
  } catch (error) {
    if (!kept.isBroken) console.error(error);
    kept.isBroken = true;
    kept.mark = "";
    setText(kept.summary, "");
    setText(kept.missing, `The page cannot show these figures (${error.message}). Load the page again.`);
    setHidden(kept.missing, false);
    setHidden(kept.body, true);
  }
}

function drawPart(name, part, context) {
  const kept = sections.get(name);
  setHidden(kept.missing, !part.missing);
  setHidden(kept.body, Boolean(part.missing));
  setText(kept.missing, part.missing);
  if (part.missing) {
    setText(kept.summary, "");
    kept.mark = "";
    return;
  }
  if (STILL.has(name)) {
    const { begin, end } = context.axis;
    const mark = `${context.state.day} ${begin} ${end} ${JSON.stringify({ ...part, known_ms: 0 })}`;
    if (kept.mark === mark) return;
    kept.mark = mark;
  }
  setText(kept.summary, PARTS[name](kept.body, part, context));
}

/** The age of each part's figures: by the server's clock when they were sent, and the time since then by ours. */
function showAges() {
  if (!shown) return;
  const { state } = shown;
  const sinceMs = Math.max(0, performance.now() - shown.steady, Date.now() - shown.wall);
  for (const [name, { stamp, isBroken }] of sections) {
    const part = state[name];
    setText(stamp, isBroken || part.missing ? "" : age(state.now_ms - part.known_ms + sinceMs));
  }
}

const feed = new Feed("api/live", onState, showStatus);
const days = new Days({ onLive, onAsked: blank, onDay: show, onTrouble });

function onState(state) {
  live = state;
  days.today = state.day;
  if (days.shown === null) show(state);
  showStatus();
}

function onLive() {
  if (live) show(live);
  else blank();
  showStatus();
}

function onTrouble(text) {
  const place = document.getElementById("trouble");
  setText(place, text);
  setHidden(place, text === "");
  if (text) setHidden(document.getElementById("waiting"), true);
  showStatus();
}

/** The page shows the running system, and hears nothing of it. */
function isGrey() {
  return feed.isStopped && days.shown === null;
}

function showStatus() {
  showFeed(feed, live, days.shown);
  if (drawn) showHeadline(drawn, isGrey());
  showTitle(live, feed.isStopped, days.shown);
}

/** Links to sections scroll without changing the address, which holds the day. */
function startLinks() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-section]");
    if (!link) return;
    event.preventDefault();
    const target = document.getElementById(link.dataset.section);
    target.scrollIntoView();
    target.focus({ preventScroll: true });
  });
}

/** Labels of axes and the heat map depend on their room. */
function startResizing() {
  whenSizesChange(() => {
    for (const kept of sections.values()) kept.mark = "";
    if (shown) drawSoon();
  });
}

startTheme(redrawCharts);
startLinks();
startResizing();
feed.start();
days.start();
setInterval(() => {
  showFeedAge(feed, days.shown);
  showAges();
}, TICK_MS);
