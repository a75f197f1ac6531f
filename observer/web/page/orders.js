/** Orders to the running system: each is confirmed in a dialog, sent with the token, and its outcome shown there. */

import { setHidden, setText } from "./dom.js";

const TOKEN_KEY = "observer-token"; // in sessionStorage: gone with the tab

/** The five orders: their title, what a click means, their body, and whether they ask for a time. */
const ORDERS = {
  restart: {
    title: (name) => `Restart ${name}?`,
    text: () =>
      "The process ends in order and starts again. Events of its outbox are delivered; a gap is found and filled.",
    button: "Restart",
    body: (name) => ({ process: name }),
  },
  pin: {
    title: (line) => `Pin ${line}?`,
    text: () => "The line holds a slot above all triggers until it is unpinned.",
    button: "Pin",
    body: (line) => ({ line }),
  },
  unpin: {
    title: (line) => `Unpin ${line}?`,
    text: () => "The line keeps its slot only while a trigger earns it.",
    button: "Unpin",
    body: (line) => ({ line }),
  },
  approve: {
    title: ({ exchange }) => `Approve the file of ${exchange}?`,
    text: ({ reason }) => `The changes of this master file become the listings of the system: ${reason}.`,
    button: "Approve",
    body: ({ exchange, run }) => ({ file: exchange, run }),
  },
  silence: {
    title: (identity) => `Silence ${identity}?`,
    text: () =>
      "No target gets a message about an alert of this name, of any process, for a while. It stays listed here.",
    button: "Silence",
    body: (identity, forS) => ({ alert: identity, for_s: forS }),
    hasTime: true,
  },
};

/** What became of an order: a sentence, whether it was done, and whether that is not known. Forgets a wrong token. */
async function outcomeOf(answer) {
  const type = answer.headers.get("Content-Type") ?? "";
  const found = type.includes("json") ? await answer.json() : {};
  if (answer.ok) return { isDone: true, text: found.text ?? "Done." };
  if (answer.status === 401) sessionStorage.removeItem(TOKEN_KEY);
  const why = found.error ?? `HTTP ${answer.status}.`;
  return answer.status < 500 ? { isDone: false, text: `Refused: ${why}` } : unknown(why);
}

function notSent(why) {
  return { isDone: false, text: `Not sent: ${why}` };
}

/** An order without a clear answer may have reached the system: to send it again may do it twice. */
function unknown(why) {
  return { isDone: false, isUnknown: true, text: `Not known whether it was done: ${why}` };
}

/**
 * Sends an order with a key, so that it is done once however often the browser sends it. It keeps its key until it
 * is answered, or until it is another order: with another time. Never throws: the outcome says what failed.
 */
async function send(order, body, token) {
  const authorization = { Authorization: `Bearer ${token}` };
  const content = JSON.stringify(body);
  if (content !== order.content) Object.assign(order, { content, key: null });
  try {
    if (order.key === null) {
      const asked = await fetch("api/orders/key", { headers: authorization });
      if (asked.status >= 500) return notSent(`HTTP ${asked.status}.`);
      if (!asked.ok) return await outcomeOf(asked);
      order.key = (await asked.json()).key;
    }
  } catch (error) {
    return notSent(`the server gives no answer (${error.message}).`);
  }
  try {
    const answer = await fetch(`api/orders/${order.kind}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": order.key, ...authorization },
      body: content,
    });
    const outcome = await outcomeOf(answer);
    order.key = null;
    return outcome;
  } catch (error) {
    return unknown(`the server gives no answer that can be read (${error.message}).`);
  }
}

export class Orders {
  #dialog = document.getElementById("order");
  #form = document.getElementById("order-form");
  #title = document.getElementById("order-title");
  #text = document.getElementById("order-text");
  #time = document.getElementById("order-time");
  #tokenRow = document.getElementById("order-token-row");
  #token = document.getElementById("order-token");
  #outcome = document.getElementById("order-outcome");
  #confirm = document.getElementById("order-confirm");
  #cancel = document.getElementById("order-cancel");
  #current = null;

  /** False while the page shows a stored day. */
  isAllowed = true;

  constructor() {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#cancel.addEventListener("click", () => this.#dialog.close());
  }

  /** Opens the dialog of an order: `kind` is a key of ORDERS, `subject` a process, line, file or alert. */
  ask(kind, subject) {
    if (!this.isAllowed) return;
    const order = ORDERS[kind];
    this.#current = { kind, subject, order, content: null, key: null };
    setText(this.#title, order.title(subject));
    setText(this.#text, order.text(subject));
    setHidden(this.#time, !order.hasTime);
    this.#token.value = "";
    this.#show("", order.button);
    this.#dialog.showModal();
    if (this.#tokenRow.hidden) this.#confirm.focus();
    else this.#token.focus();
  }

  #show(outcome, button) {
    const needsToken = sessionStorage.getItem(TOKEN_KEY) === null;
    setHidden(this.#tokenRow, !needsToken);
    this.#token.required = needsToken;
    setText(this.#outcome, outcome);
    setText(this.#confirm, button);
    setText(this.#cancel, "Cancel");
    setHidden(this.#confirm, false);
    this.#confirm.disabled = false;
  }

  async #send() {
    const current = this.#current;
    if (this.#token.value) sessionStorage.setItem(TOKEN_KEY, this.#token.value.trim());
    this.#confirm.disabled = true;
    setText(this.#outcome, "Sending …");
    const forS = Number(new FormData(this.#form).get("for_s"));
    const body = current.order.body(current.subject, forS);
    const { isDone, isUnknown, text } = await send(current, body, sessionStorage.getItem(TOKEN_KEY) ?? "");
    if (current !== this.#current) return;
    this.#show(text, isUnknown ? "Send it again" : "Try again");
    this.#outcome.className = isDone ? "outcome is-done" : "outcome is-refused";
    if (isDone) {
      setHidden(this.#confirm, true);
      setHidden(this.#tokenRow, true);
      setText(this.#cancel, "Close");
      this.#cancel.focus();
    }
  }
}

/** A small button that opens an order's dialog. `subject` is asked for at the click. */
export function orderButton(orders, kind, text, label, subject) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "order";
  button.textContent = text;
  button.setAttribute("aria-label", label);
  button.addEventListener("click", () => orders.ask(kind, subject()));
  return button;
}
