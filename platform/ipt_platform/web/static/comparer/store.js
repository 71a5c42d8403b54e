/** The pictures that are at hand: opened once, by a worker, and forgotten when others were looked at since. */

/** Pixels that are kept: seven pictures of 4K, hundreds of the size of a training sample. Each costs some 10 bytes. */
const ROOM = 60e6;

export class Store {
  constructor() {
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.waiting = new Map();
    this.pictures = new Map();
    this.last = 0;
    this.worker.addEventListener("message", ({ data }) => this.#answered(data));
    this.worker.addEventListener("error", (event) => this.#failed(event.message || "the part that reads pixels did not start"));
  }

  /**
   * A picture `{key, width, height, levels}`, `levels` its copies to draw from, each half as large as the one before.
   *
   * `source` is a URL or a Blob; `key` stands for its content.
   */
  open(key, source) {
    let opening = this.pictures.get(key);
    if (opening) this.pictures.delete(key);
    else {
      opening = this.ask("open", { key, source }).then((answer) => ({ ...answer, key }));
      opening.then((picture) => (opening.pixels = picture.width * picture.height));
      opening.catch(() => this.pictures.delete(key)); // whoever asks again, tries again
    }
    this.pictures.set(key, opening); // at the end: used last
    return opening;
  }

  /** Forget what was used longest ago, beyond what there is room for; never what `used` names. */
  tidy(used) {
    let pixels = 0;
    for (const opening of this.pictures.values()) pixels += opening.pixels ?? 0;
    for (const [key, opening] of this.pictures) {
      if (pixels <= ROOM) return;
      if (used.has(key) || !opening.pixels) continue;
      pixels -= opening.pixels;
      this.pictures.delete(key);
      this.ask("drop", { key });
      opening.then((picture) => picture.levels.forEach((level) => level.close()));
    }
  }

  /** Ask the worker; `told` hears what it says before it has done. */
  ask(kind, message, told = () => {}) {
    const id = ++this.last;
    return new Promise((done, failed) => {
      this.waiting.set(id, { done, failed, told });
      this.worker.postMessage({ id, kind, ...message });
    });
  }

  close() {
    this.worker.terminate();
  }

  #answered({ id, more, error, ...answer }) {
    const { done, failed, told } = this.waiting.get(id);
    if (more) return told(answer);
    this.waiting.delete(id);
    return error === undefined ? done(answer) : failed(new Error(error));
  }

  #failed(message) {
    for (const { failed } of this.waiting.values()) failed(new Error(message));
    this.waiting.clear();
  }
}
