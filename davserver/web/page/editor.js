/** Edits text: under a lock, and saved only onto the version that was read. */

import { DavError, Lock, request } from "./dav.js";
import { el } from "./dom.js";
import { explain, t } from "./i18n.js";
import { readText } from "./text.js";

export class Editor {
  /** @type {Lock | null} */
  #lock = null;
  #etag = "";
  #saved = "";
  #lineEnd = "\n";

  /** @param {import("./dav.js").Entry} entry */
  constructor(entry) {
    this.entry = entry;
    this.field = el("textarea", { class: "paper", spellcheck: "false", "aria-label": entry.name });
    this.note = el("p", { class: "note", role: "status" });
    this.element = el("div", { class: "editor" }, this.field, this.note);
    this.field.addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.key !== "s") return;
      event.preventDefault();
      void this.save();
    });
  }

  get isChanged() {
    return this.field.value !== this.#saved;
  }

  focus() {
    this.field.focus();
    this.field.setSelectionRange(0, 0);
  }

  /** Locks and reads it. Throws what hinders: somebody else's lock (423), say. */
  async open() {
    this.#lock = await Lock.take(this.entry.href);
    try {
      const { text, etag } = await readText(this.entry);
      this.#etag = etag;
      // A field has one kind of line end; the file keeps its own.
      this.#lineEnd = text.includes("\r\n") ? "\r\n" : "\n";
      this.field.value = text;
      this.#saved = this.field.value;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async save() {
    const value = this.field.value;
    const headers = { If: this.#lock?.condition ?? "", "If-Match": this.#etag };
    try {
      const response = await request("PUT", this.entry.href, { headers, body: value.replaceAll("\n", this.#lineEnd) });
      this.#etag = response.headers.get("ETag") ?? "";
      this.#saved = value;
      this.note.textContent = t("saved");
    } catch (error) {
      const isChanged = error instanceof DavError && error.status === 412;
      this.note.textContent = isChanged ? t("changedMeanwhile") : explain(error);
    }
    this.note.classList.toggle("fault", this.isChanged);
  }

  /** Gives the lock back. */
  async close() {
    const lock = this.#lock;
    this.#lock = null;
    await lock?.release();
  }
}
