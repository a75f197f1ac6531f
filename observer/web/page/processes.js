/** The processes as a table, each with its restart. */

import { element, icon, keyed, once, setAttribute, setIcon, setText, table, tableRow } from "./dom.js";
import { bytes, counted, duration, number, percent, UNKNOWN } from "./format.js";
import { orderButton } from "./orders.js";

const COLUMNS = [
  ["Process"],
  ["State"],
  ["Up"],
  ["Restarts", "figure"],
  ["Heartbeat age", "figure"],
  ["CPU", "figure"],
  ["Memory", "figure"],
  ["Loop lag", "figure"],
  ["Pid", "figure"],
  ["Last exit"],
  ["Order", "order-cell"],
];

function make(body) {
  const made = table("Processes", COLUMNS);
  body.append(made.element);
  return made;
}

function processRow(orders, name) {
  const row = tableRow(COLUMNS.map(([, className = ""]) => className));
  const lamp = icon("ok");
  const state = element("span");
  row.cells[0].textContent = name;
  row.cells[1].append(lamp, state);
  row.cells[1].className = "state";
  row.cells.at(-1).append(orderButton(orders, "restart", "Restart", `Restart ${name}`, () => name));
  return { ...row, lamp, state };
}

export function processes(body, part, { orders }) {
  const { body: rows } = once(body, make);
  keyed(
    rows,
    part.processes,
    (process) => process.name,
    (process) => processRow(orders, process.name),
    (row, process) => {
      const [, , up, restarts, heartbeat, cpu, memory, lag, pid, exit] = row.cells;
      setAttribute(row.element, "data-level", process.level);
      setIcon(row.lamp, process.level);
      setText(row.state, process.state);
      setText(up, duration(process.uptime_s));
      setText(restarts, number(process.restarts));
      setText(heartbeat, duration(process.heartbeat_age_s));
      setText(cpu, percent(process.cpu_percent, 0));
      setText(memory, bytes(process.rss_bytes));
      setText(lag, duration(process.loop_lag_s));
      setText(pid, process.pid === null ? UNKNOWN : String(process.pid));
      setText(exit, process.exit ?? UNKNOWN);
    },
  );
  const bad = part.processes.filter((process) => process.level !== "ok").length;
  const wellText = bad === 0 ? "all well" : `${counted(bad, "needs", "need")} a look`;
  return `${counted(part.processes.length, "process", "processes")}, ${wellText}; up ${duration(part.uptime_s)}`;
}
