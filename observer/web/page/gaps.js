/** The day's gaps: a strip for each line that has some. */

import { position } from "./axis.js";
import { element, figures, keyed, once, setAttribute, setHidden, setStyle, setText } from "./dom.js";
import { counted, duration, number, secondText } from "./format.js";
import { showTicks } from "./timeline.js";

const STRIPS_FIRST = 12;
const STATES = ["open", "lost", "recovered", "empty"];

function legend() {
  const list = element("ul", { className: "legend", "aria-label": "States of gaps" });
  for (const state of STATES) {
    list.append(
      element("li", {}, element("span", { className: `gap-key gap-${state}`, "aria-hidden": "true" }), state),
    );
  }
  return list;
}

function make(body) {
  const numbers = element("dl", { className: "figures" });
  const strips = element("ul", { className: "strips", "aria-label": "Lines with gaps" });
  const ticks = element("div", { className: "ticks", "aria-hidden": "true" });
  const none = element("p", { className: "empty", text: "No line has a gap." });
  const more = element("button", { type: "button", className: "more" });
  const kept = { numbers, strips, ticks, none, more, isWhole: false, again: () => {} };
  more.addEventListener("click", () => {
    kept.isWhole = !kept.isWhole;
    kept.again();
  });
  body.append(numbers, legend(), none, strips, ticks, more);
  return kept;
}

function stripRow() {
  const name = element("span", { className: "strip-name" });
  const count = element("span", { className: "strip-count" });
  const track = element("span", { className: "strip-track", "aria-hidden": "true" });
  return { element: element("li", { className: "strip" }, name, track, count), name, track, count };
}

/** "2 open, 1 recovered". */
function countsOf(spans) {
  return STATES.map((state) => [state, spans.filter((span) => span.state === state).length])
    .filter(([, count]) => count > 0)
    .map(([state, count]) => `${count} ${state}`)
    .join(", ");
}

function updateStrip(row, strip, axis) {
  setText(row.name, strip.name && strip.name !== strip.line ? `${strip.name} ${strip.line}` : strip.line);
  setAttribute(row.name, "title", row.name.textContent);
  setText(row.count, countsOf(strip.spans));
  setAttribute(row.count, "title", row.count.textContent);
  const spans = strip.spans.map((span, order) => ({ ...span, order }));
  keyed(
    row.track,
    spans,
    (span) => span.order,
    () => ({ element: element("i") }),
    ({ element: mark }, span) => {
      const left = position(axis, span.begin_minute);
      setStyle(mark, { left: `${left}%`, width: `${position(axis, span.end_minute) - left}%` });
      setAttribute(mark, "class", `gap-${span.state}`);
      const seconds = duration((span.end_minute - span.begin_minute) * 60);
      setAttribute(mark, "title", `${span.state}, from ${secondText(span.begin_minute)}, ${seconds}`);
    },
  );
}

export function gaps(body, part, { axis }) {
  const kept = once(body, make);
  figures(kept.numbers, [
    ["Open", number(part.open), part.open > 0 ? "is-warning" : ""],
    ["Recovered", number(part.recovered)],
    ["Lost", number(part.lost), part.lost > 0 ? "is-critical" : ""],
    ["Found within (p95)", duration(part.detection_p95_s)],
    ["Closed within (p95)", duration(part.closing_p95_s)],
  ]);
  kept.again = () => {
    const shown = kept.isWhole ? part.strips : part.strips.slice(0, STRIPS_FIRST);
    keyed(
      kept.strips,
      shown,
      (strip) => strip.line,
      stripRow,
      (row, strip) => updateStrip(row, strip, axis),
    );
    setHidden(kept.more, part.strips.length <= STRIPS_FIRST);
    setText(kept.more, kept.isWhole ? "Show fewer" : `Show all ${counted(part.strips.length, "line")}`);
    setAttribute(kept.more, "aria-expanded", String(kept.isWhole));
  };
  kept.again();
  setHidden(kept.none, part.strips.length > 0);
  setHidden(kept.strips, part.strips.length === 0);
  setHidden(kept.ticks, part.strips.length === 0);
  if (part.strips.length > 0) showTicks(kept.ticks, axis);
  return `${part.open} open, ${number(part.recovered)} recovered, ${part.lost} lost`;
}
