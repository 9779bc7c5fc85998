/**
 * The table of members: a grid (WAI-ARIA) that draws the rows in sight alone, however many there
 * are, with a cursor, a selection, and everything on the keyboard.
 */

import { el, icon } from "./dom.js";
import { compareNames, t } from "./i18n.js";
import { drawRow } from "./row.js";

/**
 * @typedef {import("./dav.js").Entry} Entry
 * @typedef {import("./listing.js").Listing} Listing
 */

/** Rows that are drawn beyond the edge of the view. */
const OVERSCAN = 8;
/** Milliseconds between two letters of one word. */
const TYPE_AHEAD = 800;

/**
 * Sends `open` (detail: Entry), `select`, `menu` (detail: {entry, x, y}) and `up`.
 */
export class Table extends EventTarget {
  /** @type {Set<string>} hrefs */
  selected = new Set();
  /** @type {Map<number, HTMLElement>} the rows that are drawn, by index */
  #drawn = new Map();
  #cursor = 0;
  #anchor = 0;
  #typed = "";
  #typedAt = -Infinity;
  #frame = 0;

  /** @param {Listing} listing */
  constructor(listing) {
    super();
    this.listing = listing;
    this.body = el("div", { class: "body", role: "rowgroup" });
    this.head = el("div", { class: "head", role: "rowgroup" });
    this.note = el("div", { class: "note" });
    this.element = el("div", { class: "grid", role: "grid", tabindex: 0, id: "files" }, this.head, this.body);
    this.frame = el("div", { class: "frame" }, this.element, this.note);
    this.#listen();
    this.translate();
  }

  #listen() {
    this.element.addEventListener("scroll", () => this.#draw(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.body.addEventListener("click", (event) => this.#click(event));
    this.body.addEventListener("dblclick", (event) => this.#doubleClick(event));
    this.body.addEventListener("contextmenu", (event) => this.#menu(event));
    new ResizeObserver(() => this.#draw()).observe(this.element);
    this.listing.addEventListener("change", () => this.#changed());
    this.listing.addEventListener("done", () => this.#changed());
  }

  /** Draws all texts again. */
  translate() {
    this.element.setAttribute("aria-label", t("files"));
    this.#drawHead();
    this.refresh();
  }

  get rows() {
    return this.listing.rows;
  }

  /** @returns {Entry | undefined} */
  get current() {
    return this.rows[this.#cursor];
  }

  /** @returns {Entry[]} what is selected, in the order shown */
  get selection() {
    return this.rows.filter((entry) => this.selected.has(entry.href));
  }

  /** @returns {{top: number, href: string | undefined}} where the user is, to come back to */
  get place() {
    return { top: this.element.scrollTop, href: this.current?.href };
  }

  /** @param {{top?: number, href?: string}} place */
  goTo({ top = 0, href }) {
    const index = href ? this.rows.findIndex((entry) => entry.href === href) : -1;
    this.#cursor = this.#anchor = Math.max(0, index);
    this.element.scrollTop = top;
    if (index >= 0) this.#reveal(index);
    this.refresh();
  }

  /** Begins anew at the top. */
  reset() {
    this.selected.clear();
    this.goTo({});
    this.#told();
  }

  /** @param {Iterable<string>} hrefs */
  select(hrefs) {
    this.selected = new Set(hrefs);
    this.#mark();
    this.#told();
  }

  #told() {
    this.#drawHead();
    this.dispatchEvent(new Event("select"));
  }

  #changed() {
    if (this.selected.size > 0 && !this.listing.isLoading) {
      const there = new Set(this.rows.map((entry) => entry.href));
      this.selected = new Set([...this.selected].filter((href) => there.has(href)));
    }
    this.#cursor = Math.min(this.#cursor, Math.max(0, this.rows.length - 1));
    this.refresh();
    this.#told();
  }

  /** Draws all rows in sight again. */
  refresh() {
    for (const row of this.#drawn.values()) row.remove();
    this.#drawn.clear();
    this.#paint();
  }

  #draw() {
    this.#frame ||= requestAnimationFrame(() => this.#paint());
  }

  /** @returns {number} pixels of a row: the styles say */
  get #height() {
    return parseFloat(getComputedStyle(this.element).getPropertyValue("--row")) || 44;
  }

  #paint() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const height = this.#height;
    this.body.style.height = `${this.rows.length * height}px`;
    this.element.setAttribute("aria-rowcount", String(this.rows.length + 1));
    const first = Math.max(0, Math.floor(this.element.scrollTop / height) - OVERSCAN);
    const count = Math.ceil(this.element.clientHeight / height) + 2 * OVERSCAN;
    const last = Math.min(this.rows.length, first + count);
    for (const [index, row] of this.#drawn) {
      if (index < first || index >= last) {
        row.remove();
        this.#drawn.delete(index);
      }
    }
    for (let index = first; index < last; index++) {
      if (!this.#drawn.has(index)) this.#drawRow(index, height);
    }
    this.#drawCursor();
    this.#drawNote();
  }

  #drawHead() {
    /** @type {["name" | "size" | "time", string][]} */
    const columns = [["name", "name"], ["size", "size"], ["time", "modified"]];
    const isAll = this.rows.length > 0 && this.selected.size >= this.rows.length;
    const all = el("input", { type: "checkbox", tabindex: -1, "aria-label": t("selectAll"), on: { change: () => this.#selectAll(all.checked) } });
    all.checked = isAll;
    all.indeterminate = !isAll && this.selected.size > 0;
    const cells = columns.map(([key, label]) => {
      const isSorted = this.listing.sortKey === key;
      const order = this.listing.isDescending ? "descending" : "ascending";
      const sort = el("button", { type: "button", text: t(label), on: { click: () => this.#sort(key) } }, isSorted && icon("down"));
      return el("div", { class: `cell ${key}`, role: "columnheader", "aria-sort": isSorted ? order : "none" }, sort);
    });
    const row = el("div", { class: "row", role: "row", "aria-rowindex": 1 },
      el("div", { class: "cell check", role: "columnheader" }, all), ...cells,
      el("div", { class: "cell last", role: "columnheader" }, el("span", { class: "unseen", text: "⋯" })));
    const focused = this.head.contains(document.activeElement) ? document.activeElement?.textContent : null;
    this.head.replaceChildren(row);
    if (focused) [...this.head.querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
  }

  /** @param {"name" | "size" | "time"} key */
  #sort(key) {
    this.listing.sort(key);
    this.#drawHead();
  }

  /** @param {number} index @param {number} height */
  #drawRow(index, height) {
    const entry = this.rows[index];
    const row = drawRow(entry, { index, isSelected: this.selected.has(entry.href) });
    row.style.top = `${index * height}px`;
    this.#drawn.set(index, row);
    this.body.append(row);
  }

  /** Shows on the rows that are drawn whether they are selected. */
  #mark() {
    for (const [index, row] of this.#drawn) {
      const isSelected = this.selected.has(this.rows[index].href);
      row.setAttribute("aria-selected", String(isSelected));
      row.querySelector("input").checked = isSelected;
    }
  }

  #drawCursor() {
    for (const [index, row] of this.#drawn) row.classList.toggle("cursor", index === this.#cursor);
    const row = this.#drawn.get(this.#cursor);
    if (row) this.element.setAttribute("aria-activedescendant", row.id);
    else this.element.removeAttribute("aria-activedescendant");
  }

  #drawNote() {
    let texts = [];
    if (this.rows.length === 0) {
      if (this.listing.isLoading) texts = [t("loading")];
      else if (this.listing.filter.trim()) texts = [t("noMatch", { filter: this.listing.filter })];
      else texts = [t("empty"), t("emptyDrop")];
    }
    this.note.replaceChildren(...texts.map((text) => el("p", { text })));
    this.note.hidden = texts.length === 0;
  }

  /** @param {number} index */
  #reveal(index) {
    const height = this.#height;
    const head = this.head.offsetHeight;
    const [top, view] = [index * height, this.element.clientHeight - head];
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top + height > this.element.scrollTop + view) this.element.scrollTop = top + height - view;
  }

  // Selection

  /** @param {number} index @param {{toggle?: boolean, range?: boolean}} how */
  #choose(index, { toggle = false, range = false }) {
    if (range) {
      const [from, to] = [Math.min(index, this.#anchor), Math.max(index, this.#anchor)];
      const span = this.rows.slice(from, to + 1).map((entry) => entry.href);
      this.selected = new Set(toggle ? [...this.selected, ...span] : span);
    } else {
      const href = this.rows[index]?.href;
      if (href === undefined) return;
      if (!toggle) this.selected = new Set([href]);
      else if (!this.selected.delete(href)) this.selected.add(href);
      this.#anchor = index;
    }
    this.#moveTo(index);
    this.#mark();
    this.#told();
  }

  /** @param {boolean} isAll */
  #selectAll(isAll) {
    this.select(isAll ? this.rows.map((entry) => entry.href) : []);
  }

  /** @param {number} index */
  #moveTo(index) {
    this.#cursor = Math.max(0, Math.min(index, this.rows.length - 1));
    this.#reveal(this.#cursor);
    this.#paint();
  }

  // Mouse and touch

  /** @param {Event} event @returns {number} index of the row, -1 for none */
  #indexOf(event) {
    const row = event.target.closest(".row");
    return row instanceof HTMLElement ? Number(row.dataset.index) : -1;
  }

  /** @param {Event} event @returns {Entry | undefined} */
  entryAt(event) {
    return this.rows[this.#indexOf(event)];
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const index = this.#indexOf(event);
    const target = event.target;
    if (index < 0) return;
    const toggle = event.ctrlKey || event.metaKey;
    const range = event.shiftKey;
    if (target.closest(".check")) {
      this.#choose(index, { toggle: true, range });
    } else if (target.closest(".more")) {
      const box = target.closest(".more").getBoundingClientRect();
      this.#offerMenu(index, box.left, box.bottom);
    } else if (target.closest("a") && !toggle && !range) {
      this.#moveTo(index);
      this.#send("open", this.rows[index]);
    } else {
      this.#choose(index, { toggle, range });
    }
    // What a checkbox shows is already right; anything else would follow the link.
    if (!target.matches("input")) event.preventDefault();
    this.element.focus({ preventScroll: true });
  }

  /** @param {MouseEvent} event */
  #doubleClick(event) {
    const entry = this.entryAt(event);
    const target = event.target;
    if (entry && !target.closest("a, button, .check")) this.#send("open", entry);
  }

  /** @param {MouseEvent} event */
  #menu(event) {
    const index = this.#indexOf(event);
    if (index < 0) return;
    event.preventDefault();
    this.#offerMenu(index, event.clientX, event.clientY);
  }

  /** @param {number} index @param {number} x @param {number} y */
  #offerMenu(index, x, y) {
    const entry = this.rows[index];
    if (!this.selected.has(entry.href)) this.#choose(index, {});
    this.#send("menu", { entry, x, y });
  }

  /** @param {string} type @param {unknown} [detail] */
  #send(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // Keyboard

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.target !== this.element && event.key !== "Escape") return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.#height) - 1);
    /** @type {Record<string, number>} */
    const targets = {
      ArrowDown: this.#cursor + 1, ArrowUp: this.#cursor - 1, PageDown: this.#cursor + page,
      PageUp: this.#cursor - page, Home: 0, End: this.rows.length - 1,
    };
    const toggle = event.ctrlKey || event.metaKey;
    if (event.key in targets && !event.altKey) this.#step(targets[event.key], event.shiftKey, toggle);
    else if (event.key === "ArrowUp" && event.altKey) this.#send("up");
    else if (event.key === "Enter" && !event.altKey && this.current) this.#send("open", this.current);
    else if (event.key === "Backspace") this.#send("up");
    else if (event.key === "Escape") this.select([]);
    else if (event.key === " " && !this.#isTyping()) this.#choose(this.#cursor, { toggle: true });
    else if (toggle && event.key.toLowerCase() === "a") this.#selectAll(true);
    else if ((event.key === "ContextMenu" || (event.shiftKey && event.key === "F10")) && this.current) this.#menuByKey();
    else if (event.key.length === 1 && event.key !== "/" && !toggle && !event.altKey) this.#typeAhead(event.key);
    else return;
    event.preventDefault();
  }

  #menuByKey() {
    const box = this.#drawn.get(this.#cursor)?.getBoundingClientRect();
    if (box) this.#offerMenu(this.#cursor, box.left + 60, box.bottom - 4);
  }

  /** @param {number} index @param {boolean} range @param {boolean} toggle the cursor alone moves */
  #step(index, range, toggle) {
    const to = Math.max(0, Math.min(index, this.rows.length - 1));
    if (toggle && !range) this.#moveTo(to);
    else this.#choose(to, { range });
  }

  #isTyping() {
    return performance.now() - this.#typedAt < TYPE_AHEAD;
  }

  /** Goes to the next name that begins with what is typed. @param {string} letter */
  #typeAhead(letter) {
    this.#typed = this.#isTyping() ? this.#typed + letter : letter;
    this.#typedAt = performance.now();
    const from = this.#typed.length === 1 ? this.#cursor + 1 : this.#cursor;
    const length = this.#typed.length;
    for (let step = 0; step < this.rows.length; step++) {
      const index = (from + step) % this.rows.length;
      if (compareNames(this.rows[index].name.slice(0, length), this.#typed) === 0) {
        this.#choose(index, {});
        return;
      }
    }
  }
}
