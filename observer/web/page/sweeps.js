/** The day's sweeps: how long each took, and which did not get all answers. */

import { position } from "./axis.js";
import { element, figures, once, setAttribute, setHidden, setText } from "./dom.js";
import { counted, duration, number, percent, secondText } from "./format.js";
import { showTicks } from "./timeline.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100;

function path(className) {
  const made = document.createElementNS(SVG, "path");
  made.setAttribute("class", className);
  return made;
}

function make(body) {
  const numbers = element("dl", { className: "figures" });
  const chart = document.createElementNS(SVG, "svg");
  const whole = path("sweep-whole");
  const partial = path("sweep-partial");
  chart.setAttribute("class", "sweep-chart");
  chart.setAttribute("viewBox", `0 0 100 ${HEIGHT}`);
  chart.setAttribute("preserveAspectRatio", "none");
  chart.setAttribute("role", "img");
  chart.append(whole, partial);
  const scale = element("p", { className: "chart-scale" });
  const ticks = element("div", { className: "ticks", "aria-hidden": "true" });
  const none = element("p", { className: "empty", text: "No sweep yet." });
  body.append(numbers, none, scale, chart, ticks);
  return { numbers, chart, whole, partial, scale, ticks, none };
}

function median(values) {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)];
}

/** Vertical strokes, one a sweep, as high as it took long. */
function strokes(sweeps, axis, longest) {
  return sweeps
    .map(({ begin_minute: begin, duration_s: length }) => {
      const x = position(axis, begin).toFixed(3);
      return `M${x} ${HEIGHT}V${(HEIGHT - (HEIGHT * length) / longest).toFixed(1)}`;
    })
    .join("");
}

export function sweeps(body, part, { axis }) {
  const kept = once(body, make);
  const isEmpty = part.sweeps.length === 0;
  for (const each of [kept.numbers, kept.chart, kept.scale, kept.ticks]) each.toggleAttribute("hidden", isEmpty);
  setHidden(kept.none, !isEmpty);
  if (isEmpty) return "None";
  const last = part.sweeps.at(-1);
  const incomplete = part.sweeps.filter((sweep) => sweep.answered < sweep.asked);
  const longest = Math.max(...part.sweeps.map((sweep) => sweep.duration_s), 0.001);
  const typical = median(part.sweeps.map((sweep) => sweep.duration_s));
  figures(kept.numbers, [
    ["Last began", secondText(last.begin_minute)],
    ["It took", duration(last.duration_s)],
    ["Answered", `${number(last.answered)} of ${number(last.asked)}`, last.answered < last.asked ? "is-warning" : ""],
    ["Median", duration(typical)],
    ["Incomplete", number(incomplete.length), incomplete.length > 0 ? "is-warning" : ""],
  ]);
  setAttribute(
    kept.whole,
    "d",
    strokes(
      part.sweeps.filter((sweep) => sweep.answered >= sweep.asked),
      axis,
      longest,
    ),
  );
  setAttribute(kept.partial, "d", strokes(incomplete, axis, longest));
  setText(kept.scale, `Duration, up to ${duration(longest)}${incomplete.length > 0 ? "; dashed: incomplete" : ""}`);
  const asked = part.sweeps.reduce((sum, sweep) => sum + sweep.asked, 0);
  const answered = part.sweeps.reduce((sum, sweep) => sum + sweep.answered, 0);
  const share = asked > 0 ? `, ${percent(Math.floor((answered / asked) * 1000) / 10)} answered` : "";
  const summary = `${counted(part.sweeps.length, "sweep")}${share}`;
  setAttribute(kept.chart, "aria-label", `${summary}; median ${duration(typical)}, longest ${duration(longest)}`);
  showTicks(kept.ticks, axis);
  return summary;
}
