// Everything of the tenant as it happens, newest first as it came.

import { $, soon, tell } from "./dom.js";
import { List } from "./list.js";
import { age, mark, row } from "./row.js";
import { nameOf } from "./words.js";

const MOST = 200; // rows
const UNNAMED = "…";
const MINUTE_HAND = 10_000;
const PAUSE = 25; // milliseconds between two names that are looked up: a session may send a hundred frames a second

export class Feed {
  #connection;
  #people;
  #acknowledge;
  #list;
  #events = [];
  #clock;
  #sub = null;
  #cursor = null;
  #isNaming = false;
  #drawSoon = soon(() => this.#draw());

  constructor(connection, people, acknowledge) {
    this.#connection = connection;
    this.#people = people;
    this.#acknowledge = acknowledge;
    this.#list = new List($("feed-events"), $("main"), $("feed-new"), (event) => this.#row(event), (item, event) => mark(item, event, true));
    this.#clock = setInterval(() => {
      const now = Date.now();
      this.#list.rows().forEach((item) => age(item, now));
    }, MINUTE_HAND);
  }

  /** It goes on where it was left. */
  open() {
    this.#sub ??= this.#connection.subscribe(
      "*",
      {
        begun: () => {},
        event: (event) => this.#happened(event),
        changed: (frame) => this.#changed(frame),
        resync: () => tell($("feed-problem"), "Some of what happened is left out here: a contact's own timeline has all of it."),
      },
      this.#cursor,
    );
    this.#draw();
  }

  leave() {
    if (this.#sub !== null) this.#cursor = this.#connection.unsubscribe(this.#sub);
    this.#sub = null;
  }

  close() {
    this.leave();
    clearInterval(this.#clock);
    this.#drawSoon.cancel();
    this.#list.clear();
    tell($("feed-problem"), null);
  }

  #happened(event) {
    this.#acknowledge(event);
    if (this.#events.some(({ id }) => id === event.id)) return;
    this.#events = [event, ...this.#events].slice(0, MOST);
    this.#drawSoon();
  }

  #changed({ delivered, read, deleted, at }) {
    this.#events = this.#events
      .filter(({ id }) => !deleted.includes(id))
      .map((event) => {
        const isRead = read.includes(event.id);
        if (!isRead && !delivered.includes(event.id)) return event;
        return { ...event, delivered_at: event.delivered_at ?? at, read_at: event.read_at ?? (isRead ? at : null) };
      });
    this.#drawSoon();
  }

  #draw() {
    this.#list.show(this.#events, { isNews: true });
    $("feed-empty").hidden = this.#events.length > 0;
    this.#nameRows();
  }

  #row(event) {
    const known = this.#people.known(event.contact_id);
    const item = row(event, { isAgent: true, whose: known ? nameOf(known) : UNNAMED });
    item.dataset.contact = event.contact_id;
    item.toggleAttribute("data-unnamed", !known);
    return item;
  }

  /** Look up whose the rows are, newest first and one after the other; rows that were pushed out meanwhile need none. */
  async #nameRows() {
    if (this.#isNaming) return;
    this.#isNaming = true;
    for (let item; (item = $("feed-events").querySelector("[data-unnamed]")); ) {
      const id = item.dataset.contact;
      const contact = await this.#people.find(id);
      for (const same of $("feed-events").querySelectorAll(`[data-contact="${id}"]`)) {
        same.querySelector(".whose").textContent = contact ? nameOf(contact) : `Contact ${id.slice(0, 8)}`;
        same.removeAttribute("data-unnamed");
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
    this.#isNaming = false;
  }
}
