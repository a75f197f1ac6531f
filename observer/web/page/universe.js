/** The universe as a heat map. One stop of the keyboard: arrows move between tiles, Enter asks to pin. */

import { element, keyed, once, setAttribute, setClass, setHidden, setStyle, setText, sizeOf } from "./dom.js";
import { compact, counted, signedPercent } from "./format.js";
import { heat, heatLayout, neighbour } from "./treemap.js";

const RELAYOUT_MS = 10_000; // sizes follow the day's trading slowly: tiles that jump each second cannot be read
const NAME_ROOM = { w: 46, h: 18 };
const CHANGE_ROOM = { w: 46, h: 32 };

function optionId(line) {
  return `tile-${line}`;
}

class HeatMap {
  #orders;
  #map = element("div", {
    className: "heat",
    role: "listbox",
    tabindex: "0",
    "aria-label": "Heat map of the universe",
  });
  #detail = element("p", { className: "heat-detail" });
  #tiles = [];
  #rooms = [];
  #sectors = [];
  #size = "";
  #laidOutMs = Number.NEGATIVE_INFINITY;
  #active = null;

  constructor(body, orders) {
    this.#orders = orders;
    body.append(this.#map, element("div", { className: "heat-foot" }, this.#detail, legend()));
    this.#map.addEventListener("keydown", (event) => this.#key(event));
    this.#map.addEventListener("focus", () => this.#activate(this.#active ?? this.#rooms[0]?.tile.line));
    this.#map.addEventListener("pointerover", (event) => this.#point(event));
    this.#map.addEventListener("click", (event) => this.#point(event));
  }

  update(tiles) {
    this.#tiles = tiles;
    this.#layOut();
    this.#say();
  }

  #layOut() {
    const { width, height } = sizeOf(this.#map);
    const lines = new Set(this.#tiles.map((tile) => tile.line));
    const isSame = lines.size === this.#rooms.length && this.#rooms.every(({ tile }) => lines.has(tile.line));
    const size = `${width} ${height}`;
    if (!isSame || size !== this.#size || performance.now() - this.#laidOutMs >= RELAYOUT_MS) {
      this.#size = size;
      this.#laidOutMs = performance.now();
      this.#sectors = heatLayout(this.#tiles, width, height);
      this.#rooms = this.#sectors.flatMap(({ room: outer, tiles }) =>
        tiles.map(({ tile, room }) => ({ ...room, x: room.x + outer.x, y: room.y + outer.y, tile })),
      );
    }
    this.#draw();
  }

  #draw() {
    const byLine = new Map(this.#tiles.map((tile) => [tile.line, tile]));
    keyed(
      this.#map,
      this.#sectors,
      (sector) => sector.name,
      sectorGroup,
      (group, sector) => {
        const { x, y, w, h } = sector.room;
        setStyle(group.element, { left: `${x}px`, top: `${y}px`, width: `${w}px`, height: `${h}px` });
        setHidden(group.label, !sector.isLabelled);
        keyed(
          group.element.lastElementChild,
          sector.tiles,
          ({ tile }) => tile.line,
          tileBox,
          (box, { tile, room }) => updateTile(box, byLine.get(tile.line), room),
        );
      },
    );
  }

  #activate(line) {
    if (line === undefined) return;
    const before = document.getElementById(optionId(this.#active ?? ""));
    if (before) setAttribute(before, "aria-selected", "false");
    this.#active = line;
    const now = document.getElementById(optionId(line));
    if (now) setAttribute(now, "aria-selected", "true");
    setAttribute(this.#map, "aria-activedescendant", optionId(line));
    this.#say();
  }

  #point(event) {
    const line = event.target.closest(".tile")?.dataset.line;
    if (line && line !== this.#active) this.#activate(line);
  }

  #key(event) {
    const index = this.#rooms.findIndex((room) => room.tile.line === this.#active);
    if (index < 0) return;
    if (event.key === "Enter") {
      this.#orders.ask("pin", this.#active);
    } else if (event.key.startsWith("Arrow")) {
      this.#activate(this.#rooms[neighbour(this.#rooms, index, event.key)].tile.line);
    } else {
      return;
    }
    event.preventDefault();
  }

  #say() {
    const tile = this.#tiles.find((each) => each.line === this.#active);
    setText(this.#detail, tile ? tileText(tile) : "Point at a tile, or use the arrow keys.");
  }
}

/** The colours' meaning; a loss has a corner, too. */
function legend() {
  const steps = [
    ["d4", "−5 %"],
    ["d3", "−2.5"],
    ["d2", "−1"],
    ["d1", "<0"],
    ["z", "0"],
    ["u1", ">0"],
    ["u2", "+1"],
  ];
  const list = element("ul", { className: "heat-legend", "aria-label": "Colours: change of the day in percent, from" });
  for (const [step, text] of [...steps, ["u3", "+2.5"], ["u4", "+5 %"]]) {
    list.append(element("li", { className: `tile heat-${step}`, text }));
  }
  return list;
}

function tileText(tile) {
  const change = tile.change_percent === null ? "change unknown" : signedPercent(tile.change_percent);
  const name = tile.name && tile.name !== tile.line ? `${tile.name} (${tile.line})` : tile.line;
  return `${name}, ${tile.sector || "Other"}: ${change}, ${compact(tile.value)} traded`;
}

function sectorGroup(sector) {
  const label = element("span", { className: "sector-name", text: sector.name, "aria-hidden": "true" });
  const tiles = element("div", { className: "tiles", role: "group", "aria-label": sector.name });
  return { element: element("div", { className: "sector", role: "presentation" }, label, tiles), label };
}

function tileBox({ tile }) {
  const name = element("span", { className: "tile-name" });
  const change = element("span", { className: "tile-change" });
  const box = element("div", { className: "tile", role: "option", id: optionId(tile.line), "aria-selected": "false" });
  box.dataset.line = tile.line;
  box.append(name, change);
  return { element: box, name, change };
}

function updateTile(box, tile, { x, y, w, h }) {
  setStyle(box.element, { left: `${x}px`, top: `${y}px`, width: `${w}px`, height: `${h}px` });
  const hasName = w >= NAME_ROOM.w && h >= NAME_ROOM.h;
  const size = w >= 120 && h >= 64 ? " is-large" : "";
  setClass(box.element, `tile heat-${heat(tile.change_percent)}${size}`);
  setText(box.name, hasName ? tile.name || tile.line : "");
  setText(box.change, hasName && h >= CHANGE_ROOM.h ? signedPercent(tile.change_percent, 1) : "");
  setAttribute(box.element, "aria-label", tileText(tile));
}

export function universe(body, part, { orders }) {
  once(body, () => new HeatMap(body, orders)).update(part.tiles);
  const changes = part.tiles.map((tile) => tile.change_percent).filter((change) => change !== null);
  const up = changes.filter((change) => change > 0).length;
  const down = changes.filter((change) => change < 0).length;
  const priced = part.tiles.length > 0 ? `, the ${part.tiles.length} largest shown` : ", no price yet";
  const largest = part.tiles.length < part.lines ? priced : "";
  const moves = changes.length > 0 ? `; ${up} up, ${down} down` : "";
  return `${counted(part.lines, "line")}${largest}${moves}`;
}
