/** One row of the table. */

import { button, el, icon } from "./dom.js";
import { formatSize, formatTime, t } from "./i18n.js";
import { iconOf, kindOf } from "./kinds.js";

/** @typedef {import("./dav.js").Entry} Entry */

/** Images up to this many bytes are shown as their own thumbnail. */
const THUMBNAIL_LIMIT = 3_000_000;
/** Milliseconds that a row is in sight before its image is asked for. */
const THUMBNAIL_DELAY = 150;

/**
 * @param {Entry} entry
 * @param {{index: number, isSelected: boolean}} where `index`: among the rows
 * @returns {HTMLElement}
 */
export function drawRow(entry, { index, isSelected }) {
  const kind = kindOf(entry);
  const check = el("input", { type: "checkbox", tabindex: -1, "aria-label": t("select", { name: entry.name }) });
  check.checked = isSelected;
  const size = entry.isFolder ? "" : formatSize(entry.size);
  const time = formatTime(entry.time);
  const picture = el("span", { class: `picture kind-${kind}` }, icon(iconOf(kind)));
  const row = el("div", {
    class: "row", role: "row", id: `row-${index}`, "aria-rowindex": index + 2, "aria-selected": String(isSelected),
    draggable: "true",
  },
    el("div", { class: "cell check", role: "gridcell" }, check),
    el("div", { class: "cell name", role: "gridcell" }, picture,
      el("span", { class: "label" },
        el("a", { class: "open", href: entry.href, tabindex: -1, draggable: "false", dir: "auto", text: entry.name }),
        entry.where && el("span", { class: "where", dir: "auto", text: entry.where }),
        el("span", { class: "details", "aria-hidden": "true", text: [size, time].filter(Boolean).join(" · ") }))),
    el("div", { class: "cell size", role: "gridcell", text: size }),
    el("div", { class: "cell time", role: "gridcell", text: time }),
    el("div", { class: "cell last", role: "gridcell" },
      button(t("more", { name: entry.name }), { icon: "more", only: true, tabindex: -1, class: "more" })));
  row.dataset.index = String(index);
  if (kind === "image" && entry.size <= THUMBNAIL_LIMIT) showThumbnail(row, picture, entry);
  return row;
}

/**
 * The image itself, made small by the browser, once the row has been in sight for a while.
 *
 * @param {HTMLElement} row @param {HTMLElement} picture @param {Entry} entry
 */
function showThumbnail(row, picture, entry) {
  window.setTimeout(() => {
    if (!row.isConnected) return;
    const image = el("img", { alt: "", src: entry.href, decoding: "async", draggable: "false" });
    image.addEventListener("load", () => picture.replaceChildren(image));
  }, THUMBNAIL_DELAY);
}
