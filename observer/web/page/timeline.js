/** The day's plan on its axis, with now. */

import { hours, position } from "./axis.js";
import { element, keyed, once, setAttribute, setHidden, setStyle, setText, sizeOf } from "./dom.js";
import { minuteText, words } from "./format.js";

function make(body) {
  const bars = element("ol", { className: "phases", "aria-label": "Phases of the day" });
  const ticks = element("div", { className: "ticks", "aria-hidden": "true" });
  const now = element("div", { className: "now", "aria-hidden": "true" }, element("span", { className: "now-text" }));
  body.append(element("div", { className: "track" }, bars, now), ticks);
  return { bars, ticks, now };
}

/** Labels of the hours, for an axis of any part. */
export function showTicks(ticks, axis) {
  const { width } = sizeOf(ticks);
  const labelsMax = width > 0 ? Math.max(3, Math.floor(width / 52)) : undefined;
  keyed(
    ticks,
    hours(axis, labelsMax),
    (minute) => minute,
    (minute) => ({ element: element("span", { text: minuteText(minute) }) }),
    (row, minute) => setStyle(row.element, { left: `${position(axis, minute)}%` }),
  );
}

function phaseRow() {
  const name = element("span", { className: "phase-name" });
  const span = element("span", { className: "phase-span" });
  return { element: element("li", { className: "phase" }, name, span), name, span };
}

export function timeline(body, part, { axis, state }) {
  const kept = once(body, make);
  const shown = part.phases.filter((phase) => phase.end_minute > axis.begin && phase.begin_minute < axis.end);
  keyed(
    kept.bars,
    shown,
    (phase) => `${phase.name} ${phase.begin_minute}`,
    phaseRow,
    (row, phase) => {
      const left = position(axis, phase.begin_minute);
      const now = part.now_minute;
      const isNow = now !== null && phase.begin_minute <= now && now < phase.end_minute;
      const span = `${minuteText(phase.begin_minute)} to ${minuteText(phase.end_minute)}`;
      setStyle(row.element, { left: `${left}%`, width: `${position(axis, phase.end_minute) - left}%` });
      setAttribute(row.element, "data-phase", phase.name);
      setAttribute(row.element, "aria-current", isNow ? "time" : null);
      setAttribute(row.element, "title", `${words(phase.name)}, ${span}`);
      setText(row.name, words(phase.name));
      setText(row.span, span);
    },
  );
  setHidden(kept.now, part.now_minute === null);
  if (part.now_minute !== null) {
    const left = position(axis, part.now_minute);
    setStyle(kept.now, { left: `${left}%` });
    setAttribute(kept.now, "data-side", left > 85 ? "left" : "right");
    setText(kept.now.firstElementChild, minuteText(part.now_minute));
  }
  showTicks(kept.ticks, axis);
  if (part.phases.length === 0) return "No trading on this day";
  return state.is_live ? `Now: ${words(state.phase)}` : "";
}
