/** What is looked at stands in the address of the page, so that it can be sent to somebody. */

const NUMBER = /^-?\d+(\.\d+)?$/;
const MODES = ["slider", "side", "flip", "difference"];

/** The part of a state that an address names; what is not sound there is passed over. */
export function readAddress(search) {
  const given = new URLSearchParams(search);
  const number = (name) => (NUMBER.test(given.get(name) ?? "") ? Number(given.get(name)) : undefined);
  const state = {
    picture: given.get("picture") ?? undefined,
    step: number("step"),
    pin: number("pin"),
    mode: MODES.includes(given.get("mode")) ? given.get("mode") : undefined,
    one: given.get("one") ?? undefined,
    other: given.get("other") ?? undefined,
    gain: number("gain"),
    split: number("split"),
  };
  const view = { scale: number("zoom"), x: number("x"), y: number("y") };
  if (view.scale > 0 && view.x !== undefined && view.y !== undefined) state.view = view;
  return Object.fromEntries(Object.entries(state).filter(([, value]) => value !== undefined));
}

/** The address for a state; parameters that are not ours are left as they are. */
export function addressOf(state, search) {
  const given = new URLSearchParams(search);
  const values = {
    picture: state.picture,
    step: state.step,
    pin: state.pin,
    mode: state.mode === "slider" ? null : state.mode,
    one: state.one,
    other: state.other,
    gain: state.mode === "difference" ? state.gain : null,
    split: state.split === 0.5 ? null : rounded(state.split, 3),
    zoom: state.view && rounded(state.view.scale, 4),
    x: state.view && rounded(state.view.x, 2),
    y: state.view && rounded(state.view.y, 2),
  };
  for (const [name, value] of Object.entries(values)) {
    if (value == null) given.delete(name);
    else given.set(name, value);
  }
  const text = given.toString();
  return text ? `?${text}` : "";
}

function rounded(value, digits) {
  return String(Number(value.toFixed(digits)));
}
