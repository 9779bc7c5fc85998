/** The page: which folder is shown, the bars around the table, and what a key or a click starts. */

import { Actions, above } from "./actions.js";
import { DavError, describe, describeFolder } from "./dav.js";
import { askConflict, toast } from "./dialogs.js";
import { el } from "./dom.js";
import { chosen, enableDropping, picked } from "./dropping.js";
import { drawHeader } from "./header.js";
import { currentLanguage, explain, formatSize, setLanguage, t } from "./i18n.js";
import { Listing } from "./listing.js";
import { ROOT, asFolder, decodeName, encodeName, nameOf, parentOf } from "./paths.js";
import { Table } from "./table.js";
import { applyTheme } from "./theme.js";
import { Toolbar, offerMenu } from "./toolbar.js";
import { UploadPanel } from "./uploadpanel.js";
import { Uploads } from "./uploads.js";

/** @typedef {import("./dav.js").Entry} Entry */

/** Begins the fragment that names the file which is shown. */
const VIEW = "#view=";

/** Members of a selection whose rights are asked for; with more, the answer to the deed tells. */
const ASKED = 10;

class Page {
  folder = asFolder(location.pathname);
  /** @type {import("./dav.js").Folder} */
  rights = { mayWrite: false, user: "", available: null };
  #described = new AbortController();
  /** @type {import("./viewer.js").Viewer | undefined} */
  viewer;
  /** What is looked for below the folder, "" for nothing. */
  searched = "";
  /** @type {import("./listing.js").Source | undefined} what finds it */
  source;
  /** @type {import("./session.js").Session} */
  session = { name: null, form: false, session: false };
  /** A timer: the folder is read again once uploads pause for a while. */
  #reloading = 0;
  /** A timer: see `#selected`. */
  #asking = 0;

  constructor() {
    this.listing = new Listing();
    this.table = new Table(this.listing);
    this.actions = new Actions(this);
    this.uploads = new Uploads((upload, existing, count) =>
      askConflict(upload.name, existing, { size: upload.file.size, time: upload.file.lastModified },
        { mayReplace: !existing.isFolder, isOne: count <= 1 }));
    this.panel = new UploadPanel(this.uploads);
    this.header = el("header", { class: "top" });
    this.title = el("h1", { class: "unseen" });
    this.toolbar = new Toolbar(this);
    this.status = el("p", { class: "status", role: "status" });
    this.#listen();
    const skip = el("a", { class: "skip", href: "#files", text: t("skip") });
    document.body.append(skip, this.header, el("main", {}, this.title, this.toolbar.element, this.table.frame, this.status), this.panel.element);
    this.draw();
    void this.show(this.folder, {});
    void this.#lookWhoAsks();
    this.actions.followKept();
  }

  #listen() {
    const { table, listing } = this;
    table.addEventListener("open", (event) => this.open(event.detail));
    table.addEventListener("up", () => this.go(parentOf(this.folder)));
    table.addEventListener("select", () => this.#selected());
    table.addEventListener("menu", (event) => offerMenu(this, event.detail));
    listing.addEventListener("change", () => this.#drawStatus());
    listing.addEventListener("done", () => this.#drawStatus());
    this.uploads.addEventListener("done", (event) => this.#arrived(event.detail));
    window.addEventListener("popstate", (event) => this.#back(event.state));
    window.addEventListener("beforeunload", (event) => {
      if (this.uploads.isBusy) event.preventDefault();
    });
    document.addEventListener("keydown", (event) => this.#key(event));
    enableDropping({
      dragged: () => (this.rights.mayWrite ? table.selection : []),
      target: (event) => this.#dropTarget(event),
      refuse: () => toast(t(this.#whyNoDrop()), { isError: true }),
      upload: async (data, href) => this.uploads.add(await picked(data), href),
      transfer: (method, entries, href) => this.actions.transfer(method, entries, href),
    });
  }

  // What is shown

  /** @param {string} href @param {{top?: number, href?: string}} place where to be in it */
  async show(href, place) {
    this.folder = href;
    this.searched = "";
    this.listing.filter = "";
    this.table.element.ariaBusy = "true";
    this.table.reset();
    this.draw();
    this.title.textContent = nameOf(href) || location.host;
    document.title = `${this.title.textContent} · davserver`;
    const described = this.#describe();
    try {
      await this.listing.load(href);
      if (this.folder === href) this.table.goTo(place);
    } catch (error) {
      if (this.folder !== href) return;
      if (error instanceof DavError && error.status === 401) return void this.#signIn();
      toast(explain(error), { isError: true });
      if (error instanceof DavError && error.status === 404 && href !== ROOT) this.go(above(href), true);
    }
    if (this.folder !== href) return;
    this.table.element.focus({ preventScroll: true });
    void this.#followView();
    await described; // until then nothing can be dropped here
    if (this.folder === href && !this.searched) this.table.element.ariaBusy = "false";
  }

  async #lookWhoAsks() {
    const { currentSession } = await import("./session.js");
    this.session = await currentSession();
    this.draw();
  }

  async #signIn() {
    const { signIn } = await import("./session.js");
    if (!(await signIn())) return;
    void this.#lookWhoAsks();
    void this.show(this.folder, {});
  }

  async #signOut() {
    const { signOut } = await import("./session.js");
    await signOut();
  }

  /** Shows what has a text in its name, here and below; "" shows the folder again. @param {string} text */
  async search(text) {
    if (!text) return this.show(this.folder, {});
    const { search } = await import("./searching.js");
    this.searched = text;
    this.listing.filter = "";
    this.table.reset();
    this.draw();
    this.table.element.ariaBusy = "true";
    this.source = (href, signal) => search(href, text, signal);
    try {
      await this.listing.load(this.folder, { source: this.source });
    } catch (error) {
      toast(explain(error), { isError: true });
    }
    if (this.searched === text) this.table.element.ariaBusy = "false";
    return undefined;
  }

  async #describe() {
    this.#described.abort();
    this.#described = new AbortController();
    const { signal } = this.#described;
    try {
      this.rights = await describeFolder(this.folder, signal);
    } catch {
      return; // the listing tells what is wrong
    }
    if (!signal.aborted) this.draw();
  }

  /** What one may do to the members that are chosen is asked when somebody stays with them. */
  #selected() {
    this.toolbar.draw();
    window.clearTimeout(this.#asking);
    const { selection } = this.table;
    if (selection.length === 0 || selection.length > ASKED) return;
    this.#asking = window.setTimeout(async () => {
      await this.#askRights(selection);
      this.toolbar.draw();
    }, 200);
  }

  /** @param {Entry[]} entries */
  async #askRights(entries) {
    for (const entry of entries.filter((one) => one.mayWrite === undefined)) {
      entry.mayWrite = (await describe(entry.href).catch(() => null))?.mayWrite;
    }
  }

  /** @param {string} [name] the cursor goes there */
  async reload(name) {
    const { folder } = this;
    const place = this.table.place;
    try {
      await this.listing.load(folder, { keep: true, source: this.searched ? this.source : undefined });
    } catch (error) {
      toast(explain(error), { isError: true });
      return;
    }
    if (this.folder !== folder) return;
    const found = name === undefined ? undefined : this.listing.rows.find((one) => one.name === name);
    this.table.goTo({ top: place.top, href: found?.href ?? place.href });
    if (found) this.table.select([found.href]);
    void this.#describe();
  }

  /** @param {string} name */
  isTaken = (name) => this.listing.has(name);

  /** Something was uploaded into a folder. @param {string} folder */
  #arrived(folder) {
    if (folder !== this.folder) return;
    window.clearTimeout(this.#reloading);
    this.#reloading = window.setTimeout(() => this.reload(), this.uploads.isBusy ? 1500 : 100);
  }

  // Where one goes

  /** @param {string} href @param {boolean} [isInstead] the place that is left is forgotten */
  go(href, isInstead = false) {
    const from = this.folder;
    if (href === from) return;
    history.replaceState({ place: this.table.place }, "");
    history[isInstead ? "replaceState" : "pushState"](null, "", href);
    void this.show(href, { href: parentOf(from) === href ? from : undefined });
  }

  /** @param {{place?: {top: number, href?: string}} | null} state */
  #back(state) {
    const href = asFolder(location.pathname);
    if (href !== this.folder) void this.show(href, state?.place ?? {});
    else void this.#followView();
  }

  /** @param {Entry} entry */
  open(entry) {
    if (entry.isFolder) return this.go(entry.href);
    if (entry.where) {
      const folder = parentOf(entry.href);
      history.pushState(null, "", folder + VIEW + encodeName(entry.name));
      return this.show(folder, { href: entry.href });
    }
    history.replaceState({ place: this.table.place }, "");
    history.pushState({ isView: true }, "", VIEW + encodeName(entry.name));
    return this.#view(entry);
  }

  /** Shows the file that the address names, if any; else the folder alone. */
  #followView() {
    const name = location.hash.startsWith(VIEW) ? decodeName(location.hash.slice(VIEW.length)) : null;
    const entry = name === null ? undefined : this.listing.rows.find((one) => one.name === name && !one.isFolder);
    if (entry) return this.#view(entry);
    if (this.viewer?.entry) this.viewer.close();
    return undefined;
  }

  // What is not always needed is loaded when it is.

  /** @param {Entry} entry */
  async #view(entry) {
    const { Viewer } = await import("./viewer.js");
    this.viewer ??= new Viewer({
      files: () => this.listing.rows.filter((one) => !one.isFolder),
      mayWrite: (one) => one.mayWrite ?? this.rights.mayWrite,
      view: (next) => {
        history.replaceState(history.state, "", VIEW + encodeName(next.name));
        void this.#view(next);
      },
      left: () => this.#leaveView(),
      properties: (one) => this.showProperties(one),
    });
    this.table.goTo({ top: this.table.place.top, href: entry.href });
    this.viewer.show(entry);
    await this.#askRights([entry]);
    if (this.viewer.entry === entry) this.viewer.draw();
  }

  #leaveView() {
    if (history.state?.isView) return history.back();
    history.replaceState(null, "", this.folder);
    return this.#followView();
  }

  /** @param {Entry} entry */
  async showProperties(entry) {
    await (await import("./properties.js")).showProperties(entry);
  }

  /** @param {string} href */
  async connect(href) {
    await (await import("./connect.js")).showConnect(href);
  }

  // Bars

  draw() {
    document.documentElement.lang = currentLanguage();
    this.#drawHeader();
    this.toolbar.draw();
    this.#drawStatus();
  }

  #drawHeader() {
    this.header.replaceChildren(...drawHeader({
      folder: this.folder,
      user: this.rights.user,
      session: this.session,
      signIn: () => this.#signIn(),
      signOut: () => this.#signOut(),
      go: (href) => this.go(href),
      translate: (language) => this.#translate(language),
      connect: () => this.connect(this.folder),
    }));
  }

  /** @param {string} language */
  #translate(language) {
    setLanguage(language);
    this.listing.resort();
    this.table.translate();
    this.panel.draw();
    this.draw();
    this.header.querySelector("select").focus();
  }

  #drawStatus() {
    const { listing } = this;
    const { length } = listing.rows;
    const counted = this.searched ? t("found", { n: length, text: this.searched }) : listing.filter.trim() ? t("matches", { n: length, all: listing.count }) : t("items", { n: length });
    const { available, mayWrite } = this.rights;
    const room = available === null ? "" : t("free", { size: formatSize(available) });
    const parts = [listing.isLoading ? `${counted} · ${t("loading")}` : counted, mayWrite ? room : t("readOnly")];
    this.status.textContent = parts.filter(Boolean).join(" · ");
  }

  // What is offered

  /** @param {boolean} isFolder */
  chooseFiles(isFolder) {
    const input = el("input", { type: "file", multiple: true, webkitdirectory: isFolder, hidden: true });
    const { folder } = this;
    input.addEventListener("change", () => {
      this.uploads.add(chosen(input.files), folder);
      input.remove();
    });
    document.body.append(input);
    input.click();
  }

  /** @param {"COPY" | "MOVE"} method */
  hold(method) {
    this.actions.hold(method, this.table.selection);
    this.toolbar.draw();
  }

  paste = async () => {
    await this.actions.paste();
    this.toolbar.draw();
  };

  /** @param {DragEvent} event */
  #dropTarget(event) {
    const node = event.target;
    const crumb = node.closest?.(".crumbs a");
    if (crumb instanceof HTMLAnchorElement) return { href: crumb.pathname, node: crumb };
    if (!this.rights.mayWrite || document.querySelector("dialog[open]")) return null;
    const entry = this.table.frame.contains(node) ? this.table.entryAt(event) : undefined;
    if (entry?.isFolder) return { href: entry.href, node: node.closest(".row") };
    return { href: this.folder, node: this.table.frame };
  }

  #whyNoDrop() {
    if (document.querySelector("dialog[open]")) return "dropInDialog";
    return this.table.element.ariaBusy === "true" ? "dropTooEarly" : "dropReadOnly";
  }

  /** Keys that mean the same wherever the focus is, but in a field. @param {KeyboardEvent} event */
  #key(event) {
    const target = event.target;
    if (target.closest("input, textarea, select, dialog, .menu") && !target.matches("[type=checkbox]")) return;
    const { selection, current } = this.table;
    const chosen = selection.length > 0 ? selection : [current].filter((one) => one !== undefined);
    const write = this.rights.mayWrite;
    const mayRemove = write && chosen.every((one) => one.mayWrite !== false);
    const command = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    if (key === "/" && !command) this.toolbar.filter.focus();
    else if (key === "delete" && mayRemove) void this.actions.remove(chosen);
    else if (key === "enter" && event.altKey && chosen.length === 1) void this.showProperties(chosen[0]);
    else if (key === "f2" && mayRemove && chosen.length === 1) void this.actions.rename(chosen[0]);
    else if (command && key === "c" && !String(getSelection())) this.actions.hold("COPY", chosen);
    else if (command && key === "x" && mayRemove) this.actions.hold("MOVE", chosen);
    else if (command && key === "v" && write) void this.paste();
    else return;
    event.preventDefault();
    this.toolbar.draw();
  }
}

applyTheme();
// Which way one has signed in is no part of the address.
if (location.search) history.replaceState(history.state, "", location.pathname + location.hash);
new Page();
