// Contacts by id: looked up once, and forgotten when there are too many.

import { isId } from "./address.js";

const MOST = 500;

export class People {
  #known = new Map(); // id -> a contact, or null where there is none
  #coming = new Map();
  #connection;

  constructor(connection) {
    this.#connection = connection;
  }

  keep(contact) {
    this.#known.delete(contact.id);
    this.#known.set(contact.id, contact);
    if (this.#known.size > MOST) this.#known.delete(this.#known.keys().next().value);
  }

  known(id) {
    return this.#known.get(id);
  }

  /** The contact as it is now. Throws Refusal. */
  async fetch(id) {
    const { data } = await this.#connection.ask("contact.get", { contact: { id }, include_deleted: true });
    this.keep(data);
    return data;
  }

  /** The contact, as it is known already if it is; null where it cannot be had. */
  async find(id) {
    if (this.#known.has(id)) return this.#known.get(id);
    if (!this.#coming.has(id)) {
      const coming = this.fetch(id).catch(() => null).finally(() => this.#coming.delete(id));
      this.#coming.set(id, coming);
    }
    return this.#coming.get(id);
  }

  /** Those whom a typed text names outright: by id, number or e-mail address. */
  async named(text) {
    if (isId(text)) return this.#one(() => this.fetch(text));
    const isMail = /^\S+@\S+$/.test(text);
    const isNumber = /^\+?[\d\s()./-]+$/.test(text) && text.replace(/\D/g, "").length >= 5;
    if (!isMail && !isNumber) return [];
    return this.#one(async () => {
      const asked = { channel: isMail ? "email" : "sms", identifier: text };
      return (await this.#connection.ask("contact.find", asked)).data;
    });
  }

  async #one(look) {
    try {
      const contact = await look();
      this.keep(contact);
      return [contact];
    } catch (refusal) {
      if (["contact_not_found", "ambiguous_reference", "invalid"].includes(refusal.code)) return [];
      throw refusal;
    }
  }
}
