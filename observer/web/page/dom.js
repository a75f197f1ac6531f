/** Updates of elements in place: what did not change is not touched. Text is only ever set as text. */

/** A new element with classes, text and attributes. */
export function element(tag, { className = "", text = "", ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** One of the icons that index.html defines; it means nothing without the text beside it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

export function setIcon(svg, name) {
  const use = svg.firstElementChild;
  if (use.getAttribute("href") !== `#icon-${name}`) use.setAttribute("href", `#icon-${name}`);
}

export function setText(node, text) {
  const only = node.firstChild;
  if (only === null ? text !== "" : only.nodeValue !== text || only.nextSibling !== null) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (value === null) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== value) {
    node.setAttribute(name, value);
  }
}

export function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

export function setHidden(node, isHidden) {
  if (node.hidden !== isHidden) node.hidden = isHidden;
}

const styles = new WeakMap();

/** Style properties by name; those that have their value already are left alone. */
export function setStyle(node, properties) {
  let known = styles.get(node);
  if (!known) styles.set(node, (known = {}));
  for (const name in properties) {
    if (known[name] !== properties[name]) {
      known[name] = properties[name];
      node.style.setProperty(name, properties[name]);
    }
  }
}

const rows = new WeakMap();

/** Moves a child without taking the focus from it, where the browser can. */
function placeBefore(parent, child, next) {
  if (child.parentNode === parent && parent.moveBefore) parent.moveBefore(child, next);
  else parent.insertBefore(child, next);
}

/**
 * The children of `parent` become those of `items`, in their order: kept by key, made by `create(item)`, which returns
 * an element with its parts, brought up to date by `update(row, item)`. `row.removed()`, if there is one, ends a row.
 * Items with one key are all shown: the second one is kept by its key and `again`.
 */
export function keyed(parent, items, keyOf, create, update) {
  let known = rows.get(parent);
  if (!known) rows.set(parent, (known = new Map()));
  const wanted = new Set();
  const keys = items.map((item) => {
    let key = keyOf(item);
    while (wanted.has(key)) key = `${key} again`;
    wanted.add(key);
    return key;
  });
  for (const [key, row] of known) {
    if (wanted.has(key)) continue;
    row.removed?.();
    row.element.remove();
    known.delete(key);
  }
  let next = parent.firstElementChild;
  for (const [order, item] of items.entries()) {
    const key = keys[order];
    let row = known.get(key);
    if (!row) known.set(key, (row = create(item)));
    if (row.element === next) next = next.nextElementSibling;
    else placeBefore(parent, row.element, next);
    update(row, item);
  }
}

const sizes = new WeakMap();

let onSize = () => {};

const sized = new ResizeObserver((entries) => {
  let isChanged = false;
  for (const { target, contentRect } of entries) {
    const [width, height] = [Math.floor(contentRect.width), Math.floor(contentRect.height)];
    const known = sizes.get(target);
    isChanged ||= known.width !== width || known.height !== height;
    sizes.set(target, { width, height });
  }
  if (isChanged) onSize();
});

/** Calls back when an element that `sizeOf` was asked about has another size. */
export function whenSizesChange(callback) {
  onSize = callback;
}

/** An element's inner size in CSS pixels, without making the browser lay out the page at each question. */
export function sizeOf(node) {
  if (!sizes.has(node)) {
    sizes.set(node, { width: node.clientWidth, height: node.clientHeight });
    sized.observe(node);
  }
  return sizes.get(node);
}

const scrolling = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    setAttribute(target, "tabindex", target.scrollWidth > target.clientWidth ? "0" : null);
  }
});

/**
 * A table that scrolls sideways where it has no room, also by keyboard. `columns` are `[heading, class]`; the returned
 * `body` takes the rows.
 */
export function table(label, columns) {
  const head = element("tr");
  for (const [heading, className = ""] of columns) {
    head.append(element("th", { className, text: heading, scope: "col" }));
  }
  const body = element("tbody");
  const made = element("table", { "aria-label": label }, element("thead", {}, head), body);
  const outer = element("div", { className: "scroll", role: "group", "aria-label": `${label}, table` }, made);
  scrolling.observe(outer);
  return { element: outer, body };
}

/** A table row with a cell for each class; the first is the row's heading. */
export function tableRow(classes) {
  const cells = classes.map((className, order) =>
    element(order === 0 ? "th" : "td", order === 0 ? { className, scope: "row" } : { className }),
  );
  return { element: element("tr", {}, ...cells), cells };
}

const kept = new WeakMap();

/** What a part keeps between updates, made once for its body. */
export function once(body, make) {
  if (!kept.has(body)) kept.set(body, make(body));
  return kept.get(body);
}

/** Names and values: `pairs` are `[name, value]` or `[name, value, mark]`, where a mark is a class of its value. */
export function figures(list, pairs) {
  keyed(
    list,
    pairs,
    ([name]) => name,
    ([name]) => {
      const value = element("dd");
      return { element: element("div", {}, element("dt", { text: name }), value), value };
    },
    (row, [, value, mark = ""]) => {
      setText(row.value, value);
      setClass(row.value, mark);
    },
  );
}
