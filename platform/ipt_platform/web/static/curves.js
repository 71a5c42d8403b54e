// The curves of a run, or of several: drawn by uPlot from thinned points, finer where people look closer.
import { ask, whileSeen } from "./live.js";

const box = document.querySelector("[data-curves]");
const logScale = document.getElementById("log-scale");
const smoothing = document.getElementById("smoothing");
const HEIGHT = 260;
const COLOURS = 8;

let span = null; // the steps that are looked at, from and to; null: all
let found = []; // the charts as the server told them
let drawn = []; // { title, plot, box } in the same order

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = (index) => style(`--curve-${(index % COLOURS) + 1}`);

// An average that forgets: of each point a share `weight` is what came before. Without bias at its beginning.
export function smooth(values, weight) {
  let sum = 0, mass = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return sum / mass;
  });
}

const positive = (values) => (logScale.checked ? values.map((v) => (v > 0 ? v : null)) : values);

// What uPlot draws of a chart, column by column: the steps; the curves; where they are smoothed, the raw ones faintly behind
// them; where a point stands for several, the least and greatest of these, between which a band is filled.
function columns(chart) {
  const weight = Number(smoothing.value);
  const plain = chart.curves.map((curve) => positive(curve.values));
  const bands = chart.curves.filter((curve) => curve.low).flatMap((curve) => [positive(curve.high), positive(curve.low)]);
  return [chart.steps, ...bands, ...(weight ? [...plain, ...plain.map((values) => smooth(values, weight))] : plain)];
}

function layout(chart) {
  const weight = Number(smoothing.value);
  const points = { show: chart.steps.length < 40 };
  const line = (index, alpha) => ({
    stroke: colour(index), width: 1.75, spanGaps: true, alpha, points, dash: index >= COLOURS ? [6, 4] : undefined,
  });
  const edges = [], bands = [];
  chart.curves.forEach((curve, index) => {
    if (!curve.low) return;
    bands.push({ series: [edges.length + 1, edges.length + 2], fill: `color-mix(in srgb, ${colour(index)} 22%, transparent)` });
    edges.push({ points: { show: false } }, { points: { show: false } });
  });
  const raw = chart.curves.map((_, index) => line(index, weight ? 0.35 : 1));
  const smoothed = weight ? chart.curves.map((_, index) => line(index, 1)) : [];
  return { series: [{}, ...edges, ...raw, ...smoothed], bands };
}

// A number of an axis or a legend: three or four digits, whatever its size.
const digits = (value, count) => (value === 0 ? "0" : Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6
  ? value.toExponential(count - 2).replace(/\.?0+e/, "e") : String(Number(value.toPrecision(count))));

// What stands at an axis: as many digits as tell its ticks apart.
function ticks(plot, values, axis, space, step) {
  const greatest = Math.max(...values.map((v) => Math.abs(v ?? 0)));
  if (logScale.checked || greatest < 1e-3 || greatest >= 1e6) return values.map((v) => (v === null ? "" : digits(v, 3)));
  const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return values.map((v) => v.toFixed(Math.min(places, 8)));
}

function draw(chart, place) {
  const axis = { stroke: style("--muted"), grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line") } };
  const options = {
    width: Math.max(place.clientWidth, 200), height: HEIGHT,
    scales: { x: { time: false }, y: logScale.checked ? { distr: 3 } : {} },
    axes: [{ ...axis, size: 32 }, { ...axis, size: 64, values: ticks }],
    ...layout(chart),
    legend: { show: false },
    cursor: { sync: { key: "steps" }, drag: { x: true, y: false, setScale: false } },
    hooks: {
      setSelect: [(plot) => {
        if (plot.select.width < 4) return;
        look(Math.floor(plot.posToVal(plot.select.left, "x")), Math.ceil(plot.posToVal(plot.select.left + plot.select.width, "x")));
        plot.setSelect({ width: 0, height: 0 }, false);
      }],
      setCursor: [(plot) => tellValues(chart, plot)],
    },
  };
  return new uPlot(options, columns(chart), place);
}

// The numbers under the pointer, or else the last ones; also what people read who do not see the chart.
function tellValues(chart, plot) {
  const entry = drawn.find((each) => each.plot === plot);
  if (!entry) return;
  const at = plot.cursor.idx;
  entry.items.forEach((item, index) => {
    const curve = entry.chart.curves[index];
    const value = at === null || at === undefined ? null : curve.values[at];
    item.textContent = value !== null && value !== undefined
      ? `${curve.label}: ${digits(value, 4)} at step ${Math.round(entry.chart.steps[at]).toLocaleString("en")}`
      : curve.last ? `${curve.label}: ${curve.last[1]} at step ${curve.last[0].toLocaleString("en")}` : curve.label;
  });
}

function build() {
  for (const { plot } of drawn) plot.destroy();
  drawn = [];
  box.replaceChildren();
  if (!found.length) {
    box.append(Object.assign(document.createElement("p"), { className: "empty", textContent: "Nothing was reported yet." }));
    return;
  }
  const list = Object.assign(document.createElement("div"), { className: "chart-list" });
  box.append(list);
  for (const chart of found) {
    const part = Object.assign(document.createElement("figure"), { className: "chart-box" });
    const name = Object.assign(document.createElement("figcaption"), { className: "chart-name" });
    name.textContent = chart.unit ? `${chart.title} in ${chart.unit}` : chart.title;
    const place = Object.assign(document.createElement("div"), { className: "chart" });
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", `${name.textContent} over steps; the last numbers stand below`);
    const legend = Object.assign(document.createElement("ul"), { className: "legend" });
    const items = chart.curves.map((_, index) => {
      const item = document.createElement("li"), swatch = document.createElement("span"), text = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = colour(index);
      item.append(swatch, " ", text);
      legend.append(item);
      return text;
    });
    part.append(name, place, legend);
    list.append(part);
    const entry = { title: chart.title, plot: null, items, chart, place };
    drawn.push(entry);
    entry.plot = draw(chart, place);
    tellValues(chart, entry.plot);
  }
}

const shape = (chart) => JSON.stringify([chart.title, chart.curves.map((curve) => [curve.label, Boolean(curve.low)])]);

// New numbers into charts that stand there; where others came or went all are made anew.
function show() {
  const same = found.length === drawn.length
    && found.every((chart, i) => shape(chart) === shape(drawn[i].chart));
  if (!same) return build();
  found.forEach((chart, index) => {
    const entry = drawn[index];
    entry.chart = chart;
    entry.plot.setData(columns(chart));
    tellValues(chart, entry.plot);
  });
}

let tag = "", at = "";
const turn = whileSeen(async () => {
  const url = new URL(box.dataset.curves, location.href);
  if (span) {
    url.searchParams.set("from", span[0]);
    url.searchParams.set("to", span[1]);
  }
  const response = await ask(url, url.href === at ? tag : "");
  if (!response) return;
  const asked = JSON.stringify(span);
  const charts = (await response.json()).charts;
  if (JSON.stringify(span) !== asked) return; // somebody has looked elsewhere meanwhile
  [tag, at] = [response.headers.get("ETag") || "", url.href];
  found = charts;
  show();
  box.dataset.drawn = String(Number(box.dataset.drawn || 0) + 1);
}, 2000);

function look(from, to) {
  span = from === null ? null : [from, to];
  turn();
}

document.getElementById("whole").addEventListener("click", () => look(null));
logScale.addEventListener("change", build);
smoothing.addEventListener("input", () => {
  document.getElementById("smoothing-value").textContent = Number(smoothing.value).toFixed(2);
  build();
});
addEventListener("theme", build);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", build);
new ResizeObserver(() => {
  for (const { plot, place } of drawn) {
    const width = Math.max(place.clientWidth, 200);
    if (width !== plot.width) plot.setSize({ width, height: HEIGHT });
  }
}).observe(box);
