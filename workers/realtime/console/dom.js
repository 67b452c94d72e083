// Elements without HTML: a text stays a text, whoever wrote it.

const SHORTLY = 50; // milliseconds
const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** An element. Attributes and children that are null or false are left out; strings become text. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(key, value === true ? "" : value);
    }
  }
  element.append(...children.flat().filter((child) => child || child === 0));
  return element;
}

/** One of the page's symbols; with a label it is an image that says so, else decoration. */
export function icon(name, label = null) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  if (label === null) {
    svg.setAttribute("aria-hidden", "true");
  } else {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
  }
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${$(`icon-${name}`) ? name : "other"}`);
  svg.append(use);
  return svg;
}

/** Have work done shortly, once for all who ask for it meanwhile: what is busy must not be drawn for each event. */
export function soon(work) {
  let timer = null;
  const ask = () => {
    timer ??= setTimeout(() => {
      timer = null;
      work();
    }, SHORTLY);
  };
  ask.cancel = () => {
    clearTimeout(timer);
    timer = null;
  };
  return ask;
}

/** Show a text in an element, or hide the element where there is none. */
export function tell(element, text) {
  element.textContent = text ?? "";
  element.hidden = !text;
}
