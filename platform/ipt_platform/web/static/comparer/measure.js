/**
 * PSNR and SSIM of a region of two pictures, by the formulas of `ipt_platform/evaluate/metrics.py`.
 *
 * Pictures are `{data, width, height}` with `data` the RGBA bytes in rows; alpha does not count. A region is
 * `{x, y, width, height}` in pixels and lies within both.
 */

export const WINDOW = 11;
const SIGMA = 1.5;
const C1 = (0.01 * 255) ** 2;
const C2 = (0.03 * 255) ** 2;
const BORDER = WINDOW >> 1;
/** Rows of SSIM between two chances to give up. */
const STRIP = 48;

/** dB of the region over all pixels and channels; Infinity where the two are the same. */
export function psnr(one, other, region) {
  let sum = 0;
  for (let row = 0; row < region.height; row++) {
    let p = 4 * ((region.y + row) * one.width + region.x);
    let q = 4 * ((region.y + row) * other.width + region.x);
    let squares = 0;
    for (let end = p + 4 * region.width; p < end; p += 4, q += 4) {
      const r = one.data[p] - other.data[q];
      const g = one.data[p + 1] - other.data[q + 1];
      const b = one.data[p + 2] - other.data[q + 2];
      squares += r * r + g * g + b * b;
    }
    sum += squares;
  }
  return sum === 0 ? Infinity : 10 * Math.log10((255 * 255 * 3 * region.width * region.height) / sum);
}

/**
 * The mean structural similarity in Gaussian windows of 11 x 11 that lie wholly inside the region, over the three channels.
 *
 * A generator, for this takes seconds of a 4K picture: it yields between strips of rows, where the caller may give up, and
 * returns the number; null of a region that is smaller than a window.
 */
export function* ssim(one, other, region) {
  const columns = region.width - WINDOW + 1;
  const rows = region.height - WINDOW + 1;
  if (columns < 1 || rows < 1) return null;
  const filtered = Array.from({ length: 4 }, () => new Float64Array((STRIP + WINDOW - 1) * columns));
  let sum = 0;
  for (let top = 0; top < rows; top += STRIP) {
    const height = Math.min(STRIP, rows - top);
    for (let channel = 0; channel < 3; channel++) {
      for (let row = 0; row < height + WINDOW - 1; row++) {
        along(one, other, region, region.y + top + row, channel, filtered, row * columns, columns);
      }
      sum += strip(filtered, height, columns);
    }
    yield;
  }
  return sum / (3 * rows * columns);
}

const KERNEL = (() => {
  const weights = Array.from({ length: BORDER + 1 }, (_, offset) => Math.exp(-0.5 * (offset / SIGMA) ** 2));
  const sum = weights[0] + 2 * weights.slice(1).reduce((a, b) => a + b);
  return weights.map((weight) => weight / sum);
})();
const [K0, K1, K2, K3, K4, K5] = KERNEL;

/** One row of x, y, x² + y² and xy, filtered along the row: SSIM needs the sum of the two variances alone, not each. */
function along(one, other, region, y, channel, filtered, at, columns) {
  const [meanX, meanY, squares, products] = filtered;
  const x = new Float64Array(region.width);
  const z = new Float64Array(region.width);
  const xx = new Float64Array(region.width);
  const xz = new Float64Array(region.width);
  let p = 4 * (y * one.width + region.x) + channel;
  let q = 4 * (y * other.width + region.x) + channel;
  for (let i = 0; i < region.width; i++, p += 4, q += 4) {
    const a = one.data[p];
    const b = other.data[q];
    x[i] = a;
    z[i] = b;
    xx[i] = a * a + b * b;
    xz[i] = a * b;
  }
  for (let i = 0; i < columns; i++) {
    meanX[at + i] = blend(x, i + BORDER, 1);
    meanY[at + i] = blend(z, i + BORDER, 1);
    squares[at + i] = blend(xx, i + BORDER, 1);
    products[at + i] = blend(xz, i + BORDER, 1);
  }
}

/** The sum of SSIM over a strip whose rows are filtered already. */
function strip([meanX, meanY, squares, products], height, columns) {
  let sum = 0;
  for (let row = 0; row < height; row++) {
    const middle = (row + BORDER) * columns;
    for (let i = 0; i < columns; i++) {
      const x = blend(meanX, middle + i, columns);
      const y = blend(meanY, middle + i, columns);
      const both = x * x + y * y;
      const product = x * y;
      const variances = blend(squares, middle + i, columns) - both;
      const covariance = blend(products, middle + i, columns) - product;
      sum += ((2 * product + C1) / (both + C1)) * ((2 * covariance + C2) / (variances + C2));
    }
  }
  return sum;
}

function blend(v, i, by) {
  return (
    K0 * v[i] +
    K1 * (v[i - by] + v[i + by]) +
    K2 * (v[i - 2 * by] + v[i + 2 * by]) +
    K3 * (v[i - 3 * by] + v[i + 3 * by]) +
    K4 * (v[i - 4 * by] + v[i + 4 * by]) +
    K5 * (v[i - 5 * by] + v[i + 5 * by])
  );
}
