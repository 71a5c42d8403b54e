/**
 * <ipt-comparer>: pictures of one scene under a slider, side by side, flipped, or as the heat map of their difference.
 *
 * `comparer.show(model)` says what there is:
 *
 *     pictures   [{id, label}]
 *     steps      (picture) => [number, ...], rising; [] where there is nothing to scrub through
 *     panes      (picture, step, pin) => [{name, label, key, source}]   source: URL or Blob; key: stands for its content
 *     reference  the name of the pane that PSNR and SSIM are measured against; null: nothing is measured
 *     difference the names of the two panes whose difference is shown first; else, as in every mode, the first two
 *     pin        whether a step can be kept as a pane of its own
 *
 * What stands within the element when it is made is kept, beside the pictures. The event `shown`, `detail: {picture, step}`, tells what came into sight. The element holds no server's address and no job's
 * name; it works wherever the pictures come from.
 */

import { addressOf, readAddress } from "./address.js";
import { fill } from "./dom.js";
import { listen, listenToLine } from "./gestures.js";
import { largest } from "./heat.js";
import { press } from "./keys.js";
import { build, slot } from "./layout.js";
import { clear, draw } from "./paint.js";
import { Readings } from "./readings.js";
import { Store } from "./store.js";
import { clamped, fit, panned, toPicture, visible, zoomed } from "./view.js";

const FIRST = { mode: "slider", gain: 4, split: 0.5, view: null };

export class Comparer extends HTMLElement {
  connectedCallback() {
    this.state = { ...FIRST, ...readAddress(location.search) };
    this.state.split = Math.min(1, Math.max(0, this.state.split));
    this.store = new Store();
    this.parts = build(this);
    this.readings = new Readings(this);
    this.panes = [];
    this.slots = [];
    listen(this, this.parts.stage, this.parts.handle);
    listenToLine(this, this.parts.handle);
    this.keys = (event) => (event.target === document.body || this.contains(event.target)) && press(this, event);
    document.addEventListener("keydown", this.keys);
    this.sizes = new ResizeObserver(() => this.arrange());
    this.sizes.observe(this.parts.stage);
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this.keys);
    this.sizes.disconnect();
    this.store.close();
  }

  /** Show a model, or a newer one of the same pictures: then what is looked at stays. */
  show(model) {
    const followed = this.model && this.state.step !== undefined && this.state.step === this.steps.at(-1);
    this.model = model;
    const { pictures } = model;
    if (!pictures.some(({ id }) => id === this.state.picture)) this.state.picture = pictures[0]?.id;
    if (followed) this.state.step = this.steps.at(-1);
    fill(this.parts.picture, pictures.map(({ id, label }) => [id, label]));
    this.parts.picture.parentElement.hidden = pictures.length < 2;
    return this.load();
  }

  get steps() {
    return this.model.steps(this.state.picture);
  }

  // What people ask for

  setPicture(id) {
    this.state.picture = id;
    this.load();
  }

  movePicture(by) {
    const ids = this.model.pictures.map(({ id }) => id);
    const to = ids.indexOf(this.state.picture) + by;
    if (ids[to] !== undefined) this.setPicture(ids[to]);
  }

  setStepAt(place) {
    const { steps } = this;
    if (steps[place] === undefined || steps[place] === this.state.step) return;
    this.state.step = steps[place];
    this.load();
  }

  moveStep(by) {
    this.setStepAt(this.steps.indexOf(this.state.step) + by);
  }

  /** Keep the step in sight as a pane of its own, or let go of the one that is kept. */
  pin() {
    const { state } = this;
    state.pin = state.pin === undefined ? state.step : undefined;
    Object.assign(state, state.pin === undefined ? { one: undefined, other: undefined } : { one: "restored", other: "pinned" });
    this.load();
  }

  setMode(mode) {
    this.state.mode = mode;
    this.arrange();
  }

  setPair(one, other) {
    Object.assign(this.state, { one, other, only: undefined });
    this.arrange();
  }

  /** The two panes that are compared: those that somebody chose, where they are there; else those that suit the mode. */
  get pair() {
    const { state, model, panes } = this;
    const names = panes.map(({ name }) => name);
    const suit = (state.mode === "difference" && model.difference) || names;
    return [state.one, state.other].map((name, place) => (names.includes(name) ? name : (suit[place] ?? names[0])));
  }

  setGain(gain) {
    this.state.gain = Number(gain);
    this.arrange();
  }

  setSplit(split) {
    this.state.split = Math.min(1, Math.max(0, split));
    this.paintSoon();
  }

  /** One pane alone; flipping begins with it. */
  showOnly(place) {
    if (!this.panes[place]) return;
    this.state.only = this.panes[place].name;
    this.setMode("flip");
  }

  flip() {
    const { state } = this;
    const [one, other] = this.pair;
    state.only = state.mode === "flip" && state.only === one ? other : one;
    this.setMode("flip");
  }

  zoomBy(factor, point = { x: this.pane.width / 2, y: this.pane.height / 2 }) {
    if (this.frame) this.look(zoomed(this.view, this.frame, this.pane, point, factor));
  }

  zoomTo(scale) {
    this.zoomBy(scale / this.view.scale);
  }

  zoomToFit() {
    this.look(null);
  }

  panBy(dx, dy) {
    if (this.frame && !this.isWhole) this.look(panned(this.view, this.frame, this.pane, dx, dy));
  }

  help() {
    this.parts.help.showModal();
  }

  /** The pointer is over this point of a canvas, or over none (null). */
  point(point) {
    const at = point && this.frame && toPicture(this.view, this.pane, point);
    this.readings.read(at && { x: Math.floor(at.x), y: Math.floor(at.y) });
  }

  // The view

  get view() {
    return this.state.view ? clamped(this.state.view, this.frame, this.pane) : fit(this.frame, this.pane);
  }

  /** Whether all of the picture is seen. */
  get isWhole() {
    const region = this.region;
    return region.width === this.frame?.width && region.height === this.frame?.height;
  }

  get region() {
    return this.frame ? visible(this.view, this.frame, this.pane) : { x: 0, y: 0, width: 0, height: 0 };
  }

  /** The canvas that all others are as large as. */
  get pane() {
    return this.slots[0]?.canvas ?? { width: 1, height: 1 };
  }

  look(view) {
    this.state.view = view;
    this.paintSoon();
  }

  canvasAt(event) {
    const inside = ({ left, right, top, bottom }) =>
      event.clientX >= left && event.clientX <= right && event.clientY >= top && event.clientY <= bottom;
    return this.slots.map(({ canvas }) => canvas).find((canvas) => inside(canvas.getBoundingClientRect()));
  }

  // What is seen

  /** Open the pictures of picture and step, and show them when all are there; what was seen stays until then. */
  async load() {
    const { state, model, steps } = this;
    if (state.picture === undefined) return this.say("There are no pictures.");
    if (steps.length && !steps.includes(state.step)) state.step = nearest(steps, state.step);
    const loading = (this.loading = {});
    this.setAttribute("aria-busy", "true");
    this.showSteps();
    const wanted = model.panes(state.picture, state.step, state.pin);
    const opened = await Promise.allSettled(wanted.map(({ key, source }) => this.store.open(key, source)));
    if (loading !== this.loading) return; // somebody looks at something else by now
    this.removeAttribute("aria-busy");
    const failed = opened.findIndex(({ status }) => status === "rejected");
    this.problem = failed < 0 ? "" : `${wanted[failed].label}: ${opened[failed].reason.message.replace(/\.$/, "")}.`;
    this.say(this.problem);
    this.panes = wanted.map((pane, place) => ({ ...pane, picture: opened[place].value })).filter(({ picture }) => picture);
    this.frame = this.panes.map(({ picture }) => picture).reduce((a, b) => (a && a.width >= b.width ? a : b), null);
    this.arrange();
    this.dispatchEvent(new CustomEvent("shown", { detail: { picture: state.picture, step: state.step } }));
    this.#prepareNeighbours();
  }

  /** Steps before and after are likely to be asked for next. */
  #prepareNeighbours() {
    const { state, model, steps } = this;
    const place = steps.indexOf(state.step);
    const used = new Set(this.panes.map(({ key }) => key));
    for (const step of [steps[place + 1], steps[place - 1]]) {
      if (step === undefined) continue;
      for (const { key, source } of model.panes(state.picture, step, state.pin)) {
        this.store.open(key, source).catch(() => {}); // it is told when it is looked at
        used.add(key);
      }
    }
    this.store.tidy(used);
  }

  /** Set out the panes as the mode wants them. */
  arrange() {
    const { state, parts, panes } = this;
    if (!panes.length) {
      this.slots = [];
      parts.slots.replaceChildren();
      return;
    }
    const [one, other] = this.pair;
    if (!panes.some(({ name }) => name === state.only)) state.only = one;
    for (const select of [parts.one, parts.other]) fill(select, panes.map(({ name, label }) => [name, label]));
    parts.one.value = one;
    parts.other.value = other;
    parts.gain.value = String(state.gain);
    parts.modes.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.mode === state.mode)));
    this.dataset.mode = state.mode;
    parts.pair.hidden = state.mode === "side";
    parts.gains.hidden = parts.legend.hidden = state.mode !== "difference";
    parts.handle.hidden = state.mode !== "slider";
    this.say(this.problem);
    this.#setSlots();
    this.readings.list();
    if (state.mode === "difference") this.readings.heat();
    this.paintSoon();
  }

  #setSlots() {
    const { state } = this;
    const [one, other, only] = [...this.pair, state.only].map((name) => this.panes.find((each) => each.name === name));
    const wanted = {
      slider: [[one, other]],
      side: this.panes.map((each) => [each]),
      flip: [[only]],
      difference: [[one, other]],
    }[state.mode].map((panes) => panes.filter(Boolean));
    if (wanted.length !== this.slots.length || wanted.some((panes, place) => panes.length !== this.slots[place].captions.length)) {
      this.slots = wanted.map((panes) => slot(panes));
      this.parts.slots.replaceChildren(...this.slots.map(({ figure }) => figure));
    }
    this.parts.slots.dataset.columns = String(columnsFor(wanted.length, this.frame, this.parts.stage.getBoundingClientRect()));
    wanted.forEach((panes, place) => {
      const each = this.slots[place];
      each.panes = panes;
      panes.forEach(({ label }, at) => (each.captions[at].textContent = label));
      const what = panes.map(({ label }) => label).join(state.mode === "difference" ? " minus " : " beside ");
      each.canvas.setAttribute("aria-label", state.mode === "difference" ? `Difference: ${what}` : what);
    });
  }

  /** Draw with the next frame, once however much has changed until then. */
  paintSoon() {
    this.frameAsked ??= requestAnimationFrame(() => {
      this.frameAsked = undefined;
      this.paint();
    });
  }

  paint() {
    if (!this.frame || !this.slots.length) return;
    const { state, parts, slots } = this;
    for (const { canvas } of slots) fitCanvas(canvas);
    const { view, frame, region } = this;
    const line = Math.round(state.split * this.pane.width);
    for (const { canvas, panes } of slots) {
      clear(canvas);
      if (state.mode === "difference") {
        if (this.readings.map) draw(canvas, this.readings.map, frame, view);
        continue;
      }
      const [one, other] = panes;
      if (other) draw(canvas, other.picture, frame, view, { from: line, to: canvas.width });
      if (one) draw(canvas, one.picture, frame, view, other && { from: 0, to: line });
    }
    parts.zoom.value = `${Math.round(100 * view.scale)} %`;
    parts.handle.style.left = `${100 * state.split}%`;
    parts.handle.setAttribute("aria-valuenow", String(Math.round(100 * state.split)));
    const [one, other] = slots[0].captions.map(({ textContent }) => textContent);
    parts.handle.setAttribute("aria-valuetext", `${Math.round(100 * state.split)} % ${one}, the rest ${other}`);
    parts.legendScale.replaceChildren(...ticks(state.gain));
    parts.legend.setAttribute("aria-label", `Black is no difference, pale yellow ${largest(state.gain)} levels of 255 or more`);
    this.readings.measureSoon(region);
    this.#keepAddress();
  }

  showSteps() {
    const { state, parts, steps } = this;
    parts.scrubber.hidden = steps.length === 0;
    const place = steps.indexOf(state.step);
    parts.step.max = String(Math.max(0, steps.length - 1));
    parts.step.value = String(place);
    parts.step.disabled = steps.length < 2;
    parts.step.setAttribute("aria-valuetext", `step ${state.step}`);
    parts.stepText.value = `step ${state.step} · ${place + 1} of ${steps.length}`;
    parts.picture.value = state.picture;
    parts.pin.hidden = !this.model.pin;
    parts.pin.textContent = state.pin === undefined ? "Pin this step" : `Unpin step ${state.pin}`;
    parts.pin.setAttribute("aria-pressed", String(state.pin !== undefined));
  }

  say(message) {
    this.parts.message.textContent = message;
    this.parts.message.hidden = !message;
  }

  #keepAddress() {
    clearTimeout(this.addressLater);
    this.addressLater = setTimeout(() => history.replaceState(history.state, "", location.pathname + addressOf(this.state, location.search)), 250);
  }
}

/** Side by side in one row, unless the pictures become clearly larger in two columns, or one. */
function columnsFor(count, frame, stage) {
  const scale = (columns) => Math.min(stage.width / columns / frame.width, stage.height / Math.ceil(count / columns) / frame.height);
  return [2, 1].reduce((best, columns) => (columns < count && scale(columns) > 1.15 * scale(best) ? columns : best), count);
}

/** As many pixels as the screen has below the canvas. */
function fitCanvas(canvas) {
  const box = canvas.getBoundingClientRect();
  const [width, height] = [box.width, box.height].map((side) => Math.max(1, Math.round(side * devicePixelRatio)));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
}

function ticks(gain) {
  return [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const tick = document.createElement("span");
    tick.textContent = `${share === 1 ? "≥ " : ""}${Number((share * largest(gain)).toFixed(1))}`;
    return tick;
  });
}

function nearest(steps, step) {
  if (step === undefined) return steps.at(-1);
  return steps.reduce((a, b) => (Math.abs(b - step) < Math.abs(a - step) ? b : a));
}

customElements.define("ipt-comparer", Comparer);
