/** The head of the page: is all well, which day, and does the feed live? */

import { UNKNOWN, age, localTime, words } from "./format.js";
import { icon, setAttribute, setClass, setHidden, setIcon, setText } from "./dom.js";

const WORDS = { ok: "All well", warning: "Warning", critical: "Critical", unknown: "Unknown" };
const byId = (id) => document.getElementById(id);

const lamp = icon("ok");
byId("level-lamp").append(lamp);

/** Is all well? While nothing is heard of the running system, that is not known. */
export function showHeadline(state, isGrey) {
  const level = isGrey ? "unknown" : state.level;
  setClass(byId("headline"), `headline is-${level}`);
  setIcon(lamp, level);
  setText(byId("level-word"), WORDS[level]);
  setText(byId("headline-text"), isGrey ? `Last heard: ${WORDS[state.level]}. ${state.headline}` : state.headline);
}

/** The day and the phase of the shown state. */
export function showHead(state) {
  setText(byId("head-day"), state.day);
  setText(byId("head-time"), state.is_live ? localTime(state.market_time, state.day) : "stored day");
  setText(byId("head-phase"), words(state.phase));
  setHidden(byId("head-phase-item"), !state.phase);
  setText(byId("head-instance"), state.instance);
  setText(byId("head-version"), state.processes.version);
  setHidden(byId("head-version-item"), !state.processes.version);
}

/** The head while the page has no figures to show: of a stored day that is asked for or not there, or of now. */
export function showNoFigures(day) {
  setClass(byId("headline"), "headline is-unknown");
  setIcon(lamp, "unknown");
  setText(byId("level-word"), WORDS.unknown);
  setText(byId("headline-text"), `The page has no figures of ${day ?? "the running system"} yet.`);
  setText(byId("head-day"), day ?? UNKNOWN);
  setText(byId("head-time"), day === null ? UNKNOWN : "stored day");
  setHidden(byId("head-phase-item"), true);
  setHidden(byId("head-version-item"), true);
}

/** The title of the tab begins with what matters; it is kept up to date in a hidden tab, too. */
export function showTitle(state, isStopped, day) {
  const level = isStopped ? "No news" : state ? WORDS[state.level] : "…";
  setText(document.querySelector("title"), day ? `${day} · Observer (now: ${level})` : `${level} · Observer`);
}

/** By this device's clock, with its time zone: times of the market stand beside it. */
function deviceTime(ms) {
  const parts = { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" };
  return new Date(ms).toLocaleTimeString("en-GB", parts);
}

/**
 * The feed's own state. On a past day the page keeps its colours: its figures come from the store, and the line at the
 * feed says how the running system is.
 */
export function showFeed(feed, liveState, day) {
  const isGrey = feed.isStopped && day === null;
  setAttribute(document.body, "data-feed", isGrey ? "stopped" : "live");
  const since = deviceTime(feed.lastWallMs);
  const what = feed.hasState ? `No news since ${since}.` : `No answer from the system since ${since}.`;
  setText(byId("no-news-text"), isGrey ? `${what} What stands below is old.` : "");
  setHidden(byId("no-news"), !isGrey);
  setClass(byId("feed"), feed.isStopped ? "feed is-stopped" : "feed");
  const arriving = liveState !== null && !liveState.is_live ? "Stored" : "Live"; // `observer web` has a stored day alone
  setText(byId("feed-word"), feed.isStopped ? "No news" : feed.hasState ? arriving : "Connecting");
  showFeedAge(feed, day);
  const isElsewhere = day !== null && liveState !== null && !feed.isStopped;
  setText(byId("feed-level"), isElsewhere ? WORDS[liveState.level].toLowerCase() : "");
}

/** How long ago the last state came; called each second. A stored day shows the running system's level instead. */
export function showFeedAge(feed, day) {
  const isShown = feed.hasState && (day === null || feed.isStopped);
  setText(byId("feed-age"), isShown ? age(feed.silenceMs) : "");
}
