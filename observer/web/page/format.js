/** Texts of figures. Pure: no DOM, no clock. An unknown figure (null, undefined, not a number) is a dash. */

export const UNKNOWN = "–";
const MINUS = "\u2212";
const KIB = 1024;

const formats = new Map();

function formatted(value, digits) {
  let format = formats.get(digits);
  if (!format) {
    format = new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    formats.set(digits, format);
  }
  return format.format(value).replace("-", MINUS);
}

const compactFormat = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export function isKnown(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** 12,345 or, with digits, 12,345.60. */
export function number(value, digits = 0) {
  return isKnown(value) ? formatted(value, digits) : UNKNOWN;
}

/** At most three figures: 1.24M. */
export function compact(value) {
  return isKnown(value) ? compactFormat.format(value).replace("-", MINUS) : UNKNOWN;
}

/** A price: two digits where it has a fraction. */
export function price(value) {
  return isKnown(value) ? formatted(value, Number.isInteger(value) ? 0 : 2) : UNKNOWN;
}

export function percent(value, digits = 1) {
  return isKnown(value) ? `${formatted(value, digits)} %` : UNKNOWN;
}

/** With its sign, also in front of a gain: +1.20 %. */
export function signedPercent(value, digits = 2) {
  if (!isKnown(value)) return UNKNOWN;
  const text = formatted(value, digits);
  const isZero = Number(value.toFixed(digits)) === 0;
  return `${isZero ? "" : value > 0 ? "+" : ""}${isZero ? text.replace(MINUS, "") : text} %`;
}

export function bytes(value) {
  if (!isKnown(value)) return UNKNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let size = value;
  let unit = 0;
  while (size >= KIB && unit < units.length - 1) {
    size /= KIB;
    unit += 1;
  }
  return `${formatted(size, unit === 0 || size >= 100 ? 0 : 1)} ${units[unit]}`;
}

/** A span of time in one or two units: 40 ms, 3.2 s, 47 s, 12 min, 3 h 05 min, 6 d. */
export function duration(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  const span = Math.max(0, seconds);
  if (span === 0) return "0 s";
  if (span < 0.9995) return `${formatted(span * 1000, span < 0.01 ? 1 : 0)} ms`;
  if (span < 9.95) return `${formatted(span, 1)} s`;
  if (span < 119.5) return `${Math.round(span)} s`;
  const minutes = Math.round(span / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(minutes / 1440)} d`;
}

/** A span in one unit and few characters: 0.2 s, 14 s, 102 min, 5 h, 3 d. */
export function brief(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  const span = Math.max(0, seconds);
  if (span < 9.95) return `${formatted(span, 1)} s`;
  if (span < 119.5) return `${Math.round(span)} s`;
  if (span < 119.5 * 60) return `${Math.round(span / 60)} min`;
  return span < 48 * 3600 ? `${Math.round(span / 3600)} h` : `${Math.floor(span / 86_400)} d`;
}

/** An age in whole units, for a text that is renewed each second: "now", "3 s", "4 min". */
export function age(ms) {
  if (!isKnown(ms)) return UNKNOWN;
  const seconds = Math.floor(Math.max(0, ms) / 1000);
  if (seconds < 1) return "now";
  return `${seconds < 120 ? `${seconds} s` : duration(seconds)} ago`;
}

/** A minute of the day as HH:MM. */
export function minuteText(minute) {
  if (!isKnown(minute)) return UNKNOWN;
  const whole = Math.floor(minute);
  return `${String(Math.floor(whole / 60)).padStart(2, "0")}:${String(whole % 60).padStart(2, "0")}`;
}

/** A minute of the day as HH:MM:SS. */
export function secondText(minute) {
  if (!isKnown(minute)) return UNKNOWN;
  const seconds = Math.floor(minute * 60 + 1e-6);
  return `${minuteText(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

const ISO = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?))?/;

/** The clock of a local ISO time; with its date where that is not `today`. A text of another form stays as it is. */
export function localTime(iso, today = "") {
  if (!iso) return UNKNOWN;
  const parts = ISO.exec(iso);
  if (!parts) return iso;
  const [, date, clock] = parts;
  if (!clock) return date;
  return date === today ? clock : `${date} ${clock.slice(0, 5)}`;
}

/** Seconds between two local ISO times of one venue; null where one of them is none. */
export function secondsBetween(begin, end) {
  const [from, to] = [begin, end].map((iso) => {
    const parts = ISO.exec(iso ?? "");
    return parts?.[2] ? Date.parse(`${parts[1]}T${parts[2]}Z`) : Number.NaN;
  });
  return Number.isNaN(from) || Number.isNaN(to) ? null : (to - from) / 1000;
}

/** FULL_OPERATION as "Full operation", TRACK_A_ONLY as "Track A only". */
export function words(name) {
  const text = name
    .replaceAll("_", " ")
    .toLowerCase()
    .replace(/\b[a-z]\b/g, (letter) => letter.toUpperCase());
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** "1 gap", "2 gaps". */
export function counted(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}
