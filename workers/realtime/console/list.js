// A list on the page that follows a list of items with ids, without moving what somebody is reading.

const SLIDING = 5; // new rows that slide in; more of them just appear
const SLIDE = { duration: 260, easing: "cubic-bezier(.2, .8, .2, 1)" };
const AT_TOP = 24; // pixels

const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches || document.visibilityState === "hidden";

export class List {
  #list;
  #pane;
  #make;
  #update;
  #rows = new Map(); // id -> {row, item}
  #button;
  #unseen = 0;

  /** `pane` scrolls; `button` says how many came in above, and goes there. `make(item)` is a row, `update(row, item)` keeps it. */
  constructor(list, pane, button, make, update) {
    this.#list = list;
    this.#pane = pane;
    this.#button = button;
    this.#make = make;
    this.#update = update;
    button.addEventListener("click", () => pane.scrollTo({ top: 0, behavior: isCalm() ? "auto" : "smooth" }));
    pane.addEventListener("scroll", () => pane.scrollTop <= AT_TOP && this.#count(0), { passive: true });
  }

  /** Show these items in this order. Rows of those that are news slide in at the top. */
  show(items, { isNews = false } = {}) {
    const anchor = this.#pane.scrollTop > AT_TOP ? this.#firstInSight() : null;
    const wanted = new Set(items.map((item) => item.id));
    for (const [id, { row }] of this.#rows) {
      if (!wanted.has(id)) {
        row.remove();
        this.#rows.delete(id);
      }
    }
    const added = [];
    let next = this.#list.firstElementChild;
    for (const item of items) {
      const row = this.#row(item, added);
      if (row === next) next = next.nextElementSibling;
      else this.#list.insertBefore(row, next);
    }
    const moved = anchor?.row.isConnected ? anchor.row.getBoundingClientRect().top - anchor.top : 0;
    if (moved) this.#pane.scrollTop += moved; // never by nothing: that would stop a scroll that is under way
    if (!isNews) return;
    if (anchor) this.#count(this.#unseen + added.filter((row) => isBefore(row, anchor.row)).length);
    else if (added.length <= SLIDING && !isCalm()) added.forEach(slide);
  }

  clear() {
    this.#rows.clear();
    this.#list.replaceChildren();
    this.#count(0);
  }

  rows() {
    return [...this.#rows.values()].map(({ row }) => row);
  }

  #row(item, added) {
    const known = this.#rows.get(item.id);
    if (!known) {
      const row = this.#make(item);
      this.#update(row, item);
      this.#rows.set(item.id, { row, item });
      added.push(row);
      return row;
    }
    if (known.item !== item) {
      known.item = item;
      this.#update(known.row, item);
    }
    return known.row;
  }

  #firstInSight() {
    const top = this.#pane.getBoundingClientRect().top;
    for (const row of this.#list.children) {
      const box = row.getBoundingClientRect();
      if (box.bottom > top) return { row, top: box.top };
    }
    return null;
  }

  #count(unseen) {
    this.#unseen = unseen;
    this.#button.hidden = unseen === 0;
    this.#button.textContent = unseen === 1 ? "1 new event" : `${unseen} new events`;
  }
}

const isBefore = (one, other) => Boolean(one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING);

function slide(row) {
  const height = `${row.getBoundingClientRect().height}px`;
  row.animate(
    [
      { height: 0, opacity: 0, overflow: "clip" },
      { height, opacity: 1, overflow: "clip" },
    ],
    SLIDE,
  );
}
