/** Small charts of prices (uPlot). Only charts in view are made and drawn; a chart without news is not drawn again. */

/* global uPlot */

const HEIGHT = 30;
const LINE_WIDTH = 1.25;
const MARGIN = [2, 1, 2, 1];

const shown = new Map(); // element of a chart in view -> its chart
const wanted = new WeakMap(); // element -> its prices and their mark
let colours = null;

function marked(prices) {
  const last = prices.at(-1);
  return last ? `${prices.length} ${prices[0][0]} ${last[0]} ${last[1]}` : "";
}

function columns(prices) {
  return [prices.map(([minute]) => minute), prices.map(([, price]) => price)];
}

function readColours(place) {
  if (!colours) {
    const { color, outlineColor } = getComputedStyle(place);
    colours = { line: color, area: outlineColor };
  }
  return colours;
}

function made(place, prices) {
  const options = {
    width: Math.max(10, place.clientWidth),
    height: HEIGHT * (place.clientHeight > HEIGHT ? place.clientHeight / HEIGHT : 1),
    padding: MARGIN,
    cursor: { show: false },
    legend: { show: false },
    axes: [{ show: false }, { show: false }],
    scales: { x: { time: false } },
    series: [
      {},
      {
        width: LINE_WIDTH,
        stroke: () => readColours(place).line,
        fill: () => readColours(place).area,
        points: { show: false },
      },
    ],
  };
  return new uPlot(options, columns(prices), place);
}

function draw(place) {
  const { prices, mark } = wanted.get(place);
  const known = shown.get(place);
  if (known?.mark === mark) return;
  if (!known?.chart) {
    if (prices.length > 1) shown.set(place, { chart: made(place, prices), mark });
  } else {
    known.chart.setData(columns(prices));
    known.mark = mark;
  }
}

const inView = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !shown.has(target)) {
        shown.set(target, { chart: null, mark: "" });
        draw(target);
      } else if (!isIntersecting && shown.has(target)) {
        dropChart(target);
      }
    }
  },
  { rootMargin: "200px" },
);

const resized = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const chart = shown.get(target)?.chart;
    if (chart && contentRect.width > 0 && Math.abs(chart.width - contentRect.width) >= 1) {
      chart.setSize({ width: contentRect.width, height: chart.height });
    }
  }
});

/** Begins to watch an element that shall hold a chart. */
export function addChart(place) {
  wanted.set(place, { prices: [], mark: "" });
  inView.observe(place);
  resized.observe(place);
}

/** Its prices: `[minute, price]` each. */
export function setPrices(place, prices) {
  wanted.set(place, { prices, mark: marked(prices) });
  if (shown.has(place)) draw(place);
}

function dropChart(place) {
  shown.get(place)?.chart?.destroy();
  shown.delete(place);
}

/** Ends watching. */
export function removeChart(place) {
  inView.unobserve(place);
  resized.unobserve(place);
  dropChart(place);
}

/** The colours changed: draws all charts in view again. */
export function redrawCharts() {
  colours = null;
  for (const { chart } of shown.values()) chart?.redraw(false);
}
