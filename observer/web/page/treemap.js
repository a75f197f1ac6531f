/** The layout of the heat map: squarified rectangles, grouped by sector. Pure; all lengths in CSS pixels. */

const LABEL_HEIGHT = 16; // above the tiles of a sector that is large enough for its name
const LABEL_WIDTH_MIN = 44;
const LABEL_ROOM_MIN = 44;

/** The worst ratio of sides of a row of areas along a side. */
function worstRatio(sum, smallest, largest, side) {
  const square = sum * sum;
  const length = side * side;
  return Math.max((length * largest) / square, square / (length * smallest));
}

/**
 * Rectangles with areas in proportion to the values, each as near to a square as its row allows (Bruls, Huizing, van
 * Wijk: "Squarified Treemaps"). Values are above zero and in falling order.
 * @param {number[]} values
 * @param {{x: number, y: number, w: number, h: number}} room
 */
export function squarified(values, room) {
  const total = values.reduce((sum, value) => sum + value, 0);
  if (values.length === 0 || total <= 0 || room.w <= 0 || room.h <= 0) {
    return values.map(() => ({ x: room.x, y: room.y, w: 0, h: 0 }));
  }
  const scale = (room.w * room.h) / total;
  const found = [];
  let { x, y, w, h } = room;
  let first = 0;
  while (first < values.length) {
    const side = Math.min(w, h);
    let sum = values[first] * scale;
    let end = first + 1;
    let worst = worstRatio(sum, sum, sum, side);
    while (end < values.length) {
      const area = values[end] * scale;
      const next = worstRatio(sum + area, area, values[first] * scale, side);
      if (next > worst) break;
      worst = next;
      sum += area;
      end += 1;
    }
    const depth = side > 0 ? sum / side : 0;
    let along = 0;
    for (let index = first; index < end; index += 1) {
      const length = depth > 0 ? (values[index] * scale) / depth : 0;
      found.push(w < h ? { x: x + along, y, w: length, h: depth } : { x, y: y + along, w: depth, h: length });
      along += length;
    }
    if (w < h) {
      y += depth;
      h = Math.max(0, h - depth);
    } else {
      x += depth;
      w = Math.max(0, w - depth);
    }
    first = end;
  }
  return found;
}

/** Whole pixels, so that neighbours share an edge. */
function snapped({ x, y, w, h }) {
  const left = Math.round(x);
  const top = Math.round(y);
  return { x: left, y: top, w: Math.round(x + w) - left, h: Math.round(y + h) - top };
}

/** The values to draw: before the first trade of the day all tiles have one size; a tile without a value is tiny. */
function sizes(tiles) {
  const total = tiles.reduce((sum, tile) => sum + Math.max(0, tile.value), 0);
  return tiles.map((tile) => (total > 0 ? Math.max(tile.value, total * 1e-6) : 1));
}

/**
 * The sectors, the largest first, each with its rectangle and those of its tiles.
 * @param {{line: string, sector: string, value: number}[]} tiles
 */
export function heatLayout(tiles, width, height) {
  const size = new Map(sizes(tiles).map((value, index) => [tiles[index], value]));
  const members = new Map();
  for (const tile of tiles) {
    const sector = tile.sector || "Other";
    if (!members.has(sector)) members.set(sector, []);
    members.get(sector).push(tile);
  }
  const sectors = [...members]
    .map(([name, own]) => ({
      name,
      own: own.sort((left, right) => size.get(right) - size.get(left)),
      value: own.reduce((sum, tile) => sum + size.get(tile), 0),
    }))
    .sort((left, right) => right.value - left.value);
  const rooms = squarified(
    sectors.map((sector) => sector.value),
    { x: 0, y: 0, w: width, h: height },
  ).map(snapped);
  return sectors.map(({ name, own }, index) => {
    const room = rooms[index];
    const isLabelled = room.w >= LABEL_WIDTH_MIN && room.h >= LABEL_ROOM_MIN;
    const top = isLabelled ? LABEL_HEIGHT : 0;
    const inside = { x: 0, y: top, w: room.w, h: room.h - top };
    const rectangles = squarified(
      own.map((tile) => size.get(tile)),
      inside,
    ).map(snapped);
    return { name, room, isLabelled, tiles: own.map((tile, order) => ({ tile, room: rectangles[order] })) };
  });
}

const DIRECTIONS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/**
 * The nearest rectangle in the direction of an arrow key; sideways distance counts twice.
 * @param {{x: number, y: number, w: number, h: number}[]} rooms
 * @returns {number} its index; `from` where there is none
 */
export function neighbour(rooms, from, key) {
  const [dx, dy] = DIRECTIONS[key];
  const centre = (room) => [room.x + room.w / 2, room.y + room.h / 2];
  const [x, y] = centre(rooms[from]);
  let best = from;
  let bestDistance = Number.POSITIVE_INFINITY;
  rooms.forEach((room, index) => {
    const [otherX, otherY] = centre(room);
    const ahead = (otherX - x) * dx + (otherY - y) * dy;
    const aside = Math.abs((otherX - x) * dy) + Math.abs((otherY - y) * dx);
    if (index !== from && ahead > 0.5 && ahead + 2 * aside < bestDistance) {
      best = index;
      bestDistance = ahead + 2 * aside;
    }
  });
  return best;
}

const STEPS_PERCENT = [0.15, 1, 2.5, 5];

/** The colour of a change: "n" unknown, "z" hardly any, "u1" to "u4" gains, "d1" to "d4" losses. */
export function heat(changePercent) {
  if (changePercent === null || !Number.isFinite(changePercent)) return "n";
  const step = STEPS_PERCENT.filter((limit) => Math.abs(changePercent) >= limit).length;
  if (step === 0) return "z";
  return `${changePercent > 0 ? "u" : "d"}${step}`;
}
