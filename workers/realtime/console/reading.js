// What a person has seen: rows that were on screen for a moment.

const A_MOMENT = 1_000; // milliseconds
const GATHER = 150;
const MOST = 500; // ids of a frame
const ENOUGH = 0.5; // of a row, or of the pane where the row is taller than that

/** Gathers ids for a moment; `send(ids)` gets at most 500 of them. */
export function gathered(send) {
  const ids = new Set();
  let timer = null;
  return (id) => {
    ids.add(id);
    timer ??= setTimeout(() => {
      timer = null;
      const all = [...ids];
      ids.clear();
      for (let n = 0; n < all.length; n += MOST) send(all.slice(n, n + MOST));
    }, GATHER);
  };
}

export class Reading {
  #observer;
  #seen;
  #inSight = new Map(); // row -> timer

  /** `send(ids)` says that they were read. */
  constructor(pane, send) {
    this.#seen = gathered(send);
    this.#observer = new IntersectionObserver((entries) => entries.forEach((entry) => this.#look(entry)), {
      root: pane,
      threshold: [0, 0.25, ENOUGH, 0.75, 1],
    });
    document.addEventListener("visibilitychange", () => this.again());
  }

  watch(row) {
    this.#observer.observe(row);
  }

  leave(row) {
    this.#observer.unobserve(row);
    this.#stop(row);
  }

  clear() {
    for (const row of this.#inSight.keys()) this.#stop(row);
    this.#observer.disconnect();
  }

  /** Whatever is in sight has to be for a moment from now on: the tab came back, or the last word was lost. */
  again() {
    for (const row of [...this.#inSight.keys()]) {
      this.#stop(row);
      this.#start(row);
    }
  }

  #look({ target, isIntersecting, intersectionRatio, intersectionRect, rootBounds }) {
    const isSeen = isIntersecting && (intersectionRatio >= ENOUGH || intersectionRect.height >= (rootBounds?.height ?? Infinity) * ENOUGH);
    if (!isSeen) this.#stop(target);
    else if (!this.#inSight.has(target)) this.#start(target);
  }

  #start(row) {
    const isShown = document.visibilityState === "visible";
    this.#inSight.set(row, isShown ? setTimeout(() => this.#seen(row.dataset.id), A_MOMENT) : null);
  }

  #stop(row) {
    clearTimeout(this.#inSight.get(row));
    this.#inSight.delete(row);
  }
}
