/**
 * Elements are made here and nowhere else. Whatever a name holds, it becomes a text node or the
 * value of an attribute: no text is ever read as HTML.
 */

/**
 * @typedef {string | Node | null | undefined | false} Child
 * @typedef {Record<string, unknown>} Props `class`, `text`, `on: {event: listener}`, properties
 *   that are booleans, and attributes
 */

/**
 * @param {string} tag
 * @param {Props} [props]
 * @param {...Child} children
 * @returns {any} the element
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) set(node, name, value);
  append(node, children);
  return node;
}

/** @param {HTMLElement} node @param {string} name @param {any} value */
function set(node, name, value) {
  if (value === undefined || value === null) return;
  if (name === "class") node.className = value;
  else if (name === "text") node.textContent = value;
  else if (name === "on") {
    for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
  } else if (typeof value === "boolean" && !name.startsWith("aria-")) {
    node.toggleAttribute(name, value);
  } else node.setAttribute(name, String(value));
}

/** @param {Element} node @param {Child[]} children */
export function append(node, children) {
  for (const child of children) if (child) node.append(child);
}

const SVG = "http://www.w3.org/2000/svg";

/** Outlines on a field of 24 by 24. */
const PATHS = {
  archive: "M6 3h12v18H6zM11 3v2M13 5v2M11 7v2M13 9v2M11 13h2v3h-2z",
  audio: "M9 18V6l10-2v12M9 18a2.500 2.500 0 1 1-5 0 2.500 2.500 0 0 1 5 0zM19 16a2.500 2.500 0 1 1-5 0 2.500 2.500 0 0 1 5 0z",
  check: "M5 12.500l4.500 4.500L19 7",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  cut: "M6 9a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5zM6 20a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5zM8 8l12 11M8 16L20 5",
  connect: "M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.700-5.700l-1.500 1.500M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.700 5.700l1.500-1.500",
  down: "M6 9l6 6 6-6",
  download: "M12 4v11M7 11l5 5 5-5M4 20h16",
  edit: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  folder: "M3 7a2 2 0 0 1 2-2h4l2 2.500h8a2 2 0 0 1 2 2V17a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2z",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.500 9.500h.01",
  info: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 11v5M12 8h.01",
  left: "M15 5l-7 7 7 7",
  lock: "M6 11h12v9H6zM9 11V8a3 3 0 0 1 6 0v3",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  move: "M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3",
  newfolder: "M3 7a2 2 0 0 1 2-2h4l2 2.500h8a2 2 0 0 1 2 2V17a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2zM12 10.500v6M9 13.500h6",
  paste: "M8 5H5v16h14V5h-3M8 3h8v4H8z",
  pause: "M8 5v14M16 5v14",
  pdf: "M6 3h8l4 4v14H6zM14 3v4h4M9 12h6M9 15h6M9 18h3",
  play: "M7 5l12 7-12 7z",
  retry: "M4 12a8 8 0 1 1 2.500 5.800M4 18v-4h4",
  right: "M9 5l7 7-7 7",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM16 16l5 5",
  text: "M6 3h8l4 4v14H6zM14 3v4h4M9 11h6M9 14h6M9 17h4",
  theme: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 3v18M12 7l6.500-1M12 12h9M12 17l6.500 1",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  upload: "M12 16V5M7 9l5-5 5 5M4 20h16",
  video: "M4 5h16v14H4zM10 9l5 3-5 3z",
};

/**
 * @param {keyof typeof PATHS} name
 * @returns {SVGElement} hidden from assistive technology: the text beside it says what it means
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(path(PATHS[name]));
  return svg;
}

/** @param {string} data @returns {SVGElement} */
export function path(data) {
  const node = document.createElementNS(SVG, "path");
  node.setAttribute("d", data);
  return node;
}

/**
 * @param {string} label
 * @param {{icon?: string, on?: () => void, class?: string, only?: boolean, [key: string]: unknown}} [options]
 *   `only`: the icon alone is seen, the label is read
 * @returns {HTMLButtonElement}
 */
export function button(label, { icon: name, on, only, class: kind = "", ...props } = {}) {
  return el(
    "button",
    {
      type: "button",
      class: `button ${only ? "icon-only" : ""} ${kind}`,
      "aria-label": only ? label : undefined,
      title: only ? label : undefined,
      on: on ? { click: on } : {},
      ...props,
    },
    name && icon(name),
    !only && el("span", { text: label }),
  );
}
