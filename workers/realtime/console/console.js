// START HERE. Who is signed in, and which view the address asks for; everything else has a module of its own.

import { place, takeTicket } from "./address.js";
import { Connection } from "./connection.js";
import { ContactView } from "./contact.js";
import { Contacts } from "./contacts.js";
import { $, tell } from "./dom.js";
import { downloads } from "./downloads.js";
import { Feed } from "./feed.js";
import { People } from "./people.js";
import { gathered } from "./reading.js";
import * as session from "./session.js";
import { State } from "./state.js";
import { clock, sentence } from "./words.js";

const AGAIN = 2_000; // milliseconds, while the worker that exchanges tickets is out of reach
const BESIDE = matchMedia("(min-width: 50rem)"); // wide enough for the contacts and a timeline

let hasten = () => {}; // ends the wait that the state shows
const state = new State(() => hasten());
let house = null; // of who is signed in: the connection, and the views once the worker knows them
let isFollowed = false; // whether a link was: who goes by keyboard then goes on from what it leads to
let coming = 0; // a ticket that is exchanged while another one comes counts for nothing

async function begin() {
  const ticket = takeTicket();
  if (ticket === null) {
    const token = session.kept();
    return token === null ? door(null) : enter({ token });
  }
  leave();
  session.forget();
  stage("coming");
  const turn = ++coming;
  while (turn === coming) {
    try {
      state.show({ kind: "connecting" });
      const credential = await session.exchange(ticket);
      return turn === coming ? enter(credential) : undefined;
    } catch (error) {
      if (error instanceof session.SignedOut) return turn === coming ? out(error.message) : undefined;
      state.show({ kind: "waiting", at: performance.now() + AGAIN });
      await new Promise((resolve) => {
        hasten = resolve;
        setTimeout(resolve, AGAIN);
      });
    }
  }
}

/** Come in with {token} or {ticket}. */
function enter(credential) {
  leave();
  stage("coming");
  if (credential.token) session.keep(credential.token);
  const claims = credential.token ? session.claims(credential.token) : null;
  const connection = new Connection(credential, {
    state: (how) => state.show(how),
    ready: (frame) => welcome(frame, claims, credential),
    trouble: (reason) => tell($("trouble"), reason && `${sentence(reason)}; it is asked again.`),
    out: (reason) => out(`Signed out: ${reason}.`),
    complaint: (frame) => frame.code === "unavailable" && setTimeout(() => house?.view?.again(), AGAIN),
  });
  house = { connection };
  hasten = () => connection.retry();
  connection.open();
}

/** The worker knows us: the first time the views are made, later they go on. */
function welcome(frame, claims, { token = null }) {
  if (house.view) return house.view.again();
  const { connection } = house;
  const isAgent = frame.role === "agent";
  const people = new People(connection);
  const arrived = gathered((ids) => connection.send({ type: "ack", ids }));
  const acknowledge = (event) => event.delivered_at === null && !(isAgent && event.visible_to_client) && arrived(event.id);
  house.isAgent = isAgent;
  house.view = new ContactView(connection, people, isAgent, acknowledge);
  if (isAgent) {
    house.named = Array.isArray(claims?.contacts) ? claims.contacts : null;
    house.contacts = new Contacts(connection, people, house.named);
    house.feed = new Feed(connection, people, acknowledge);
    house.contacts.search();
  }
  downloads(token, () => (isAgent ? place().contact : (claims?.contact_id ?? null)));
  $("tenant").textContent = claims?.tenant ?? "";
  $("feed-facts").textContent = `What happens with ${house.named ? "your" : "all"} contacts, as it happens`;
  $("feed-try").textContent = `rollcall send webhook.message --tenant ${claims?.tenant ?? "acme"} --key 491511234567 \\\n  --data '{"channel": "whatsapp", "from": "491511234567", "profile_name": "Ben", "text": "Hello"}'`;
  $("sign-out").title = `${claims ? `${claims.sub}, s` : "S"}igned in until ${clock(frame.expires_at)}`;
  document.body.dataset.role = frame.role;
  stage("in");
  route();
}

/** Show what the address asks for. */
function route() {
  if (!house?.view) return;
  const { feed, ...asked } = place();
  const contact = house.isAgent ? asked.contact : null; // a contact's client has its own
  const shows = !house.isAgent || contact !== null ? "contact" : feed || BESIDE.matches ? "feed" : "list";
  if (house.shows === (contact ?? shows)) return;
  house.shows = contact ?? shows;
  document.body.dataset.shows = shows;
  $("contact").hidden = shows !== "contact";
  $("feed").hidden = shows !== "feed";
  $("main").scrollTop = 0;
  $("to-feed").setAttribute("aria-current", shows === "feed" ? "page" : "false");
  house.contacts?.select(contact);
  if (shows === "contact") house.view.open(contact);
  else house.view.leave();
  if (shows === "feed") house.feed.open();
  else house.feed?.leave();
  if (isFollowed) $({ contact: "contact-name", feed: "feed-title", list: "contacts" }[shows]).focus();
  isFollowed = false;
  if (shows !== "contact") document.title = shows === "feed" ? "Tenant feed - Rollcall" : "Rollcall";
}

/** Nobody is in any more, and nothing of theirs is left on the page. */
function leave() {
  coming += 1;
  for (const part of ["view", "contacts", "feed", "connection"]) house?.[part]?.close();
  house = null;
  for (const said of ["tenant", "feed-facts", "feed-try", "news-told"]) $(said).textContent = "";
  $("sign-out").title = "";
  tell($("trouble"), null);
}

function out(reason) {
  leave();
  session.forget();
  door(reason);
}

function door(reason) {
  document.title = "Rollcall";
  tell($("reason"), reason);
  state.show({ kind: "out", reason });
  stage("out");
  $("token").value = "";
  $("token").focus();
}

function stage(name) {
  document.body.dataset.stage = name;
  $("by-token").hidden = name !== "out";
  $("coming").hidden = name !== "coming";
}

$("sign-in").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const token = $("token").value.trim();
  $("token").value = "";
  tell($("reason"), null);
  if (token) enter({ token });
});
$("sign-out").addEventListener("click", () => out("You have signed out."));
$("skip").addEventListener("click", (clicked) => {
  clicked.preventDefault();
  $("main").focus();
});
addEventListener("click", (clicked) => (isFollowed ||= !clicked.defaultPrevented && clicked.target.closest("a[href^='#']") !== null));
addEventListener("hashchange", () => (new URLSearchParams(location.hash.slice(1)).has("ticket") ? begin() : route()));
addEventListener("online", () => hasten());
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && hasten());
BESIDE.addEventListener("change", route);

begin();
