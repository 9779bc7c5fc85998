/** Shows the queue of uploads: one bar in all, one for each, speed and time left. */

import { button, el } from "./dom.js";
import { explain, formatDuration, formatNumber, formatSize, t } from "./i18n.js";

/**
 * @typedef {import("./uploads.js").Upload} Upload
 * @typedef {import("./uploads.js").Uploads} Uploads
 */

/** Rows at most: thousands of files are counted, not drawn. */
const SHOWN = 40;
/** Milliseconds between two looks at the queue. */
const PACE = 200;
/** Seconds that the speed is an average of. */
const SPAN = 5;

const ORDER = ["asking", "lost", "sending", "paused", "failed", "waiting", "done", "skipped", "canceled"];

export class UploadPanel {
  /** @type {Map<Upload, {row: HTMLElement, bar: HTMLProgressElement, note: HTMLElement, tools: HTMLElement, shown: string}>} */
  #rows = new Map();
  /** @type {{at: number, sent: number}[]} */
  #samples = [];
  #timer = 0;

  /** @param {Uploads} uploads */
  constructor(uploads) {
    this.uploads = uploads;
    this.title = el("h2", { id: "uploads-title" });
    this.note = el("p", { class: "note" });
    this.bar = el("progress", { max: 1, value: 0, "aria-labelledby": "uploads-title" });
    this.tools = el("div", { class: "tools" });
    this.list = el("ul", { class: "list", tabindex: 0 });
    this.element = el("section", { class: "uploads", "aria-labelledby": "uploads-title", hidden: true },
      el("header", {}, this.title, this.tools), this.bar, this.note, this.list);
    uploads.addEventListener("change", () => {
      this.#timer ||= window.setTimeout(() => this.draw(), PACE);
    });
  }

  draw() {
    this.#timer = 0;
    const { items } = this.uploads;
    this.element.hidden = items.length === 0;
    this.list.setAttribute("aria-label", t("uploads"));
    this.#drawSummary(items);
    const shown = pick(items);
    for (const [upload, { row }] of this.#rows) {
      if (shown.includes(upload)) continue;
      row.remove();
      this.#rows.delete(upload);
    }
    shown.forEach((upload, index) => this.#drawRow(upload, index));
  }

  /** @param {Upload[]} items */
  #drawSummary(items) {
    const count = (state) => items.filter((one) => one.state === state).length;
    const [done, failed] = [count("done"), count("failed")];
    const counted = items.filter((one) => one.state !== "canceled" && one.state !== "skipped");
    const all = counted.reduce((sum, one) => sum + one.file.size, 0);
    const sent = counted.reduce((sum, one) => sum + one.sent, 0);
    const isBusy = this.uploads.isBusy;
    this.title.textContent = isBusy ? t("uploading", { done: done + 1 > counted.length ? done : done + 1, all: counted.length }) : t("uploaded", { n: done });
    this.bar.value = all > 0 ? sent / all : Number(!isBusy);
    const notes = [`${formatSize(sent)} / ${formatSize(all)}`];
    if (isBusy) notes.push(...this.#pace(sent, all));
    if (failed > 0) notes.push(t("uploadFailed", { n: failed }));
    this.note.textContent = notes.join(" · ");
    const tools = [
      isBusy && button(t("cancelAll"), { icon: "close", only: true, class: "plain", on: () => this.uploads.cancelAll() }),
      !isBusy && failed > 0 && button(t("retryAll"), { icon: "retry", only: true, class: "plain", on: () => this.#retryAll() }),
      !isBusy && button(t("close"), { icon: "close", only: true, class: "plain", on: () => this.uploads.clear() }),
    ].filter(Boolean);
    const look = tools.map((one) => one.getAttribute("aria-label")).join();
    if (this.tools.dataset.look === look) return;
    this.tools.dataset.look = look;
    this.tools.replaceChildren(...tools);
  }

  #retryAll() {
    for (const one of this.uploads.items) if (one.state === "failed") this.uploads.retry(one);
  }

  /** @param {number} sent @param {number} all @returns {string[]} speed and time left */
  #pace(sent, all) {
    const now = performance.now() / 1000;
    this.#samples.push({ at: now, sent });
    // What is sent goes back where one starts anew.
    this.#samples = this.#samples.filter((one) => now - one.at <= SPAN && one.sent <= sent);
    const first = this.#samples[0];
    const seconds = now - first.at;
    if (seconds < 0.5 || sent <= first.sent) return [];
    const speed = (sent - first.sent) / seconds;
    return [t("speed", { size: formatSize(speed) }), t("timeLeft", { time: formatDuration((all - sent) / speed) })];
  }

  /** @param {Upload} upload @param {number} index */
  #drawRow(upload, index) {
    let drawn = this.#rows.get(upload);
    if (!drawn) {
      const bar = el("progress", { max: 1, value: 0, "aria-label": upload.name });
      const note = el("span", { class: "note" });
      const tools = el("span", { class: "tools" });
      const row = el("li", {}, el("span", { class: "label", dir: "auto", text: upload.name, title: upload.name }), tools, bar, note);
      drawn = { row, bar, note, tools, shown: "" };
      this.#rows.set(upload, drawn);
    }
    if (this.list.children[index] !== drawn.row) this.list.insertBefore(drawn.row, this.list.children[index] ?? null);
    drawn.bar.value = upload.state === "done" || upload.file.size === 0 ? Number(upload.state === "done") : upload.sent / upload.file.size;
    drawn.note.textContent = noteOf(upload);
    if (drawn.shown === upload.state) return;
    drawn.shown = upload.state;
    drawn.row.className = upload.state;
    drawn.tools.replaceChildren(...this.#toolsOf(upload));
  }

  /** @param {Upload} upload @returns {HTMLElement[]} */
  #toolsOf(upload) {
    const plain = { only: true, class: "plain small" };
    const cancel = button(t("cancel"), { icon: "close", ...plain, on: () => this.uploads.cancel(upload) });
    const pause = button(t("pause"), { icon: "pause", ...plain, on: () => this.uploads.pause(upload) });
    const resume = button(t("resume"), { icon: "play", ...plain, on: () => this.uploads.retry(upload) });
    if (upload.state === "paused") return [resume, cancel];
    if (upload.state === "sending") return [pause, cancel];
    if (!upload.isOver) return [cancel];
    const mayRetry = upload.state === "failed" || upload.state === "canceled";
    return mayRetry ? [button(t("retry"), { icon: "retry", ...plain, on: () => this.uploads.retry(upload) })] : [];
  }
}

/** @param {Upload[]} items @returns {Upload[]} the ones that matter most now */
function pick(items) {
  /** @type {Upload[]} */
  const found = [];
  for (const state of ORDER) {
    for (const one of items) {
      if (found.length >= SHOWN) return found;
      if (one.state === state) found.push(one);
    }
  }
  return found;
}

/** @param {Upload} upload @returns {string} */
function noteOf(upload) {
  const size = formatSize(upload.file.size);
  switch (upload.state) {
    case "sending":
      return `${formatNumber(Math.floor((100 * upload.sent) / (upload.file.size || 1)))} % · ${size}`;
    case "failed":
      return explain(upload.error);
    case "lost":
      return t("connectionLost");
    case "waiting":
    case "asking":
      return `${t("waiting")} · ${size}`;
    case "done":
      return size;
    default:
      return t(upload.state);
  }
}
