// What a payload comes to, in a line, for the events that have no description of their own. Pure.

const MOST = 300; // characters

export function gist({ payload }) {
  if (!payload) return null;
  const said = line(payload);
  return said && said.length > MOST ? `${said.slice(0, MOST)} …` : said;
}

function line({ changes, key, tag, channel, identifier, purpose, ...rest }) {
  const hasChange = "old" in rest && "new" in rest;
  if (changes && typeof changes === "object") {
    return Object.entries(changes)
      .map(([field, change]) => `${field}: ${step(change ?? {})}`)
      .join(", ");
  }
  if (hasChange) return key === undefined ? step(rest) : `${key}: ${step(rest)}`;
  if (tag !== undefined) return shown(tag);
  if (identifier !== undefined) return `${shown(identifier)} (${shown(channel)})`;
  return purpose === undefined ? null : [purpose, channel].filter(Boolean).map(shown).join(", ");
}

function step({ old, new: now }) {
  if (isNone(old)) return shown(now);
  return `${shown(old)} → ${isNone(now) ? "none" : shown(now)}`;
}

const isNone = (value) => value === null || value === undefined;

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value) ?? "");
