/**
 * How a picture lies in a pane, as plain numbers; every pane has the same view, so all of them zoom and pan in step.
 *
 * A view is `{scale, x, y}`: `scale` device pixels for each pixel of the picture, and `(x, y)`, the point of the picture that
 * lies in the middle of the pane. A frame is the size of the picture, a pane that of its canvas in device pixels.
 */

export const MAX_SCALE = 64;

/** The largest view that shows all of the picture; small pictures are enlarged by whole numbers alone. */
export function fit(frame, pane) {
  const scale = Math.min(pane.width / frame.width, pane.height / frame.height);
  return { scale: scale > 1 ? Math.min(Math.floor(scale), MAX_SCALE) : scale, x: frame.width / 2, y: frame.height / 2 };
}

/** The nearest view that neither loses the picture nor shows pixels larger than anybody needs. */
export function clamped(view, frame, pane) {
  const scale = Math.min(Math.max(view.scale, Math.min(fit(frame, pane).scale, 1)), MAX_SCALE);
  return { scale, x: along(view.x, frame.width, pane.width / scale), y: along(view.y, frame.height, pane.height / scale) };
}

/** The view after zooming by a factor around a point of the pane, which stays where it is. */
export function zoomed(view, frame, pane, point, factor) {
  const { scale } = clamped({ ...view, scale: view.scale * factor }, frame, pane);
  const still = toPicture(view, pane, point);
  const x = still.x - (point.x - pane.width / 2) / scale;
  const y = still.y - (point.y - pane.height / 2) / scale;
  return clamped({ scale, x, y }, frame, pane);
}

/** The view after the picture was moved by so many device pixels. */
export function panned(view, frame, pane, dx, dy) {
  return clamped({ ...view, x: view.x - dx / view.scale, y: view.y - dy / view.scale }, frame, pane);
}

/** The point of the picture below a point of the pane. */
export function toPicture(view, pane, point) {
  const { left, top } = origin(view, pane);
  return { x: (point.x - left) / view.scale, y: (point.y - top) / view.scale };
}

/** Where the picture's corner lies in the pane: whole device pixels, so that pixels of the picture have sharp edges. */
export function origin(view, pane) {
  return {
    left: Math.round(pane.width / 2 - view.x * view.scale),
    top: Math.round(pane.height / 2 - view.y * view.scale),
  };
}

/** The pixels of the picture that can be seen, those cut by an edge of the pane included: `{x, y, width, height}`. */
export function visible(view, frame, pane) {
  const from = toPicture(view, pane, { x: 0, y: 0 });
  const to = toPicture(view, pane, { x: pane.width, y: pane.height });
  const x = Math.max(0, Math.floor(from.x));
  const y = Math.max(0, Math.floor(from.y));
  return {
    x,
    y,
    width: Math.max(0, Math.min(frame.width, Math.ceil(to.x)) - x),
    height: Math.max(0, Math.min(frame.height, Math.ceil(to.y)) - y),
  };
}

function along(centre, length, shown) {
  return shown >= length ? length / 2 : Math.min(Math.max(centre, shown / 2), length - shown / 2);
}
