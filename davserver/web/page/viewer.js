/** Shows one file: image, PDF, sound, film, text, Markdown; text can be edited. */

import { confirm } from "./dialogs.js";
import { button, el, icon } from "./dom.js";
import { Editor } from "./editor.js";
import { explain, formatSize, t } from "./i18n.js";
import { iconOf, kindOf } from "./kinds.js";
import { renderMarkdown } from "./markdown.js";
import { TEXT_LIMIT, readText } from "./text.js";

/**
 * @typedef {import("./dav.js").Entry} Entry
 * @typedef {object} Page what the viewer needs of it
 * @property {() => Entry[]} files those to go through
 * @property {(entry: Entry) => boolean} mayWrite
 * @property {(entry: Entry) => void} view another one
 * @property {() => void} left
 * @property {(entry: Entry) => void} properties
 */

export class Viewer {
  /** @type {Entry | null} */
  entry = null;
  /** @type {Editor | null} */
  #editor = null;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.content = el("div", { class: "stage" });
    this.header = el("header", {});
    this.dialog = el("dialog", { class: "viewer", tabindex: -1 }, this.header, this.content);
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      void this.leave();
    });
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
    window.addEventListener("pagehide", () => this.#editor?.close());
    window.addEventListener("beforeunload", (event) => {
      if (this.#editor?.isChanged) event.preventDefault();
    });
  }

  /** @param {Entry} entry */
  show(entry) {
    if (!this.dialog.isConnected) document.body.append(this.dialog);
    this.entry = entry;
    this.draw();
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.focus();
    void this.#fill(entry);
  }

  /** What the user asks for: with unsaved changes there is a question first. */
  async leave() {
    if (await this.#mayGo()) this.page.left();
  }

  /** Closes it at once. */
  close() {
    this.#stopEditing();
    this.entry = null;
    this.content.replaceChildren();
    this.dialog.close();
    this.dialog.remove();
  }

  async #mayGo() {
    return !this.#editor?.isChanged || confirm(t("edit"), t("unsaved"), t("discard"));
  }

  #stopEditing() {
    void this.#editor?.close();
    this.#editor = null;
  }

  /** The bar: what can be done with it. */
  draw() {
    const entry = this.entry;
    const plain = { only: true, class: "plain" };
    const isText = ["text", "markdown"].includes(kindOf(entry)) && entry.size <= TEXT_LIMIT;
    const editing = this.#editor !== null;
    this.dialog.setAttribute("aria-label", entry.name);
    this.header.replaceChildren(...[
      el("h2", { dir: "auto", text: entry.name }),
      editing && button(t("save"), { class: "primary", on: () => this.#editor?.save() }),
      !editing && isText && this.page.mayWrite(entry) && button(t("edit"), { icon: "edit", on: () => this.#edit() }),
      el("a", { class: "button icon-only plain", href: entry.href, download: entry.name, "aria-label": t("download"), title: t("download") }, icon("download")),
      button(t("properties"), { icon: "info", ...plain, on: () => this.page.properties(entry) }),
      button(t("previous"), { icon: "left", ...plain, on: () => this.#step(-1) }),
      button(t("next"), { icon: "right", ...plain, on: () => this.#step(1) }),
      button(t("close"), { icon: "close", ...plain, on: () => this.leave() }),
    ].filter(Boolean));
  }

  /** @param {Entry} entry */
  async #fill(entry) {
    this.content.replaceChildren(el("p", { class: "note", text: t("loading") }));
    let nodes;
    try {
      nodes = await contentOf(entry);
    } catch (error) {
      nodes = [el("p", { class: "note", text: explain(error) })];
    }
    if (this.entry === entry && !this.#editor) this.content.replaceChildren(...nodes);
  }

  async #edit() {
    const entry = this.entry;
    const editor = new Editor(entry);
    try {
      await editor.open();
    } catch (error) {
      this.content.prepend(el("p", { class: "fault", role: "alert", text: explain(error) }));
      return;
    }
    if (this.entry !== entry) return void editor.close();
    this.#editor = editor;
    this.content.replaceChildren(editor.element);
    this.draw();
    editor.focus();
  }

  /** @param {number} by */
  async #step(by) {
    const files = this.page.files();
    const at = files.findIndex((one) => one.href === this.entry?.href);
    const next = files[(at + by + files.length) % files.length];
    if (!next || (this.#editor?.isChanged && !(await this.#mayGo()))) return;
    this.#stopEditing();
    this.entry = next;
    this.page.view(next);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const inside = event.target.closest("textarea, video, audio");
    if (inside || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowRight") void this.#step(1);
    else if (event.key === "ArrowLeft") void this.#step(-1);
  }
}

/** @param {Entry} entry @returns {Promise<HTMLElement[]>} */
async function contentOf(entry) {
  const { href, name } = entry;
  const kind = kindOf(entry);
  switch (kind) {
    case "image":
      return [el("img", { src: href, alt: name })];
    case "audio":
    case "video":
      return [el(kind, { src: href, controls: true, preload: "metadata", "aria-label": name })];
    case "pdf":
      return [el("iframe", { src: href, title: name })];
    case "text":
    case "markdown":
      return textOf(entry, kind === "markdown");
    default:
      return [el("div", { class: `note kind-${kind}` }, icon(iconOf(kind)), el("p", { text: t("noPreview") }))];
  }
}

/** @param {Entry} entry @param {boolean} isMarkdown */
async function textOf(entry, isMarkdown) {
  const { text, isCut } = await readText(entry);
  const note = isCut && el("p", { class: "note", text: t("tooLarge", { size: formatSize(TEXT_LIMIT) }) });
  const shown = isMarkdown
    ? el("article", { class: "paper markdown", tabindex: 0 }, renderMarkdown(text, entry.href))
    : el("pre", { class: "paper", tabindex: 0, text });
  return [note, shown].filter(Boolean);
}
