// The WebSocket: it comes back by itself, where it left off, until somebody signs out or the worker says no.

const WAITS = [500, 15_000]; // milliseconds after a failure: at first, at most
const LIMITED = 5_000; // at least, after the worker said that there are too many of us
const STEADY = 5_000; // a connection that lived for so long was no failure
const ANSWER_WITHIN = 15_000; // from opening to `ready`
const MOST_ASKED = 6; // queries under way; the worker takes eight
const ASKED_AGAIN = 2_000; // after nobody was there to answer
const UNAUTHENTICATED = 4401, REFUSED = 4403, TOO_MANY = 4429;

/** A query that was answered with an error: `code` is the worker's. */
export class Refusal extends Error {
  constructor({ code, message }) {
    super(message);
    this.code = code;
  }
}

/**
 * `credential` is {token}, or {ticket}, which is good for one socket. `told` has
 *   state({kind: "connecting" | "live" | "waiting", at}): `at` is when a waiting one tries again, in performance.now();
 *   ready(frame): each time that the worker knows us;
 *   out(reason): it will not have us, and nothing is tried any more;
 *   trouble(reason): queries wait, because nobody answers them; null once somebody does;
 *   complaint(frame): an error that belongs to no query and no subscription.
 */
export class Connection {
  #credential;
  #told;
  #socket = null;
  #subscriptions = new Map();
  #waiting = []; // queries that were not sent yet
  #asked = new Map();
  #number = 0;
  #failures = 0;
  #live = false;
  #known = false; // whether the worker ever knew us
  #last = {}; // the last goodbye and complaint of this socket
  #heard = 0;
  #pinged = 0;
  #timers = {};

  constructor(credential, told) {
    this.#credential = credential;
    this.#told = told;
  }

  open() {
    const url = new URL("ws", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.#last = {};
    this.#told.state({ kind: "connecting" });
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#after("answer", ANSWER_WITHIN, () => this.#drop());
    socket.addEventListener("open", () => this.#put({ type: "auth", ...this.#credential }));
    socket.addEventListener("message", (message) => {
      if (socket !== this.#socket) return;
      this.#heard = performance.now();
      this.#take(JSON.parse(message.data));
    });
    socket.addEventListener("close", ({ code }) => {
      if (socket === this.#socket) this.#lost(code);
    });
  }

  /** For good; nothing is told any more. */
  close() {
    const socket = this.#socket;
    this.#release();
    this.#subscriptions.clear();
    this.#asked.clear();
    this.#waiting = [];
    this.#told = { state() {}, ready() {}, out() {}, trouble() {}, complaint() {} };
    socket?.close();
  }

  /** Do not wait any longer. */
  retry() {
    if (this.#socket !== null || !this.#timers.wait) return;
    this.#clear("wait");
    this.open();
  }

  /**
   * Watch contacts (ids, or "*"). `handler` has begun(), once it is confirmed; event(event), changed(frame) and resync().
   * With a cursor it goes on behind that, without begun(). Answers its name.
   */
  subscribe(contacts, handler, cursor = null) {
    const sub = `s${++this.#number}`;
    this.#subscriptions.set(sub, { contacts, handler, cursor });
    if (this.#live) this.#follow(sub);
    return sub;
  }

  /** Answers the cursor to go on with, null where there is none. */
  unsubscribe(sub) {
    const found = this.#subscriptions.get(sub);
    if (!found) return null;
    this.#subscriptions.delete(sub);
    this.send({ type: "unsubscribe", sub });
    return found.cursor;
  }

  /** A query, asked again where the connection was lost or nobody was there to answer: {data, meta}. Throws Refusal. */
  ask(name, data) {
    return new Promise((resolve, reject) => {
      const ref = `q${++this.#number}`;
      this.#waiting.push({ ref, frame: { type: "query", ref, name, data }, resolve, reject });
      this.#pump();
    });
  }

  /** Whether it was sent. */
  send(frame) {
    if (this.#live) this.#put(frame);
    return this.#live;
  }

  #take(frame) {
    const subscription = this.#subscriptions.get(frame.sub);
    const isNew = subscription?.cursor === null;
    if (subscription && frame.cursor) subscription.cursor = frame.cursor;
    switch (frame.type) {
      case "ready":
        return this.#welcome(frame);
      case "subscribed":
        return isNew ? subscription.handler.begun() : undefined;
      case "event":
        return subscription?.handler.event(frame.event);
      case "changed":
        return subscription?.handler.changed(frame);
      case "resync":
        return subscription?.handler.resync();
      case "result":
        return this.#answered(frame.ref, frame.success ? null : frame.error, frame);
      case "error":
        return this.#refused(frame);
      case "goodbye":
        this.#last.goodbye = frame;
    }
  }

  #welcome(frame) {
    this.#live = this.#known = true;
    this.#clear("answer");
    this.#after("steady", STEADY, () => (this.#failures = 0));
    this.#pinged = 0;
    this.#timers.beat = setInterval(() => this.#beat(), frame.heartbeat_s * 500);
    for (const sub of this.#subscriptions.keys()) this.#follow(sub);
    this.#told.state({ kind: "live" });
    this.#told.ready(frame); // who subscribes in it is followed at once
    this.#pump();
  }

  #refused(frame) {
    const subscription = this.#subscriptions.get(frame.ref);
    if (this.#asked.has(frame.ref)) {
      this.#answered(frame.ref, frame);
    } else if (subscription && frame.code === "bad_cursor") {
      subscription.cursor = null; // what lies between is fetched anew: `begun` says when
      this.#follow(frame.ref);
    } else {
      this.#last.complaint = frame;
      this.#told.complaint(frame);
    }
  }

  #answered(ref, error, { data, meta } = {}) {
    const query = this.#asked.get(ref);
    if (!query) return;
    this.#asked.delete(ref);
    if (error?.code === "unavailable") {
      this.#told.trouble(error.message);
      setTimeout(() => {
        this.#waiting.push(query);
        this.#pump();
      }, ASKED_AGAIN);
      return;
    }
    this.#told.trouble(null);
    if (error) query.reject(new Refusal(error));
    else query.resolve({ data, meta: meta ?? {} });
    this.#pump();
  }

  #pump() {
    while (this.#live && this.#waiting.length && this.#asked.size < MOST_ASKED) {
      const query = this.#waiting.shift();
      this.#asked.set(query.ref, query);
      this.#put(query.frame);
    }
  }

  #follow(sub) {
    const { contacts, cursor } = this.#subscriptions.get(sub);
    this.#put({ type: "subscribe", sub, contacts, ...(cursor === null ? {} : { cursor }) });
  }

  #put(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  /** Somebody who is there answers a ping before the next one is due. */
  #beat() {
    if (this.#pinged > this.#heard) return this.#drop();
    this.#pinged = performance.now();
    this.#put({ type: "ping" });
  }

  /** Leave a socket that says nothing any more: closing it would wait for an answer, too. */
  #drop() {
    const socket = this.#socket;
    this.#lost(0);
    socket?.close();
  }

  #release() {
    this.#socket = null;
    this.#live = false;
    for (const name of Object.keys(this.#timers)) this.#clear(name);
    this.#waiting.unshift(...this.#asked.values());
    this.#asked.clear();
  }

  #lost(code) {
    const { goodbye, complaint } = this.#last;
    this.#release();
    if (code === UNAUTHENTICATED) {
      return this.#out(goodbye?.reason === "expired" ? "the token has expired" : complaint?.message);
    }
    if (code === REFUSED) return this.#out(complaint?.message ?? "this page's origin is not allowed");
    if (this.#credential.ticket && this.#known) return this.#out("the link was good for one connection, which was lost");
    const ordered = goodbye?.reconnect_after_ms ?? 0;
    const limited = code === TOO_MANY ? LIMITED : 0;
    const backoff = goodbye && this.#failures === 0 ? 0 : Math.min(WAITS[0] * 2 ** this.#failures, WAITS[1]);
    const wait = Math.max(ordered, limited, backoff * (0.5 + Math.random() / 2));
    this.#failures += 1;
    this.#told.state({ kind: "waiting", at: performance.now() + wait });
    this.#after("wait", wait, () => this.open());
  }

  #out(reason) {
    const { out } = this.#told;
    this.close();
    out(reason ?? "the worker did not say why");
  }

  #after(name, milliseconds, then) {
    this.#clear(name);
    this.#timers[name] = setTimeout(then, milliseconds);
  }

  #clear(name) {
    clearTimeout(this.#timers[name]);
    clearInterval(this.#timers[name]);
    delete this.#timers[name];
  }
}
