// The list of contacts beside a timeline: the latest, or those that are searched for.

import { ofContact } from "./address.js";
import { $, h, tell } from "./dom.js";
import { initials, nameOf, tint } from "./words.js";

const PAGE = 30;
const TYPING = 200; // milliseconds after the last key

export class Contacts {
  #connection;
  #people;
  #named; // the contacts that the token names; null for all of the tenant
  #typing = null;
  #turn = 0; // answers of a search that was typed over count for nothing
  #shown = new Map();
  #cursor = null;
  #current = null;

  constructor(connection, people, named) {
    this.#connection = connection;
    this.#people = people;
    this.#named = named;
    $("search-text").oninput = () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.search(), TYPING);
    };
    $("search").onsubmit = (submitted) => {
      submitted.preventDefault();
      clearTimeout(this.#typing);
      this.search();
    };
    $("more-people").onclick = () => this.#more();
  }

  close() {
    clearTimeout(this.#typing);
    this.#turn += 1;
    $("people").replaceChildren();
    $("search-text").value = "";
    $("more-people").hidden = true;
    tell($("found"), null);
  }

  /** What is typed, or the latest contacts where nothing is. */
  async search() {
    const turn = ++this.#turn;
    const text = $("search-text").value.trim();
    $("contacts").setAttribute("aria-busy", "true");
    try {
      const [named, page] = await Promise.all([text ? this.#people.named(text) : [], this.#page(text)]);
      if (turn !== this.#turn) return;
      this.#shown.clear();
      $("people").replaceChildren();
      this.#add([...named, ...page]);
      const count = this.#shown.size;
      tell($("found"), !text ? (count ? null : "No contacts yet") : count ? null : "Nobody is found by that");
    } catch (refusal) {
      if (turn === this.#turn) tell($("found"), `The contacts cannot be shown: ${refusal.message}`);
    } finally {
      if (turn === this.#turn) $("contacts").removeAttribute("aria-busy");
    }
  }

  /** Show which of them is open. */
  select(id) {
    this.#current = id;
    for (const link of $("people").querySelectorAll("a")) {
      if (link.dataset.id === id) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  async #more() {
    const turn = this.#turn;
    const text = $("search-text").value.trim();
    try {
      const page = await this.#page(text, this.#cursor);
      if (turn === this.#turn) this.#add(page);
    } catch (refusal) {
      tell($("found"), `More cannot be shown: ${refusal.message}`);
    }
  }

  async #page(text, cursor = null) {
    if (this.#named !== null) return this.#ofToken(text);
    const { data, meta } = await this.#connection.ask("contact.list", {
      page_size: PAGE,
      ...(text ? { search: text } : { sort_by: "updated_at" }),
      ...(cursor === null ? {} : { cursor }),
    });
    this.#cursor = meta.next_cursor;
    $("more-people").hidden = this.#cursor === null;
    data.forEach((contact) => this.#people.keep(contact));
    return data;
  }

  /** A token that names its contacts may list no others; a search goes through those. */
  async #ofToken(text) {
    const found = await Promise.all(this.#named.slice(0, PAGE).map((id) => this.#people.find(id)));
    const words = text.toLowerCase();
    return found.filter(
      (contact) => contact && [nameOf(contact), contact.email, contact.phone].some((fact) => fact?.toLowerCase().includes(words)),
    );
  }

  #add(contacts) {
    for (const contact of contacts) {
      if (this.#shown.has(contact.id)) continue;
      this.#shown.set(contact.id, contact);
      $("people").append(entry(contact));
    }
    this.select(this.#current);
  }
}

function entry(contact) {
  const name = nameOf(contact);
  const facts = [contact.email, contact.phone].filter((fact) => fact && fact !== name);
  return h(
    "li",
    {},
    h(
      "a",
      { href: ofContact(contact.id), "data-id": contact.id },
      h("span", { class: "avatar", "aria-hidden": "true", "data-tint": tint(contact.id) }, initials(name)),
      h(
        "span",
        { class: "lines" },
        h("span", { class: "name", dir: "auto" }, name),
        ...facts.map((fact) => h("span", { class: "fact" }, fact)),
      ),
    ),
  );
}
