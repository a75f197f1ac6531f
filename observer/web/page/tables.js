/** Parts that are lists: new listings, ETF premiums, backups. */

import { element, keyed, once, setAttribute, setHidden, setStyle, setText, table, tableRow } from "./dom.js";
import { counted, duration, localTime, price, signedPercent, words } from "./format.js";
import { orderButton } from "./orders.js";

const ROWS_FIRST = 10;

/** A table that shows its first rows until all are asked for. `columns` are `[heading, class]`. */
function shortTable(body, label, columns, emptyText) {
  const made = table(label, columns);
  const empty = element("p", { className: "empty", text: emptyText });
  const more = element("button", { type: "button", className: "more" });
  const kept = { rows: made.body, scroll: made.element, columns, empty, more, isWhole: false, again: () => {} };
  more.addEventListener("click", () => {
    kept.isWhole = !kept.isWhole;
    kept.again();
  });
  body.append(empty, made.element, more);
  return kept;
}

function showRows(kept, items, keyOf, update, create = (row) => row) {
  const classes = kept.columns.map(([, className = ""]) => className);
  kept.again = () => {
    const shown = kept.isWhole ? items : items.slice(0, ROWS_FIRST);
    keyed(kept.rows, shown, keyOf, (item) => create(tableRow(classes), item), update);
    setHidden(kept.more, items.length <= ROWS_FIRST);
    setText(kept.more, kept.isWhole ? "Show fewer" : `Show all ${items.length}`);
    setAttribute(kept.more, "aria-expanded", String(kept.isWhole));
  };
  kept.again();
  setHidden(kept.empty, items.length > 0);
  setHidden(kept.scroll, items.length === 0);
}

const LISTING_COLUMNS = [["Name", "wide-name"], ["Exchange"], ["Kind"], ["Seen"], ["Symbol"]];

function pendingRow(orders, file) {
  const facts = element("span");
  const order = orderButton(orders, "approve", "Approve", `Approve the file of ${file.exchange}`, () => file);
  return { element: element("li", {}, facts, order), facts };
}

function makeListings(body) {
  const title = element("h3", { text: "Pending approval" });
  const pending = element("ul", { className: "pending", "aria-label": "Changes pending approval" });
  const held = element("div", { className: "pending-part" }, title, pending);
  body.append(held);
  return { held, pending, ...shortTable(body, "New listings", LISTING_COLUMNS, "No new listing in thirty days.") };
}

export function listings(body, part, { orders, state }) {
  const kept = once(body, makeListings);
  setHidden(kept.held, part.pending.length === 0);
  keyed(
    kept.pending,
    part.pending,
    (file) => `${file.exchange} ${file.run}`,
    (file) => pendingRow(orders, file),
    (row, file) => {
      setText(row.facts, `${file.exchange}: ${file.reason} (since ${localTime(file.since, state.day)})`);
    },
  );
  const keyOf = (listing) => `${listing.symbol} ${listing.exchange} ${listing.seen}`;
  showRows(kept, part.listings, keyOf, ({ cells }, listing) => {
    const seen = localTime(listing.seen, state.day);
    [listing.name, listing.exchange, listing.kind, seen, listing.symbol].forEach((text, order) =>
      setText(cells[order], text),
    );
  });
  const waiting = part.pending.length > 0 ? `, ${part.pending.length} pending approval` : "";
  return `${part.listings.length} in thirty days${waiting}`;
}

const PREMIUM_COLUMNS = [
  ["Name", "wide-name"],
  ["Premium", "premium"],
  ["Price", "figure"],
  ["NAV", "figure"],
  ["Symbol", "figure"],
];

function premiumRow(row) {
  const bar = element("span", { className: "premium-bar", "aria-hidden": "true" }, element("i"));
  const text = element("span", { className: "premium-text" });
  row.cells[1].append(bar, text);
  return { ...row, bar: bar.firstElementChild, text };
}

export function premiums(body, part) {
  const kept = once(body, (place) =>
    shortTable(place, "ETF premiums", PREMIUM_COLUMNS, "No ETF has a value of its assets."),
  );
  const largest = Math.max(...part.premiums.map((each) => Math.abs(each.premium_percent)), 0.01);
  const update = (row, each) => {
    const [name, , last, nav, symbol] = row.cells;
    setText(name, each.name || each.symbol);
    setText(last, price(each.price));
    setText(nav, price(each.nav));
    setText(symbol, each.symbol);
    setText(row.text, signedPercent(each.premium_percent));
    const share = (Math.abs(each.premium_percent) / largest) * 50;
    const isGain = each.premium_percent >= 0;
    setStyle(row.bar, { width: `${share}%`, left: `${isGain ? 50 : 50 - share}%` });
    setAttribute(row.bar, "class", isGain ? "is-premium" : "is-discount");
  };
  showRows(kept, part.premiums, (each) => each.symbol, update, premiumRow);
  const of = part.day ? ` of ${part.day}` : "";
  return part.premiums.length > 0 ? `${counted(part.premiums.length, "fund")}${of}, the largest first` : "";
}

const BACKUP_COLUMNS = [["Kind"], ["Age", "figure"], ["Taken"], ["Package", "wide-name"]];

export function backups(body, part, { state }) {
  const kept = once(body, (place) => shortTable(place, "Backups", BACKUP_COLUMNS, "No verified package."));
  showRows(
    kept,
    part.backups,
    (backup) => backup.kind,
    ({ cells }, backup) => {
      const taken = localTime(backup.taken, state.day);
      [words(backup.kind), duration(backup.age_s), taken, backup.name].forEach((text, order) =>
        setText(cells[order], text),
      );
    },
  );
  if (part.backups.length === 0) return "";
  const youngest = Math.min(...part.backups.map((backup) => backup.age_s));
  return `The newest is ${duration(youngest)} old`;
}
