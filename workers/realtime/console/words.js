// How things are said: times, names, labels. Pure.

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const ABSOLUTE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
const UNITS = [["second", 60], ["minute", 60], ["hour", 24], ["day", 30.4], ["month", 12], ["year", Infinity]];
const JUST_NOW = 5; // seconds

/** A moment as text that sorts: two times are compared to the microsecond, which Date cannot. */
export function order(moment) {
  const [, second, fraction = ""] = /^([^.Z+]+)(?:\.(\d+))?/.exec(moment);
  return `${second}.${fraction.padEnd(9, "0")}`;
}

export function relative(moment, now = Date.now()) {
  let amount = (Date.parse(moment) - now) / 1000;
  if (Math.abs(amount) < JUST_NOW) return "just now";
  for (const [unit, size] of UNITS) {
    if (Math.abs(amount) < size) return RELATIVE.format(Math.trunc(amount), unit);
    amount /= size;
  }
  return "";
}

export const absolute = (moment) => ABSOLUTE.format(new Date(moment));

export const clock = (moment) => CLOCK.format(new Date(moment));

export function day(moment, now = Date.now()) {
  const said = DAY.format(new Date(moment));
  if (said === DAY.format(now)) return "Today";
  return said === DAY.format(now - 86_400_000) ? "Yesterday" : said;
}

/** "custom_field" as "Custom field". */
export const label = (word) => sentence(String(word).replaceAll("_", " "));

/** With a capital in front, for what the worker says in a few words. */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** How a contact is called: by its display name, else by what there is. */
export const nameOf = (contact) =>
  contact.display_name || contact.email || contact.phone || contact.external_id || `Contact ${contact.id.slice(0, 8)}`;

/** Two letters for a round badge. */
export function initials(name) {
  const words = name.replace(/[^\p{L}\p{N}\s]/gu, " ").trim().split(/\s+/);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
  return letters.map((word) => [...word][0] ?? "").join("").toUpperCase() || "?";
}

/** One of twelve colours, always the same for an id. */
export const tint = (id) => String([...id].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 12, 0));
