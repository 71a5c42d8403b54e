/** The parts of the comparer that people see, built once; what they show is set by `comparer.js`. */

import { h, select } from "./dom.js";
import { COLOURS } from "./heat.js";
import { KEYS } from "./keys.js";
import { drawLegend } from "./paint.js";

export const MODES = [
  ["slider", "Slider", "s"],
  ["side", "Side by side", "b"],
  ["flip", "Flip", "Space"],
  ["difference", "Difference", "d"],
];
export const GAINS = [1, 2, 4, 8, 16, 32];

export function build(comparer) {
  const parts = {};
  parts.picture = select("Picture", [], (value) => comparer.setPicture(value));
  parts.modes = MODES.map(([mode, label, key]) =>
    h("button", { type: "button", "data-mode": mode, "aria-pressed": "false", title: `${label} (${key})`,
      onclick: () => comparer.setMode(mode) }, label),
  );
  parts.one = select("First pane", [], (value) => comparer.setPair(value, comparer.pair[1]));
  parts.other = select("Second pane", [], (value) => comparer.setPair(comparer.pair[0], value));
  parts.zoom = h("output", { class: "cmp-zoom", "aria-label": "Zoom" });
  parts.gain = select("Gain of the difference", GAINS.map((gain) => [String(gain), `× ${gain}`]), (value) => comparer.setGain(value));

  parts.handle = h("div", { class: "cmp-line", role: "slider", tabindex: "0", "aria-label": "Line between the two pictures",
    "aria-valuemin": "0", "aria-valuemax": "100" }, h("span", { class: "cmp-grip", "aria-hidden": "true" }));
  parts.slots = h("div", { class: "cmp-slots" });
  parts.message = h("p", { class: "cmp-message", role: "status" });
  parts.legendScale = h("span", { class: "cmp-ticks" });
  parts.legend = h("div", { class: "cmp-legend", role: "img" }, h("canvas", { "aria-hidden": "true" }), parts.legendScale,
    h("span", {}, "difference, mean of R, G and B, in levels of 255"));
  drawLegend(parts.legend.querySelector("canvas"), COLOURS);
  parts.stage = h("div", { class: "cmp-stage", tabindex: "0", role: "group", "aria-label": "Pictures; press ? for the keys" },
    parts.slots, parts.handle, parts.legend, parts.message);

  parts.step = h("input", { type: "range", min: "0", step: "1", "aria-label": "Step of training",
    oninput: () => comparer.setStepAt(Number(parts.step.value)) });
  parts.stepText = h("output", { class: "cmp-step" });
  parts.pin = h("button", { type: "button", "aria-pressed": "false", title: "Keep this step as a pane of its own, to compare with others",
    onclick: () => comparer.pin() }, "Pin this step");
  parts.scrubber = h("div", { class: "cmp-scrubber" },
    button("‹", "Step before (←)", () => comparer.moveStep(-1)), parts.step,
    button("›", "Step after (→)", () => comparer.moveStep(1)), parts.stepText, parts.pin);

  parts.region = h("p", { class: "cmp-region" });
  parts.rows = h("tbody");
  parts.against = h("caption");
  parts.table = h("table", { class: "cmp-table" }, parts.against,
    h("thead", {}, h("tr", {}, ...["pane", "PSNR", "SSIM", "pixel"].map((name) => h("th", { scope: "col" }, name)))), parts.rows);
  parts.help = help();
  const given = [...comparer.childNodes];

  comparer.replaceChildren(
    h("div", { class: "cmp-bar", role: "toolbar", "aria-label": "Comparing pictures" },
      group("Picture", parts.picture), group("View", ...parts.modes),
      (parts.pair = group("Panes", parts.one, h("span", { "aria-hidden": "true" }, "with"), parts.other)),
      (parts.gains = group("Gain", parts.gain)),
      group("Zoom", button("−", "Zoom out (−)", () => comparer.zoomBy(1 / 1.5)), parts.zoom, button("+", "Zoom in (+)", () => comparer.zoomBy(1.5)),
        button("1:1", "1:1, 100 % (9)", () => comparer.zoomTo(1)), button("Fit", "Fit: all of the picture (0)", () => comparer.zoomToFit())),
      button("?", "Keys (?)", () => comparer.help())),
    h("div", { class: "cmp-body" },
      h("div", { class: "cmp-main" }, parts.stage, parts.scrubber),
      h("div", { class: "cmp-side" }, parts.table, parts.region, ...given)),
    parts.help,
  );
  return parts;
}

/** A pane of its own: a canvas under its names, one at either end where two pictures share it. */
export function slot(names) {
  const canvas = h("canvas", { role: "img" });
  const captions = names.map((_, place) => h("figcaption", { class: place ? "cmp-right" : "cmp-left" }));
  return { figure: h("figure", { class: "cmp-pane" }, canvas, ...captions), canvas, captions };
}

function button(text, label, onclick) {
  return h("button", { type: "button", "aria-label": label, title: label, onclick }, text);
}

function group(label, ...children) {
  return h("div", { class: "cmp-group", role: "group", "aria-label": label }, ...children);
}

function help() {
  const dialog = h("dialog", { class: "cmp-help", "aria-label": "Keys" });
  const rows = KEYS.map(([, keys, what]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, keys)), h("td", {}, what)));
  dialog.append(
    h("h2", {}, "Keys"),
    h("table", {}, h("tbody", {}, ...rows)),
    h("p", {}, "Drag to move, turn the wheel or pinch to zoom; all panes move together. The address of the page holds the view."),
    h("form", { method: "dialog" }, h("button", {}, "Close")),
  );
  return dialog;
}
