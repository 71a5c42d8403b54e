// The curves of a run, or of several: drawn by uPlot from thinned points, finer where people look closer.
import { ask, whileSeen } from "./live.js";

const box = document.querySelector("[data-curves]");
const logScale = document.getElementById("log-scale");
const smoothing = document.getElementById("smoothing");
const [fromStep, toStep] = ["from-step", "to-step"].map((id) => document.getElementById(id));
const HEIGHT = 260;
const COLOURS = 8;

let span = [null, null]; // the steps that are looked at, from and to; null: no end there
let read = null; // the step that a slider reads the numbers of; null: the pointer does
let found = []; // the charts as the server told them
let drawn = []; // { chart, plot, place, items, slider } in the same order

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
        const { left, width } = plot.select;
        look(Math.max(0, Math.floor(plot.posToVal(left, "x"))), Math.ceil(plot.posToVal(left + width, "x")));
        plot.setSelect({ width: 0, height: 0 }, false);
      }],
      setCursor: [tellValues],
    },
  };
  return new uPlot(options, columns(chart), place);
}

// The numbers at the step that is read, or else the last ones; also what people hear who do not see the chart.
function tellValues(plot) {
  const entry = drawn.find((each) => each.plot === plot);
  if (!entry) return;
  const { chart, items, slider } = entry;
  const at = read === null ? (plot.cursor.idx ?? null) : nearest(chart.steps, read);
  const texts = chart.curves.map((curve) => {
    const value = at === null ? null : (curve.values[at] ?? null);
    if (value !== null) return `${curve.label}: ${digits(value, 4)} at step ${Math.round(chart.steps[at]).toLocaleString("en")}`;
    return curve.last ? `${curve.label}: ${curve.last[1]} at step ${curve.last[0].toLocaleString("en")}` : curve.label;
  });
  items.forEach((item, index) => (item.textContent = texts[index]));
  slider.max = String(Math.max(0, chart.steps.length - 1));
  slider.value = String(at ?? slider.max);
  slider.disabled = chart.steps.length < 2;
  slider.setAttribute("aria-valuetext", texts.join(", "));
}

// The place in rising steps that is nearest to one; null: there are none.
function nearest(steps, step) {
  if (!steps.length) return null;
  const after = steps.findIndex((each) => each >= step);
  if (after < 0) return steps.length - 1;
  return after > 0 && step - steps[after - 1] < steps[after] - step ? after - 1 : after;
}

// Puts the line of a chart, and with it those of the others, at the step that a slider reads.
function readStep({ plot }) {
  plot.setCursor({ left: plot.valToPos(read, "x"), top: 0 });
}

function build() {
  const focused = drawn.find(({ slider }) => slider === document.activeElement)?.chart.title;
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
    const slider = Object.assign(document.createElement("input"), { type: "range", className: "chart-step", min: "0" });
    slider.setAttribute("aria-label", `${name.textContent}: numbers at a step`);
    part.append(name, place, slider, legend);
    list.append(part);
    const entry = { plot: null, items, chart, place, slider };
    drawn.push(entry);
    slider.addEventListener("input", () => {
      read = entry.chart.steps[Number(slider.value)];
      readStep(entry);
    });
    entry.plot = draw(chart, place);
    tellValues(entry.plot);
    if (chart.title === focused) slider.focus({ preventScroll: true });
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
    if (read !== null) readStep(entry);
    tellValues(entry.plot);
  });
}

let tag = "", at = "";
const turn = whileSeen(async () => {
  const asked = JSON.stringify(span);
  const url = new URL(box.dataset.curves, location.href);
  ["from", "to"].forEach((name, place) => span[place] !== null && url.searchParams.set(name, span[place]));
  const response = await ask(url, url.href === at ? tag : "");
  if (!response) return;
  const charts = (await response.json()).charts;
  if (JSON.stringify(span) !== asked) return; // somebody has looked elsewhere meanwhile
  [tag, at] = [response.headers.get("ETag") || "", url.href];
  found = charts;
  show();
  box.dataset.drawn = String(Number(box.dataset.drawn || 0) + 1);
}, 2000);

function look(from, to) {
  span = [from, to];
  [fromStep.value, toStep.value] = span.map((step) => step ?? "");
  turn();
}

const given = (field) => (field.value === "" ? null : Math.max(0, Math.floor(field.valueAsNumber)));
for (const field of [fromStep, toStep]) {
  field.addEventListener("change", () => {
    const [from, to] = [given(fromStep), given(toStep)];
    look(...(from !== null && to !== null && to < from ? [to, from] : [from, to]));
  });
}
document.getElementById("whole").addEventListener("click", () => look(null, null));
box.addEventListener("pointermove", ({ target }) => {
  if (target.closest(".chart")) read = null;
});
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
