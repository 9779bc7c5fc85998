/** The members of one collection: loaded as they come, sorted, filtered. Draws nothing. */

import { list } from "./dav.js";
import { compareNames } from "./i18n.js";

/**
 * @typedef {import("./dav.js").Entry} Entry
 * @typedef {"name" | "size" | "time"} SortKey
 * @typedef {(href: string, signal: AbortSignal) => AsyncGenerator<Entry[]>} Source
 */

/** Milliseconds between two looks at what has come in; longer where sorting takes longer. */
const PACE = 120;

/** Sends `change` whenever `rows` is another, `done` when all are there. */
export class Listing extends EventTarget {
  /** @type {Entry[]} sorted */
  #entries = [];
  /** @type {Entry[]} */
  rows = [];
  /** @type {SortKey} */
  sortKey = "name";
  isDescending = false;
  filter = "";
  isLoading = false;
  /** @type {AbortController | null} */
  #running = null;

  /** Number of members, whatever the filter. */
  get count() {
    return this.#entries.length;
  }

  /** @param {string} name @returns {boolean} */
  has(name) {
    const wanted = name.normalize();
    return this.#entries.some((entry) => entry.name.normalize() === wanted);
  }

  /**
   * Shows another collection, or the same one anew; what was being loaded is given up.
   *
   * @param {string} href
   * @param {{keep?: boolean, source?: Source}} [options] `keep`: the old rows stay until the new ones
   *   are there; `source`: what gives them, in place of the members
   */
  async load(href, { keep = false, source = list } = {}) {
    this.#running?.abort();
    const controller = new AbortController();
    this.#running = controller;
    this.isLoading = true;
    if (!keep) this.#show([]);
    try {
      await this.#read(source(href, controller.signal), controller.signal, keep);
    } catch (error) {
      if (controller.signal.aborted) return;
      this.isLoading = false;
      this.#show(this.#entries);
      throw error;
    }
    if (controller.signal.aborted) return;
    this.isLoading = false;
    this.dispatchEvent(new Event("done"));
  }

  /** @param {ReturnType<Source>} source @param {AbortSignal} signal @param {boolean} keep */
  async #read(source, signal, keep) {
    /** @type {Entry[]} */
    let found = [];
    let next = 0;
    for await (const batch of source) {
      for (const entry of batch) found.push(entry);
      const now = performance.now();
      if (keep || now < next) continue;
      found = this.#sorted(found); // runs that are in order cost little the next time
      this.#show(found);
      next = performance.now() + PACE + 4 * (performance.now() - now);
    }
    if (!signal.aborted) this.#show(this.#sorted(found));
  }

  /** @param {SortKey} key the same one again turns it round */
  sort(key) {
    this.isDescending = key === this.sortKey ? !this.isDescending : false;
    this.sortKey = key;
    this.#show(this.#sorted(this.#entries));
  }

  /** After a change of the language. */
  resort() {
    this.#show(this.#sorted(this.#entries));
  }

  /** @param {string} text */
  setFilter(text) {
    this.filter = text;
    this.#show(this.#entries);
  }

  /** @param {Entry[]} entries */
  #show(entries) {
    this.#entries = entries;
    const wanted = fold(this.filter.trim());
    this.rows = wanted ? entries.filter((entry) => fold(entry.name).includes(wanted)) : entries;
    this.dispatchEvent(new Event("change"));
  }

  /** @param {Entry[]} entries @returns {Entry[]} sorted, folders first */
  #sorted(entries) {
    const sign = this.isDescending ? -1 : 1;
    const key = this.sortKey;
    return entries.toSorted((a, b) => {
      if (a.isFolder !== b.isFolder) return a.isFolder ? -1 : 1;
      const order = key === "name" ? 0 : a[key] - b[key];
      return sign * (order || compareNames(a.name, b.name));
    });
  }
}

/** @param {string} text @returns {string} without case and accents */
export function fold(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}
