// One contact's timeline: what there is, page by page, and what happens.

import { ofContact } from "./address.js";
import { $, h, soon, tell } from "./dom.js";
import { List } from "./list.js";
import { Reading } from "./reading.js";
import { age, mark, row } from "./row.js";
import { Timeline } from "./timeline.js";
import { day, initials, label, nameOf, tint } from "./words.js";

const PAGE = 50;
const REFETCH = 200; // events a page, when what is known is fetched anew
const LATER = 300; // milliseconds until a contact that changed is looked up again
const LONGEST = 2 ** 31; // milliseconds that a timer can wait
const MINUTE_HAND = 10_000; // milliseconds between two looks at the clock

export class ContactView {
  #connection;
  #people;
  #isAgent;
  #acknowledge;
  #list;
  #reading;
  #timeline = new Timeline();
  #turn = 0; // answers for a contact that was left count for nothing
  #sub = null;
  #whose = {}; // the request's part that names the contact; a contact's client names none
  #contact = null;
  #cursor = null;
  #looking = null;
  #expiring = null;
  #clock;
  #isNews = false; // whether something is drawn next that has just happened
  #showSoon = soon(() => this.#show());

  /** `acknowledge(event)` says that it arrived. */
  constructor(connection, people, isAgent, acknowledge) {
    this.#connection = connection;
    this.#people = people;
    this.#isAgent = isAgent;
    this.#acknowledge = acknowledge;
    const pane = $("main");
    this.#reading = new Reading(pane, (ids) => connection.send({ type: "read", ids }));
    this.#list = new List($("timeline"), pane, $("contact-new"), (event) => row(event, { isAgent }), (item, event) => this.#keep(item, event));
    $("older").onclick = () => this.#older();
    this.#clock = setInterval(() => this.#tick(), MINUTE_HAND);
  }

  /** `id` is null for a contact's client: it has its own timeline, and no other. */
  async open(id) {
    this.leave();
    const turn = this.#turn;
    this.#whose = id === null ? {} : { contact: { id } };
    $("contact").setAttribute("aria-busy", "true");
    this.#head(id === null ? null : (this.#people.known(id) ?? null), id);
    try {
      if (id !== null) {
        const contact = await this.#people.fetch(id);
        if (turn !== this.#turn) return;
        if (contact.id !== id) return location.replace(ofContact(contact.id)); // it was merged into this one
        this.#head(contact, id);
      }
    } catch (refusal) {
      return this.#failed(turn, refusal.code === "contact_not_found" ? "There is no such contact, or you may not see it." : refusal.message);
    }
    this.#sub = this.#connection.subscribe(id === null ? "*" : [id], {
      begun: () => this.#fetch(turn),
      event: (event) => this.#happened(event),
      changed: (frame) => this.#changed(frame),
      resync: () => this.#fetch(turn),
    });
  }

  leave() {
    this.#turn += 1;
    clearTimeout(this.#looking);
    clearTimeout(this.#expiring);
    this.#showSoon.cancel();
    if (this.#sub !== null) this.#connection.unsubscribe(this.#sub);
    this.#sub = this.#contact = this.#cursor = null;
    this.#timeline = new Timeline();
    this.#reading.clear();
    this.#list.clear();
    tell($("contact-problem"), null);
    tell($("contact-empty"), null);
    $("older").hidden = true;
  }

  close() {
    this.leave();
    clearInterval(this.#clock);
    $("contact-name").textContent = $("contact-avatar").textContent = "";
    $("contact-facts").replaceChildren();
  }

  /** The connection was lost, and what was read meanwhile with it. */
  again() {
    this.#reading.again();
  }

  /** From the newest on, as far back as was known before: after that everything that happens comes by itself. */
  async #fetch(turn) {
    const before = this.#timeline.ids();
    const events = [];
    let cursor = null;
    try {
      do {
        const { data, meta } = await this.#page(before.length ? REFETCH : PAGE, cursor);
        if (turn !== this.#turn) return;
        events.push(...data);
        cursor = meta.next_cursor;
      } while (cursor !== null && events.length < before.length);
    } catch (refusal) {
      return this.#failed(turn, refusal.message);
    }
    this.#timeline.replace(before, events, cursor === null);
    this.#cursor = cursor;
    $("contact").removeAttribute("aria-busy");
    tell($("contact-problem"), null);
    this.#show();
  }

  async #older() {
    const turn = this.#turn;
    $("older").disabled = true;
    try {
      const { data, meta } = await this.#page(PAGE, this.#cursor);
      if (turn !== this.#turn) return;
      this.#timeline.merge(data);
      this.#cursor = meta.next_cursor;
      this.#show();
    } catch (refusal) {
      this.#failed(turn, refusal.message);
    } finally {
      $("older").disabled = false;
    }
  }

  #page(limit, cursor) {
    return this.#connection.ask("contact.timeline", { ...this.#whose, limit, ...(cursor === null ? {} : { cursor }) });
  }

  #happened(event) {
    this.#acknowledge(event);
    const isNew = this.#timeline.merge([event]);
    this.#isNews ||= isNew;
    this.#showSoon();
    if (isNew) $("news-told").textContent = `New event: ${event.title}`;
    if (this.#contact !== null && event.contact_version > this.#contact.version) this.#lookAgain();
  }

  #changed(frame) {
    this.#timeline.change(frame);
    this.#showSoon();
  }

  #show() {
    this.#timeline.expire();
    this.#expireLater();
    const events = this.#timeline.sorted();
    this.#list.show(events, { isNews: this.#isNews });
    this.#isNews = false;
    this.#days(events);
    $("older").hidden = this.#cursor === null;
    tell($("contact-empty"), events.length || this.#cursor !== null ? null : "Nothing has happened with this contact yet.");
  }

  /** The first row of each day says which day it is. */
  #days(events) {
    let last = null;
    const rows = $("timeline").children;
    events.forEach((event, n) => {
      const said = day(event.occurred_at);
      if (said !== last) rows[n].dataset.day = said;
      else delete rows[n].dataset.day;
      last = said;
    });
  }

  #keep(item, event) {
    mark(item, event, this.#isAgent);
    // Of what the contact's client may see, only that client's reading counts.
    if (event.read_at === null && !(this.#isAgent && event.visible_to_client)) this.#reading.watch(item);
    else this.#reading.leave(item);
  }

  #expireLater() {
    clearTimeout(this.#expiring);
    const left = this.#timeline.nextExpiry() - Date.now();
    if (left < LONGEST) this.#expiring = setTimeout(() => this.#show(), left);
  }

  #tick() {
    if (document.visibilityState === "hidden") return;
    const now = Date.now();
    this.#list.rows().forEach((item) => age(item, now));
  }

  #lookAgain() {
    clearTimeout(this.#looking);
    const turn = this.#turn;
    this.#looking = setTimeout(async () => {
      try {
        const contact = await this.#people.fetch(this.#contact.id);
        if (turn === this.#turn) this.#head(contact, contact.id);
      } catch {
        // The next change asks again.
      }
    }, LATER);
  }

  #failed(turn, reason) {
    if (turn !== this.#turn) return;
    $("contact").removeAttribute("aria-busy");
    tell($("contact-problem"), reason);
  }

  #head(contact, id) {
    this.#contact = contact;
    const name = contact ? nameOf(contact) : id === null ? "Your timeline" : "Contact";
    $("contact-name").textContent = name;
    document.title = `${name} - Rollcall`;
    $("contact-avatar").hidden = contact === null;
    $("contact-avatar").textContent = initials(name);
    $("contact-avatar").dataset.tint = id === null ? "" : tint(id);
    $("contact-facts").replaceChildren(...(contact ? facts(contact, name) : []));
  }
}

function facts(contact, name) {
  return [
    contact.deleted_at && h("span", { class: "chip bad" }, "Deleted"),
    ...[contact.email, contact.phone].map((fact) => fact && fact !== name && h("span", { class: "fact" }, fact)),
    contact.status !== "active" && h("span", { class: "chip" }, label(contact.status)),
    ...contact.tags.map((tag) => h("span", { class: "chip tag", dir: "auto" }, tag)),
  ].filter(Boolean);
}
