// Who is signed in. The token is kept in this tab alone, for as long as the tab lives.

const KEPT = "rollcall.token";

/** Nobody is signed in; the message says why. */
export class SignedOut extends Error {}

export const kept = () => sessionStorage.getItem(KEPT);

export const keep = (token) => sessionStorage.setItem(KEPT, token);

export const forget = () => sessionStorage.removeItem(KEPT);

/** What a token says of its bearer; null where it cannot be read. The worker alone says whether it is good. */
export function claims(token) {
  try {
    const body = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(body, (letter) => letter.charCodeAt(0))));
  } catch {
    return null;
  }
}

/**
 * What to sign in with for a one-time ticket: {token}, or {ticket} where nobody here can sign one.
 * Throws SignedOut, and another error where the worker is out of reach and the ticket may still be good.
 */
export async function exchange(ticket) {
  const answer = await fetch("ws/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ticket }),
    cache: "no-store",
  });
  const said = await answer.json();
  if (answer.ok) return { token: said.token };
  if (said.error.code === "no_signing_key") return { ticket };
  if (answer.status >= 500) throw new Error(said.error.message);
  throw new SignedOut(`The link cannot be used: ${said.error.message}.`);
}
