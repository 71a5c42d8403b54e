/**
 * Everything that reads pixels, off the page's own thread: pictures are fetched, decoded, measured and compared here, so that
 * the page goes on moving while a picture of 4K is at work.
 *
 * Every message is `{id, kind, ...}` and is answered by `{id, ...}`, or by `{id, error}`.
 */

import { heatMap } from "./heat.js";
import { psnr, ssim } from "./measure.js";

/** Most pixels of a picture; more would not fit into the memory of a tab several times. */
const MAX_PIXELS = 64e6;
/** The longest side of the smallest copy that is kept for small views. */
const SMALL_SIDE = 800;

/** Decoded pictures `{data, width, height}` by key. */
const kept = new Map();
/** The newest of the measurements, and of the heat maps, that were asked for; older ones are given up. */
const newest = { measure: 0, heat: 0 };

const answers = {
  /** Decode a picture and keep its pixels; answers the copies to draw it from. */
  async open({ key, source }) {
    const bitmap = await decoded(source);
    const { width, height } = bitmap;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    kept.set(key, { data: context.getImageData(0, 0, width, height).data, width, height });
    return { width, height, levels: await levelsOf(bitmap) };
  },

  drop({ key }) {
    kept.delete(key);
    return {};
  },

  /** Whether two pictures are the same, pixel for pixel. */
  same({ one, other }) {
    const [a, b] = [kept.get(one), kept.get(other)];
    if (a.width !== b.width || a.height !== b.height) return { same: false };
    return { same: psnr(a, b, { x: 0, y: 0, width: a.width, height: a.height }) === Infinity };
  },

  /** The RGB values of one pixel of each picture, null where there is none. */
  read({ keys, x, y }) {
    return { values: keys.map((key) => valueAt(kept.get(key), x, y)) };
  },

  /** PSNR and SSIM of pairs; PSNR, which is quick, is told before. */
  async measure({ id, pairs, region }) {
    const found = pairs.map(([one, other]) => ({ psnr: psnr(kept.get(one), kept.get(other), region) }));
    postMessage({ id, found, more: true });
    for (const [place, [one, other]] of pairs.entries()) {
      const work = ssim(kept.get(one), kept.get(other), region);
      let step = work.next();
      while (!step.done) {
        await breath();
        if (newest.measure !== id) return { stale: true };
        step = work.next();
      }
      found[place].ssim = step.value;
    }
    return { found };
  },

  /** The heat map of two pictures of one size. */
  async heat({ id, one, other, gain }) {
    await breath();
    if (newest.heat !== id) return { stale: true };
    const [a, b] = [kept.get(one), kept.get(other)];
    const image = new ImageData(heatMap(a, b, gain), a.width, a.height);
    return { width: a.width, height: a.height, levels: await levelsOf(await createImageBitmap(image)) };
  },
};

addEventListener("message", async ({ data }) => {
  if (data.kind in newest) newest[data.kind] = data.id;
  try {
    const answer = await answers[data.kind](data);
    postMessage({ id: data.id, ...answer }, { transfer: answer.levels ?? [] });
  } catch (error) {
    postMessage({ id: data.id, error: error.message });
  }
});

async function decoded(source) {
  let blob = source;
  if (typeof source === "string") {
    const answer = await fetch(source);
    if (!answer.ok) throw new Error((await reason(answer)) || `the server answered ${answer.status}`);
    blob = await answer.blob();
  }
  let bitmap;
  try {
    // The values of the file, not those of this screen: a number that is measured must not depend on it.
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error("this browser cannot decode the picture");
  }
  if (bitmap.width * bitmap.height > MAX_PIXELS) {
    throw new Error(`${bitmap.width} x ${bitmap.height} pixels are too many to compare; at most ${MAX_PIXELS / 1e6} million`);
  }
  return bitmap;
}

/** What a refusal says in words. */
async function reason(answer) {
  const kind = answer.headers.get("content-type") ?? "";
  if (kind.startsWith("application/json")) return (await answer.json()).error;
  return kind.startsWith("text/plain") ? answer.text() : "";
}

/** The picture and copies of half its size each, so that a small view is smooth to draw and free of moiré. */
async function levelsOf(bitmap) {
  const levels = [bitmap];
  let last = bitmap;
  while (Math.max(last.width, last.height) > SMALL_SIDE) {
    const options = {
      resizeWidth: Math.max(1, Math.round(last.width / 2)),
      resizeHeight: Math.max(1, Math.round(last.height / 2)),
      resizeQuality: "medium",
    };
    last = await createImageBitmap(last, options);
    levels.push(last);
  }
  return levels;
}

function valueAt(picture, x, y) {
  if (!picture || x < 0 || y < 0 || x >= picture.width || y >= picture.height) return null;
  const at = 4 * (y * picture.width + x);
  return [...picture.data.subarray(at, at + 3)];
}

/** Let messages in that arrived meanwhile; without the pause of at least 4 ms that a timer makes. */
function breath() {
  return new Promise((done) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      channel.port1.close();
      done();
    };
    channel.port2.postMessage(0);
  });
}
