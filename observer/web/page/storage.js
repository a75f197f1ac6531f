/** What is stored, how far the writer is behind, and the tape. */

import { element, figures, keyed, once, setStyle, setText } from "./dom.js";
import { bytes, compact, duration, localTime, number, percent, UNKNOWN, words } from "./format.js";

function makeStorage(body) {
  const numbers = element("dl", { className: "figures" });
  const kinds = element("dl", { className: "kinds", "aria-label": "Rows of the day by kind" });
  body.append(numbers, kinds);
  return { numbers, kinds };
}

function kindRow([kind]) {
  const count = element("dd");
  const bar = element("i", { "aria-hidden": "true" });
  return { element: element("div", {}, element("dt", { text: words(kind) }), bar, count), count, bar };
}

export function storage(body, part, { state }) {
  const kept = once(body, makeStorage);
  const found = [
    ["Rows a second", number(part.rows_per_s, part.rows_per_s > 0 && part.rows_per_s < 10 ? 1 : 0)],
    ["Commit lag", duration(part.acknowledgement_s)],
    ["Events waiting", number(part.waiting_events)],
    ["Database", bytes(part.database_bytes)],
    ["Disk free", bytes(part.disk_free_bytes)],
  ];
  figures(kept.numbers, state.is_live ? found : found.filter(([, value]) => value !== UNKNOWN));
  const kinds = Object.entries(part.rows).sort(([, left], [, right]) => right - left);
  const most = Math.max(...kinds.map(([, count]) => count), 1);
  keyed(
    kept.kinds,
    kinds,
    ([kind]) => kind,
    kindRow,
    (row, [, count]) => {
      setText(row.count, number(count));
      setStyle(row.bar, { width: `${(count / most) * 100}%` });
    },
  );
  const total = kinds.reduce((sum, [, count]) => sum + count, 0);
  return `${compact(total)} rows of the day`;
}

function makeTape(body) {
  const meter = element("div", { className: "tape-meter", "aria-hidden": "true" }, element("span"));
  const numbers = element("dl", { className: "figures" });
  body.append(meter, numbers);
  return { meter, numbers };
}

export function tape(body, part, { state }) {
  const kept = once(body, makeTape);
  const share = part.share_held ?? null;
  setStyle(kept.meter.firstElementChild, { width: `${Math.min(100, (share ?? 0) * 100)}%` });
  figures(kept.numbers, [
    ["Held trade by trade", share === null ? percent(null) : percent(Math.floor(share * 1000) / 10)],
    ["Lines complete", `${number(part.lines_complete)} of ${number(part.lines)}`],
    ["Done", localTime(part.done_at, state.day)],
  ]);
  if (!part.is_on) return "Off";
  return share === null ? "On" : `On, ${percent(Math.floor(share * 1000) / 10)} of the volume`;
}
