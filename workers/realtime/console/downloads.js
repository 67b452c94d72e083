// The open timeline as a file.

import { $, tell } from "./dom.js";

const FORMATS = ["csv", "pdf"];

/** `token` is null where there is none to download with; `contact()` is the id of the one that is shown, or null. */
export function downloads(token, contact) {
  for (const format of FORMATS) {
    const button = $(format);
    button.disabled = token === null;
    button.title = token === null ? "Downloads need a token: sign in with one" : "";
    button.onclick = async () => {
      const id = contact();
      if (id === null || button.getAttribute("aria-busy")) return;
      button.setAttribute("aria-busy", "true");
      try {
        save(await fetched(`contacts/${id}/timeline.${format}`, token), `timeline-${id}.${format}`);
        tell($("contact-problem"), null);
      } catch (error) {
        tell($("contact-problem"), `The ${format.toUpperCase()} cannot be had: ${error.message}`);
      } finally {
        button.removeAttribute("aria-busy");
      }
    };
  }
}

async function fetched(url, token) {
  const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` }, cache: "no-store" });
  if (answer.ok) return answer.blob();
  const said = await answer.json().catch(() => null);
  throw new Error(said?.error?.message ?? `the worker answered ${answer.status}`);
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
