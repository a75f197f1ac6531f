/** The slots of each account as cards with a small chart of their last prices. */

import { addChart, removeChart, setPrices } from "./charts.js";
import { element, keyed, once, setAttribute, setHidden, setStyle, setText } from "./dom.js";
import { brief, compact, counted, isKnown, localTime, number, price } from "./format.js";
import { secondsBetween, signedPercent, UNKNOWN } from "./format.js";
import { orderButton } from "./orders.js";
import { heat } from "./treemap.js";

const PIN = "pin";
const KEY =
  "Each slot: last price and change of the day, why it has the slot with its score, trades a minute, " +
  "how long it is held, age of the price.";

function make(body, orders) {
  const accounts = element("div", { className: "accounts" });
  const line = element("input", {
    id: "pin-line",
    name: "line",
    autocomplete: "off",
    autocapitalize: "characters",
    spellcheck: "false",
    size: "12",
  });
  const form = element(
    "form",
    { className: "pin-form orders" },
    element("label", { for: "pin-line", text: "Pin a line" }),
    line,
    element("button", { type: "submit", className: "order", text: "Pin" }),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (line.value.trim()) orders.ask("pin", line.value.trim());
  });
  body.append(element("p", { className: "board-key", text: KEY }), accounts, form);
  return { accounts };
}

function slotCard(orders, line) {
  const classes = ["name", "code", "price", "change", "why", "score", "rate", "held", "price-age"];
  const [name, code, last, change, why, score, rate, held, age] = classes.map((className) =>
    element("span", { className }),
  );
  rate.title = "Trades in the last minute";
  held.title = "How long it holds the slot";
  age.title = "Age of the last price";
  const chart = element("div", { className: "chart", role: "img" });
  const pin = orderButton(orders, "pin", "Pin", `Pin ${line}`, () => line);
  const unpin = orderButton(orders, "unpin", "Unpin", `Unpin ${line}`, () => line);
  const card = element(
    "li",
    { className: "slot" },
    element("div", { className: "slot-line" }, name, last),
    element("div", { className: "slot-line" }, code, change),
    chart,
    element("div", { className: "slot-line slot-why" }, why, score, pin, unpin),
    element("div", { className: "slot-facts" }, rate, held, age),
  );
  addChart(chart);
  const removed = () => removeChart(chart);
  return { element: card, removed, name, code, last, change, why, score, rate, held, age, chart, pin, unpin };
}

/** Trades a minute, how long it is held, age of the price; of a stored day: since when it was held. */
function factsOf(slot, state) {
  if (!state.is_live) return ["", `since ${localTime(slot.since, state.day)}`, ""];
  const rate = isKnown(slot.trades_per_minute) ? `${compact(slot.trades_per_minute)}/min` : UNKNOWN;
  const held = secondsBetween(slot.since, state.market_time);
  return [rate, held === null ? localTime(slot.since, state.day) : brief(held), brief(slot.price_age_s)];
}

function chartText(slot) {
  const prices = slot.prices.map(([, value]) => value);
  if (prices.length === 0) return "No prices yet";
  return `Prices between ${price(Math.min(...prices))} and ${price(Math.max(...prices))}, last ${price(prices.at(-1))}`;
}

function updateSlot(card, slot, state) {
  const isPinned = slot.why === PIN;
  setText(card.name, slot.name || slot.line);
  setAttribute(card.name, "title", slot.name);
  setText(card.code, slot.name && slot.name !== slot.line ? slot.line : "");
  setText(card.last, price(slot.price));
  setText(card.change, signedPercent(slot.change_percent));
  setAttribute(card.change, "data-heat", heat(slot.change_percent).charAt(0));
  setText(card.why, slot.why);
  setAttribute(card.why, "title", slot.why);
  setText(card.score, isKnown(slot.score) ? number(slot.score, 2) : "");
  setAttribute(card.element, "data-pinned", isPinned ? "yes" : null);
  const [rate, held, age] = factsOf(slot, state);
  setText(card.rate, rate);
  setText(card.held, held);
  setText(card.age, age);
  setHidden(card.pin, isPinned);
  setHidden(card.unpin, !isPinned);
  setPrices(card.chart, slot.prices);
  setAttribute(card.chart, "aria-label", chartText(slot));
}

function accountGroup(name) {
  const title = element("h3", { text: name });
  const facts = element("p", { className: "account-facts" });
  const meter = element("span", { className: "meter", "aria-hidden": "true" }, element("span"));
  const list = element("ul", { className: "slots", "aria-label": `Slots of ${name}` });
  const head = element("div", { className: "account-head" }, title, meter, facts);
  return { element: element("div", { className: "account" }, head, list), facts, meter, list };
}

function accountFacts(account, state) {
  const found = [`${account.slots.length} of ${account.slots_max} used`];
  if (account.is_connected !== null) found.push(account.is_connected ? "connected" : "not connected");
  if (account.token_expires) found.push(`access token until ${localTime(account.token_expires, state.day)}`);
  return found.join(" · ");
}

export function board(body, part, { orders, state }) {
  const { accounts } = once(body, () => make(body, orders));
  keyed(
    accounts,
    part.accounts,
    (account) => account.name,
    (account) => accountGroup(account.name),
    (group, account) => {
      setAttribute(group.element, "data-connected", account.is_connected === false ? "no" : null);
      setText(group.facts, accountFacts(account, state));
      const share = account.slots_max > 0 ? account.slots.length / account.slots_max : 0;
      setStyle(group.meter.firstElementChild, { width: `${Math.min(100, share * 100)}%` });
      keyed(
        group.list,
        account.slots,
        (slot) => slot.line,
        (slot) => slotCard(orders, slot.line),
        (card, slot) => updateSlot(card, slot, state),
      );
    },
  );
  const used = part.accounts.reduce((sum, account) => sum + account.slots.length, 0);
  const most = part.accounts.reduce((sum, account) => sum + account.slots_max, 0);
  const waiting = state.is_live ? `, ${counted(part.waiting, "candidate waits", "candidates wait")}` : "";
  return `${used} of ${most} used${waiting}`;
}
