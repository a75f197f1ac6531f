/** Open alerts, each with the order that silences it; of a stored day, those that were raised. */

import { element, icon, keyed, once, setAttribute, setHidden, setIcon, setText } from "./dom.js";
import { counted, duration, localTime, secondsBetween } from "./format.js";
import { orderButton } from "./orders.js";

const ICONS = { info: "info", warning: "warning", critical: "critical" };

function make(body) {
  const list = element("ul", { className: "alerts" });
  const none = element("p", { className: "empty" });
  body.append(list, none);
  return { list, none };
}

function alertRow(orders, identity) {
  const lamp = icon("info");
  const [severity, process, text, since, silenced] = ["severity", "process", "alert-text", "since", "silenced"].map(
    (className) => element("span", { className }),
  );
  const facts = element("p", { className: "alert-facts" }, lamp, severity, process, since, silenced);
  const words = element("p", { className: "alert-words" }, text);
  const order = orderButton(orders, "silence", "Silence", `Silence ${identity}`, () => identity);
  return {
    element: element("li", {}, element("div", {}, facts, words), order),
    ...{ lamp, severity, process, text, since, silenced },
  };
}

/** When an alert of a stored day ended; an open one has no end. */
function ended(alert, { is_live, day }) {
  if (is_live) return "";
  return alert.ended === null ? ", not ended" : ` until ${localTime(alert.ended, day)}`;
}

export function alerts(body, part, { orders, state }) {
  const kept = once(body, make);
  setText(document.getElementById("alerts-title"), state.is_live ? "Open alerts" : "Alerts of the day");
  setText(kept.none, state.is_live ? "No alert is open." : "No alert of this day is stored.");
  keyed(
    kept.list,
    part.alerts,
    (alert) => JSON.stringify([alert.process, alert.identity, alert.since]),
    (alert) => alertRow(orders, alert.identity),
    (row, alert) => {
      setAttribute(row.element, "data-severity", alert.severity);
      setAttribute(row.element, "data-silenced", alert.silenced_until === null ? null : "yes");
      setIcon(row.lamp, ICONS[alert.severity]);
      setText(row.severity, alert.severity);
      setText(row.process, alert.process);
      setText(row.text, alert.text);
      const seconds = state.is_live ? secondsBetween(alert.since, state.market_time) : null;
      const open = seconds === null ? "" : ` (${duration(seconds)})`;
      const times = alert.count > 1 ? `, ${counted(alert.count, "time")}` : "";
      setText(row.since, `since ${localTime(alert.since, state.day)}${ended(alert, state)}${open}${times}`);
      const end = alert.silenced_until === null ? "" : `silenced until ${localTime(alert.silenced_until, state.day)}`;
      setText(row.silenced, end);
    },
  );
  setHidden(kept.none, part.alerts.length > 0);
  setHidden(kept.list, part.alerts.length === 0);
  if (part.alerts.length === 0) return state.is_live ? "None open" : "None";
  const severities = ["critical", "warning", "info"]
    .map((severity) => [severity, part.alerts.filter((alert) => alert.severity === severity).length])
    .filter(([, count]) => count > 0)
    .map(([severity, count]) => `${count} ${severity}`);
  return severities.join(", ");
}
