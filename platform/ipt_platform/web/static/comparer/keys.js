/** The keyboard: which key does what, in one place, also for the help that `?` shows. */

/** Keys, what they do for people, and the command of the comparer with its arguments. */
export const KEYS = [
  [["ArrowLeft", "ArrowRight"], "←  →", "earlier, later step of training"],
  [["ArrowUp", "ArrowDown"], "↑  ↓", "picture before, after"],
  [["Shift+ArrowLeft", "Shift+ArrowRight", "Shift+ArrowUp", "Shift+ArrowDown"], "Shift + ←  →  ↑  ↓", "look further left, right, up, down"],
  [["1", "2", "3", "4"], "1  2  3  4", "this pane alone"],
  [[" "], "Space", "flip between the two"],
  [["s"], "s", "both under a slider; again: move it to the middle"],
  [["b"], "b", "side by side"],
  [["d"], "d", "difference as a heat map"],
  [["+", "="], "+", "zoom in"],
  [["-"], "−", "zoom out"],
  [["0"], "0", "all of the picture"],
  [["9"], "9", "100 %: one pixel of the picture for one of the screen"],
  [["?"], "?", "this help"],
];

/** A key press moves the picture by this part of the pane. */
const PAN = 8;

/** Do what a key asks for; whether it asks for anything. */
export function press(comparer, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return false;
  // A field or a button that has the focus has the keys that it knows.
  const field = event.target.closest("input, select, textarea, [contenteditable], [role=slider], dialog");
  if (field || (event.key === " " && event.target.closest("button, a, summary"))) return false;
  const arrow = event.key.startsWith("Arrow");
  const command = commandOf(comparer, arrow && event.shiftKey ? `Shift+${event.key}` : event.key);
  if (!command) return false;
  event.preventDefault();
  command();
  return true;
}

function commandOf(comparer, key) {
  if (/^[1-4]$/.test(key)) return () => comparer.showOnly(Number(key) - 1);
  return {
    ArrowLeft: () => comparer.moveStep(-1),
    ArrowRight: () => comparer.moveStep(1),
    ArrowUp: () => comparer.movePicture(-1),
    ArrowDown: () => comparer.movePicture(1),
    "Shift+ArrowLeft": () => comparer.panBy(comparer.pane.width / PAN, 0),
    "Shift+ArrowRight": () => comparer.panBy(-comparer.pane.width / PAN, 0),
    "Shift+ArrowUp": () => comparer.panBy(0, comparer.pane.height / PAN),
    "Shift+ArrowDown": () => comparer.panBy(0, -comparer.pane.height / PAN),
    " ": () => comparer.flip(),
    s: () => (comparer.state.mode === "slider" ? comparer.setSplit(0.5) : comparer.setMode("slider")),
    b: () => comparer.setMode("side"),
    d: () => comparer.setMode("difference"),
    "+": () => comparer.zoomBy(1.5),
    "=": () => comparer.zoomBy(1.5),
    "-": () => comparer.zoomBy(1 / 1.5),
    0: () => comparer.zoomToFit(),
    9: () => comparer.zoomTo(1),
    "?": () => comparer.help(),
  }[key];
}
