// The address' fragment: `#contact=<id>`, `#feed`, and `#ticket=…`, which nobody may read there later.

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export const isId = (text) => ID.test(text);

export const ofContact = (id) => `#contact=${id}`;

/** What the page is to show: {contact: id or null, feed: whether that was asked for}. */
export function place() {
  const said = new URLSearchParams(location.hash.slice(1));
  const contact = said.get("contact");
  return { contact: contact !== null && isId(contact) ? contact.toLowerCase() : null, feed: said.has("feed") };
}

/** The ticket in the address, null where there is none. It is gone from there, and from the history, at once. */
export function takeTicket() {
  const said = new URLSearchParams(location.hash.slice(1));
  const ticket = said.get("ticket");
  if (ticket !== null) {
    said.delete("ticket");
    const rest = said.toString();
    history.replaceState(null, "", `${location.pathname}${location.search}${rest && `#${rest}`}`);
  }
  return ticket || null;
}
