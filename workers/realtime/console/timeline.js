// A timeline as far as it is known: merged by id, newest first as contact.timeline has it. Pure.

import { order } from "./words.js";

/** Newest first by (occurred_at, sequence). */
const newestFirst = (a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : b.event.sequence - a.event.sequence);

export class Timeline {
  #known = new Map(); // id -> {event, at}
  #marks = new Map(); // id -> {delivered_at, read_at}: also of events that have not come yet
  #gone = new Set(); // deleted: an answer that was under way must not bring them back

  get size() {
    return this.#known.size;
  }

  has(id) {
    return this.#known.has(id);
  }

  /** Events that came, by whatever way and however often. Answers whether one of them is new. */
  merge(events, now = Date.now()) {
    let isNew = false;
    for (const event of events) {
      if (this.#gone.has(event.id) || isOver(event, now)) continue;
      isNew ||= !this.#known.has(event.id);
      this.#mark(event.id, event);
      this.#known.set(event.id, { event: { ...event, ...this.#marks.get(event.id) }, at: order(event.occurred_at) });
    }
    return isNew;
  }

  /** A frame `changed`. */
  change({ delivered, read, deleted, at }) {
    for (const id of delivered) this.#mark(id, { delivered_at: at });
    for (const id of read) this.#mark(id, { delivered_at: at, read_at: at });
    for (const id of deleted) {
      this.#gone.add(id);
      this.#known.delete(id);
    }
    for (const id of [...delivered, ...read]) {
      const known = this.#known.get(id);
      if (known) known.event = { ...known.event, ...this.#marks.get(id) };
    }
  }

  /** What was fetched anew from the newest on, down to its last one or to the end: what is not in it has gone. */
  replace(before, events, isWhole) {
    this.merge(events);
    const fetched = new Set(events.map((event) => event.id));
    const last = events.length ? { event: events.at(-1), at: order(events.at(-1).occurred_at) } : null;
    for (const id of before) {
      const known = this.#known.get(id);
      if (known && !fetched.has(id) && (isWhole || newestFirst(known, last) <= 0)) this.#known.delete(id);
    }
  }

  /** Let go of what has expired. */
  expire(now = Date.now()) {
    for (const { event } of this.#known.values()) {
      if (isOver(event, now)) this.#known.delete(event.id);
    }
  }

  /** When the next one expires, in milliseconds since 1970; Infinity where none does. */
  nextExpiry() {
    return Math.min(...[...this.#known.values()].map(({ event }) => (event.expires_at ? Date.parse(event.expires_at) : Infinity)));
  }

  ids() {
    return [...this.#known.keys()];
  }

  sorted() {
    return [...this.#known.values()].sort(newestFirst).map(({ event }) => event);
  }

  /** A mark is set once, and never taken back. */
  #mark(id, { delivered_at, read_at }) {
    const marks = this.#marks.get(id) ?? { delivered_at: null, read_at: null };
    marks.delivered_at ??= delivered_at ?? null;
    marks.read_at ??= read_at ?? null;
    this.#marks.set(id, marks);
  }
}

const isOver = ({ expires_at }, now) => Boolean(expires_at) && Date.parse(expires_at) <= now;
