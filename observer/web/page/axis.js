/** The time axis of the day that timeline, gaps and sweeps share. Pure. */

const HOUR = 60;
const DAY = 24 * HOUR;
const IDLE = "IDLE";
const LABELS_MAX = 16;

/**
 * The hours worth showing: the day's phases except idling, and now; of a day without phases all of it.
 * @returns {{begin: number, end: number}} minutes of the day, whole hours
 */
export function dayAxis(phases, nowMinute) {
  const busy = phases.filter((phase) => phase.name !== IDLE && phase.end_minute > phase.begin_minute);
  if (busy.length === 0) return { begin: 0, end: DAY };
  const begins = busy.map((phase) => phase.begin_minute);
  const ends = busy.map((phase) => phase.end_minute);
  if (nowMinute !== null && nowMinute !== undefined) {
    begins.push(nowMinute);
    ends.push(nowMinute);
  }
  const begin = Math.max(0, Math.floor(Math.min(...begins) / HOUR) * HOUR);
  const end = Math.ceil(Math.max(...ends) / HOUR) * HOUR;
  return { begin, end: Math.max(end, begin + HOUR) };
}

/** Where a minute stands on the axis, in percent, kept inside. */
export function position(axis, minute) {
  const share = (minute - axis.begin) / (axis.end - axis.begin);
  return Math.min(100, Math.max(0, share * 100));
}

/** Whole hours to label, as many as have room. */
export function hours(axis, labelsMax = LABELS_MAX) {
  const count = (axis.end - axis.begin) / HOUR;
  const step = [1, 2, 3, 4, 6, 12].find((each) => count / each <= labelsMax) ?? 24;
  const found = [];
  for (let minute = Math.ceil(axis.begin / (step * HOUR)) * step * HOUR; minute <= axis.end; minute += step * HOUR) {
    found.push(minute);
  }
  return found;
}
