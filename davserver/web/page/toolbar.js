/** What can be done with what is selected, or with the folder: the bar above the table, the menus. */

import { button, el } from "./dom.js";
import { t } from "./i18n.js";
import { openMenu } from "./menu.js";

/**
 * @typedef {import("./dav.js").Entry} Entry
 * @typedef {object} Page what the offers need of it
 * @property {import("./actions.js").Actions} actions
 * @property {import("./listing.js").Listing} listing
 * @property {import("./table.js").Table} table
 * @property {import("./dav.js").Folder} rights what one may not do is not offered
 * @property {(entry: Entry) => void} open
 * @property {(isFolder: boolean) => void} chooseFiles
 * @property {(method: "COPY" | "MOVE") => void} hold
 * @property {() => void} paste
 * @property {string} searched what is looked for below the folder, "" for nothing
 * @property {(text: string) => void} search
 * @property {(entry: Entry) => void} showProperties
 * @property {(href: string) => void} connect
 */

export class Toolbar {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.tools = el("div", { class: "tools" });
    this.filter = this.#filterField();
    this.below = el("div", { class: "tools end" });
    this.element = el("div", { class: "bar", role: "toolbar" }, this.tools, this.filter, this.below);
  }

  draw() {
    const { table, listing } = this.page;
    const { selection } = table;
    this.element.setAttribute("aria-label", t("files"));
    this.filter.setAttribute("aria-label", t("filter"));
    this.filter.setAttribute("placeholder", t("filter"));
    const { searched } = this.page;
    if (!searched && this.filter.value !== listing.filter) this.filter.value = listing.filter;
    this.below.replaceChildren(searched
      ? button(t("searchEnd"), { icon: "close", only: true, on: () => this.page.search("") })
      : button(t("searchBelow"), { icon: "search", only: true, on: () => this.#search() }));
    const offered = selection.length > 0 ? this.#forSelection(selection) : this.#forFolder();
    this.tools.replaceChildren(...offered.filter(Boolean));
  }

  #filterField() {
    const field = el("input", { type: "search", class: "filter", autocomplete: "off", spellcheck: "false" });
    const set = (text) => {
      if (this.page.searched) this.page.search("");
      this.page.listing.setFilter(text);
      this.page.table.element.scrollTop = 0;
    };
    field.addEventListener("input", () => set(field.value));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") set("");
      if (event.key === "Enter" && event.shiftKey) return this.#search();
      if (["Escape", "ArrowDown", "Enter"].includes(event.key)) this.page.table.element.focus();
    });
    return field;
  }

  /** What is in the field is looked for below, too. */
  #search() {
    if (this.filter.value.trim()) this.page.search(this.filter.value);
    else this.filter.focus();
  }

  #forFolder() {
    const { page } = this;
    if (!page.rights.mayWrite) return [];
    return [
      button(t("upload"), { icon: "upload", class: "primary", "aria-haspopup": "menu", on: () => this.#offerUpload() }),
      button(t("newFolder"), { icon: "newfolder", class: "wide", on: () => page.actions.newFolder() }),
      page.actions.held && button(t("paste"), { icon: "paste", class: "wide", on: page.paste }),
    ];
  }

  /** @param {Entry[]} selection */
  #forSelection(selection) {
    const clear = button(t("clear"), { icon: "close", only: true, on: () => this.page.table.select([]) });
    const count = el("span", { class: "count", text: t("selected", { n: selection.length }) });
    const offers = offersFor(this.page, selection).filter((one) => one.inBar);
    return [clear, count, ...offers.map((one) => button(one.label, { icon: one.icon, class: "wide", title: one.label, on: one.on }))];
  }

  #offerUpload() {
    const box = this.element.getBoundingClientRect();
    openMenu(t("upload"), [
      { label: t("uploadFiles"), icon: "file", on: () => this.page.chooseFiles(false) },
      { label: t("uploadFolder"), icon: "folder", on: () => this.page.chooseFiles(true) },
    ], box.left + 8, box.bottom);
  }
}

/** @param {Page} page @param {{entry: Entry, x: number, y: number}} at */
export function offerMenu(page, { entry, x, y }) {
  openMenu(t("more", { name: entry.name }), offersFor(page, page.table.selection), x, y);
}

/**
 * @typedef {import("./menu.js").Item & {inBar?: boolean}} Offer `inBar`: also in the bar
 *
 * @param {Page} page
 * @param {Entry[]} selection
 * @returns {Offer[]}
 */
function offersFor(page, selection) {
  const { actions } = page;
  const [entry] = selection;
  const isOne = selection.length === 1;
  // To rename or remove a member takes the right to it, and to the collection that it is in.
  const write = page.rights.mayWrite && selection.every((one) => one.mayWrite !== false);
  const offers = [
    isOne && { label: t("open"), icon: entry.isFolder ? "folder" : "file", key: "↵", on: () => page.open(entry) },
    { label: t("download"), icon: "download", inBar: true, on: () => void actions.download(selection) },
    write && isOne && { label: t("rename"), icon: "edit", key: "F2", inBar: true, on: () => actions.rename(entry) },
    { label: t("copy"), icon: "copy", key: "Ctrl C", on: () => page.hold("COPY") },
    write && { label: t("cut"), icon: "cut", key: "Ctrl X", on: () => page.hold("MOVE") },
    { label: t("copyTo"), icon: "copy", inBar: true, on: () => actions.transferTo("COPY", selection) },
    write && { label: t("moveTo"), icon: "move", inBar: true, on: () => actions.transferTo("MOVE", selection) },
    write && { label: t("delete"), icon: "trash", key: "⌦", kind: "danger", inBar: true, on: () => actions.remove(selection) },
    isOne && entry.isFolder && { label: t("connect"), icon: "connect", on: () => page.connect(entry.href) },
    isOne && { label: t("properties"), icon: "info", key: "Alt ↵", inBar: true, on: () => page.showProperties(entry) },
  ];
  return offers.filter(Boolean);
}
