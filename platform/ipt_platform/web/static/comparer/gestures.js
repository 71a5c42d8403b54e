/** Mouse, touch and wheel on the stage: drag to move, pinch or turn the wheel to zoom, drag the line to compare. */

/** Listen on the stage of a comparer. Points are device pixels within the canvas that was touched. */
export function listen(comparer, stage, handle) {
  const pointers = new Map();
  let sliding = false;

  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const canvas = comparer.canvasAt(event);
    if (!canvas) return;
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { ...pointOf(event, canvas), canvas });
    // A picture that is seen whole has nowhere to move to, so that the whole of it takes the line.
    sliding = comparer.state.mode === "slider" && pointers.size === 1 && (handle.contains(event.target) || comparer.isWhole);
    if (sliding) slide(event, canvas);
  });

  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) {
      const canvas = comparer.canvasAt(event);
      comparer.point(canvas && pointOf(event, canvas));
      return;
    }
    const now = { ...pointOf(event, before.canvas), canvas: before.canvas };
    if (sliding && pointers.size === 1) slide(event, before.canvas);
    else if (pointers.size === 1) comparer.panBy(now.x - before.x, now.y - before.y);
    else if (pointers.size === 2) pinch(event.pointerId, before, now);
    pointers.set(event.pointerId, now);
    if (pointers.size === 1) comparer.point(now);
  });

  for (const kind of ["pointerup", "pointercancel"]) {
    stage.addEventListener(kind, (event) => {
      pointers.delete(event.pointerId);
      sliding = false;
    });
  }
  stage.addEventListener("pointerleave", () => comparer.point(null));

  stage.addEventListener(
    "wheel",
    (event) => {
      const canvas = comparer.canvasAt(event);
      if (!canvas || event.metaKey || event.altKey) return;
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 24 : 1;
      comparer.zoomBy(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0025)), pointOf(event, canvas));
    },
    { passive: false },
  );

  function slide(event, canvas) {
    const box = canvas.getBoundingClientRect();
    comparer.setSplit((event.clientX - box.left) / box.width);
  }

  function pinch(id, before, now) {
    const [, still] = [...pointers].find(([other]) => other !== id);
    const factor = distance(now, still) / Math.max(1, distance(before, still));
    const middle = { x: (now.x + still.x) / 2, y: (now.y + still.y) / 2 };
    comparer.zoomBy(factor, middle);
    comparer.panBy((now.x - before.x) / 2, (now.y - before.y) / 2);
  }
}

/** Keys of the line itself, as of any slider. */
export function listenToLine(comparer, handle) {
  handle.addEventListener("keydown", (event) => {
    const by = event.shiftKey ? 0.1 : 0.01;
    const { split } = comparer.state;
    const to = {
      ArrowLeft: split - by,
      ArrowDown: split - by,
      ArrowRight: split + by,
      ArrowUp: split + by,
      PageDown: split - 0.1,
      PageUp: split + 0.1,
      Home: 0,
      End: 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    comparer.setSplit(to);
  });
}

function pointOf(event, canvas) {
  const box = canvas.getBoundingClientRect();
  const ratio = canvas.width / box.width;
  return { x: (event.clientX - box.left) * ratio, y: (event.clientY - box.top) * ratio };
}

function distance(a, b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
