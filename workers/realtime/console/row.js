// A timeline event as a row of a list.

import { ofContact } from "./address.js";
import { h, icon } from "./dom.js";
import { gist } from "./gist.js";
import { absolute, label, relative } from "./words.js";

const STRIKING = { urgent: "Urgent", high: "High", low: "Low" };

/** `whose` is the contact's name, in a feed: the row then leads to it. */
export function row(event, { isAgent, whose = null }) {
  const title = h("h3", { dir: "auto" }, event.title);
  const says = event.description || gist(event);
  const striking = STRIKING[event.priority];
  return h(
    "li",
    { class: "event", "data-id": event.id, "data-category": event.category, "data-priority": event.priority },
    h(
      "article",
      {},
      h("span", { class: "badge" }, icon(event.category, label(event.category))),
      h(
        "div",
        { class: "body" },
        h("div", { class: "headline" }, h("span", { class: "mark" }), title, striking && h("strong", { class: "priority" }, striking)),
        whose !== null && h("a", { class: "whose", href: ofContact(event.contact_id), dir: "auto" }, whose),
        says && h("p", { class: "description", dir: "auto" }, says),
        h("details", {}, h("summary", {}, ...about(event, isAgent), h("span", { class: "more" }, "Details")), facts(event)),
      ),
    ),
  );
}

/** What changes of an event: whether it was delivered and read. */
export function mark(item, event, isAgent) {
  const isTheirs = isAgent && event.visible_to_client;
  const isUnread = event.read_at === null;
  item.toggleAttribute("data-unread", isUnread);
  item.toggleAttribute("data-theirs", isTheirs);
  const said = item.querySelector(".mark");
  said.replaceChildren(isUnread ? h("span", { class: "hidden" }, isTheirs ? "Not read by the contact. " : "Unread. ") : "");
  said.title = isUnread ? (isTheirs ? "The contact has not read it" : "Unread") : "";
  const delivery = item.querySelector(".delivery");
  if (delivery) {
    delivery.textContent = event.read_at ? "Read by the contact" : event.delivered_at ? "Delivered" : "Not delivered yet";
    delivery.title = event.read_at ?? event.delivered_at ?? "";
  }
}

/** Relative times grow old. */
export function age(item, now) {
  const time = item.querySelector("time");
  const said = relative(time.dateTime, now);
  const shown = time.firstElementChild;
  if (shown.textContent !== said) shown.textContent = said;
}

function about(event, isAgent) {
  const when = h(
    "time",
    { datetime: event.occurred_at, title: event.occurred_at },
    h("span", { class: "relative" }, relative(event.occurred_at)),
    h("span", { class: "absolute" }, absolute(event.occurred_at)),
  );
  return [
    when,
    h("span", { class: "source" }, label(event.source)),
    event.triggered_by && h("span", { class: "by", dir: "auto" }, `by ${event.triggered_by}`),
    event.integration_source && h("span", { class: "by", dir: "auto" }, `via ${event.integration_source}`),
    isAgent && event.visible_to_client && h("span", { class: "delivery" }),
  ];
}

function facts(event) {
  const known = [
    ["Type", event.type],
    ["Sequence", String(event.sequence)],
    ["Session", event.session_id],
    ["Thread", event.thread_id],
    ["Expires", event.expires_at && absolute(event.expires_at)],
    ["Id", event.id],
  ].filter(([, value]) => value);
  return h(
    "div",
    { class: "facts-of" },
    h("dl", {}, ...known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", { dir: "auto" }, value)))),
    json("Payload", event.payload),
    json("Metadata", event.metadata),
  );
}

function json(name, value) {
  const isEmpty = value === null || value === undefined || Object.keys(value).length === 0;
  return isEmpty ? null : h("figure", {}, h("figcaption", {}, name), h("pre", { tabindex: "0", "aria-label": name }, JSON.stringify(value, null, 2)));
}
