// How the connection is, in words and colour.

import { $ } from "./dom.js";

const WORDS = {
  starting: "Starting",
  connecting: "Connecting",
  live: "Live",
  waiting: "Reconnecting",
  offline: "Offline",
  out: "Signed out",
};

/** Shows states, and counts the seconds of one that waits. `retry` is called by whoever does not want to wait. */
export class State {
  #state = { kind: "starting" };
  #told = "";
  #counting = null;

  constructor(retry) {
    $("retry").onclick = retry;
    addEventListener("online", () => this.#draw());
    addEventListener("offline", () => this.#draw());
  }

  show(state) {
    this.#state = state;
    clearInterval(this.#counting);
    if (state.kind === "waiting") this.#counting = setInterval(() => this.#draw(), 250);
    this.#draw();
  }

  #draw() {
    const { kind, at, reason } = this.#state;
    const isOffline = kind === "waiting" && !navigator.onLine;
    const shown = isOffline ? "offline" : kind;
    $("state").dataset.state = shown;
    const left = Math.max(1, Math.ceil((at - performance.now()) / 1000));
    $("state-words").textContent = kind === "waiting" ? `${WORDS[shown]}${isOffline ? ", next try" : ""} in ${left} s` : WORDS[shown];
    $("retry").hidden = kind !== "waiting";
    // Seconds are not read out: who listens is told once how it is.
    const told = reason ? `${WORDS[shown]}: ${reason}` : WORDS[shown];
    if (told !== this.#told) $("state-told").textContent = this.#told = told;
  }
}
