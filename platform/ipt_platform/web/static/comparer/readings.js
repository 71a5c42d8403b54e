/** The numbers beside the pictures: PSNR and SSIM of what is seen, the pixel under the pointer; and the heat map. */

import { h } from "./dom.js";
import { WINDOW } from "./measure.js";

/** Milliseconds that the view must stand still before it is measured. */
const STILL = 120;

export class Readings {
  constructor(comparer) {
    this.comparer = comparer;
    this.rows = new Map();
    this.map = null;
  }

  /** A row for each pane. */
  list() {
    const { comparer } = this;
    const { parts, panes } = comparer;
    this.reference = panes.find(({ name }) => name === comparer.model.reference);
    const before = this.rows; // old numbers stand, in grey, until there are new ones
    this.rows = new Map(panes.map((pane) => [pane.name, row(pane, pane === this.reference, before.get(pane.name))]));
    parts.rows.replaceChildren(...[...this.rows.values()].map(({ element }) => element));
    parts.against.textContent = this.reference ? `What is seen, against ${this.reference.label}` : "What is seen";
    parts.table.classList.toggle("cmp-unmeasured", !this.reference);
    this.seen = null; // other panes are other numbers
    this.readPixel = null;
  }

  /** Measure the region that is seen, when it has stood still for a moment. */
  measureSoon(region) {
    const seen = JSON.stringify(region);
    if (seen === this.seen) return;
    this.seen = seen;
    const { x, y, width, height } = region;
    this.comparer.parts.region.textContent = `${width} × ${height} pixels at (${x}, ${y}), as 8-bit RGB`;
    for (const { psnr, ssim } of this.rows.values()) for (const cell of [psnr, ssim]) cell.classList.add("cmp-old");
    this.comparer.dataset.measured = "false";
    clearTimeout(this.later);
    // Moving comes first: what is being measured is given up, for a newer question ends an older one.
    if (this.measuring) this.comparer.store.ask("measure", { pairs: [], region }).catch(() => {});
    this.later = setTimeout(() => this.#measure(region, seen), STILL);
  }

  async #measure(region, seen) {
    const { reference, rows, comparer } = this;
    const panes = comparer.panes.filter((pane) => pane !== reference && sameSize(pane, reference, comparer.frame));
    if (!reference || !panes.length) return;
    const pairs = panes.map((pane) => [pane.key, reference.key]);
    const tell = ({ found }) => {
      if (seen !== this.seen || !found) return;
      found.forEach(({ psnr, ssim }, place) => {
        const cells = rows.get(panes[place].name);
        write(cells.psnr, psnr === Infinity ? "identical" : `${psnr.toFixed(2)} dB`);
        if (ssim !== undefined) write(cells.ssim, ssim === null ? `below ${WINDOW} px` : ssim.toFixed(4));
      });
    };
    const mine = (this.measuring = {});
    const answer = await comparer.store.ask("measure", { pairs, region }, tell).catch(() => null);
    if (this.measuring === mine) this.measuring = null;
    if (!answer || answer.stale) return;
    tell(answer);
    if (seen === this.seen) comparer.dataset.measured = "true";
  }

  /** Show what stands under the pointer, `{x, y}` of the frame; null: nothing. */
  read(at) {
    const { comparer } = this;
    this.wanted = at;
    if (this.reading) return; // one question at a time; the newest point is asked for when it is answered
    const panes = comparer.panes;
    this.reading = true;
    this.#values(panes, at).then((values) => {
      this.reading = false;
      panes.forEach((pane, place) => this.#write(pane, values[place]));
      if (this.wanted !== at) this.read(this.wanted);
    });
  }

  async #values(panes, at) {
    if (!at || !panes.length) return panes.map(() => null);
    // Panes of one size share the point; a smaller one has its own below the same place.
    return Promise.all(
      panes.map(async ({ key, picture }) => {
        const by = picture.width / this.comparer.frame.width;
        const point = { x: Math.floor(at.x * by), y: Math.floor(at.y * by) };
        const answer = await this.comparer.store.ask("read", { keys: [key], ...point }).catch(() => null);
        return answer?.values[0] && { rgb: answer.values[0], ...point };
      }),
    );
  }

  #write(pane, value) {
    const cells = this.rows.get(pane.name);
    if (!cells) return;
    cells.pixel.textContent = value ? value.rgb.map((each) => String(each).padStart(3, "\u2007")).join(" ") : "";
    cells.pixel.title = value ? `at (${value.x}, ${value.y})` : "";
    cells.swatch.style.backgroundColor = value ? `rgb(${value.rgb.join(" ")})` : "";
  }

  /** The heat map of the two panes that are compared. */
  async heat() {
    const { comparer } = this;
    const { panes, state } = comparer;
    const [one, other] = comparer.pair.map((name) => panes.find((pane) => pane.name === name));
    if (!one || !other) return;
    const wanted = sameSize(one, other, other.picture) ? `${one.key} ${other.key} ${state.gain}` : null;
    this.heatWanted = wanted;
    if (!wanted) {
      this.#forgetMap();
      comparer.say(`${one.label} and ${other.label} have different sizes, so there is no difference to show.`);
      return;
    }
    if (this.heatOf === wanted) return;
    if (this.map && !sameSize(one, other, this.map)) this.#forgetMap(); // of another picture, until the new one is there
    const map = await comparer.store.ask("heat", { one: one.key, other: other.key, gain: state.gain }).catch(() => null);
    if (!map || map.stale) return;
    if (this.heatWanted !== wanted) return map.levels.forEach((level) => level.close()); // something else is compared by now
    this.#forgetMap();
    Object.assign(this, { map, heatOf: wanted });
    comparer.paintSoon();
  }

  #forgetMap() {
    this.map?.levels.forEach((level) => level.close());
    this.map = this.heatOf = null;
  }
}

function sameSize(one, other, frame) {
  return [one, other].every((pane) => pane && pane.picture.width === frame.width && pane.picture.height === frame.height);
}

function row(pane, isReference, before) {
  const [psnr, ssim] = ["psnr", "ssim"].map((name) => h("td", {}, isReference ? "—" : (before?.[name].textContent ?? "")));
  const [pixel, swatch] = [h("span"), h("span", { class: "cmp-swatch", "aria-hidden": "true" })];
  const element = h("tr", { "data-pane": pane.name }, h("th", { scope: "row" }, pane.label), psnr, ssim, h("td", { class: "cmp-pixel" }, swatch, pixel));
  return { element, psnr, ssim, pixel, swatch };
}

function write(cell, text) {
  cell.textContent = text;
  cell.classList.remove("cmp-old");
}
