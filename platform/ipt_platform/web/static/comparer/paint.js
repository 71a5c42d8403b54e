/** Drawing: a picture in a canvas as a view shows it, and two pictures on either side of a line. */

import { origin, visible } from "./view.js";

/**
 * Draw a picture; above 100 % each of its pixels is a sharp square.
 *
 * `frame` is the size at which all pictures are compared: a smaller one is stretched to it. `clip` is `{from, to}`, the columns
 * of the canvas that may be drawn on.
 */
export function draw(canvas, picture, frame, view, clip = { from: 0, to: canvas.width }) {
  const context = canvas.getContext("2d");
  const level = levelFor(picture, (frame.width * view.scale) / picture.width);
  const region = visible(view, frame, canvas);
  if (!region.width || !region.height || clip.to <= clip.from) return;
  const { left, top } = origin(view, canvas);
  const [across, down] = [level.width / frame.width, level.height / frame.height];
  context.save();
  context.beginPath();
  context.rect(clip.from, 0, clip.to - clip.from, canvas.height);
  context.clip();
  context.imageSmoothingEnabled = view.scale < 1 || picture.width !== frame.width;
  context.drawImage(
    level,
    region.x * across,
    region.y * down,
    region.width * across,
    region.height * down,
    left + region.x * view.scale,
    top + region.y * view.scale,
    region.width * view.scale,
    region.height * view.scale,
  );
  context.restore();
}

export function clear(canvas) {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

/** The smallest copy that still has a pixel for each of the screen's. */
function levelFor(picture, scale) {
  let found = picture.levels[0];
  for (const level of picture.levels) {
    if (level.width >= picture.width * scale) found = level;
  }
  return found;
}

/** The legend of a heat map: all colours from none to the largest difference. */
export function drawLegend(canvas, colours) {
  canvas.width = 256;
  canvas.height = 1;
  const image = new ImageData(256, 1);
  for (let i = 0; i < 256; i++) image.data.set([colours[3 * i], colours[3 * i + 1], colours[3 * i + 2], 255], 4 * i);
  canvas.getContext("2d").putImageData(image, 0, 0);
}
