/** The queue of uploads: several at once, each with its progress; draws nothing. */

import { DavError, find, makeFolder } from "./dav.js";
import { childOf, freeName } from "./paths.js";

/**
 * @typedef {import("./dav.js").Entry} Entry
 * @typedef {"waiting" | "sending" | "asking" | "lost" | "done" | "failed" | "canceled" | "skipped"} UploadState
 * @typedef {{file: File | null, path: string[]}} Picked a file, or for null a folder, by its path
 *   below the folder that it is put into
 * @typedef {(upload: Upload, existing: Entry, count: number) => Promise<import("./dialogs.js").Verdict>} Ask
 */

const PARALLEL = 3;
/** A larger one is looked for first: its body would be on the way before a 412 is. */
const LOOK_FIRST = 1_000_000;
/** Seconds until each further attempt after a lost connection. */
const PATIENCE = [1, 2, 4, 8, 15];
const LOST = new Set([0, 502, 503, 504]);

/** One file on its way. */
export class Upload {
  /** @type {UploadState} */
  state = "waiting";
  sent = 0;
  /** @type {unknown} */
  error = null;
  /** @type {AbortController} */
  controller = new AbortController();

  /** @param {File} file @param {string} folder @param {string[]} path */
  constructor(file, folder, path) {
    this.file = file;
    this.folder = folder;
    this.path = path;
  }

  get name() {
    return this.path.join("/");
  }

  get isOver() {
    return ["done", "failed", "canceled", "skipped"].includes(this.state);
  }
}

/** Sends `change` when anything moved, `done` (detail: href of a folder) when one arrived there. */
export class Uploads extends EventTarget {
  /** @type {Upload[]} */
  items = [];
  #running = 0;
  /** @type {Map<string, Promise<void>>} folders being made, by href */
  #made = new Map();
  /** @type {Promise<unknown>} one question at a time */
  #question = Promise.resolve();
  /** @type {"replace" | "keep" | "skip" | null} */
  #settled = null;

  /** @param {Ask} ask */
  constructor(ask) {
    super();
    this.ask = ask;
  }

  get isBusy() {
    return this.items.some((one) => !one.isOver);
  }

  /** @param {Picked[]} picked @param {string} folder */
  add(picked, folder) {
    if (!this.isBusy) this.clear();
    for (const { file, path } of picked) {
      if (file) this.items.push(new Upload(file, folder, path));
      else this.#makeFolders(folder, path).then(() => this.#tellDone(folder), () => {});
    }
    this.#fill();
  }

  /** Forgets what is over. */
  clear() {
    this.items = this.items.filter((one) => !one.isOver);
    this.#made.clear();
    this.#settled = null;
    this.#told();
  }

  /** @param {Upload} upload */
  cancel(upload) {
    if (upload.isOver) return;
    upload.state = "canceled";
    upload.controller.abort();
    this.#told();
  }

  cancelAll() {
    for (const one of this.items) this.cancel(one);
  }

  /** @param {Upload} upload */
  retry(upload) {
    upload.controller = new AbortController();
    Object.assign(upload, { state: "waiting", sent: 0, error: null });
    this.#made.clear();
    this.#fill();
  }

  #told() {
    this.dispatchEvent(new Event("change"));
  }

  /** @param {string} folder */
  #tellDone(folder) {
    this.dispatchEvent(new CustomEvent("done", { detail: folder }));
  }

  #fill() {
    while (this.#running < PARALLEL) {
      const next = this.items.find((one) => one.state === "waiting");
      if (!next) break;
      next.state = "sending";
      this.#running++;
      void this.#run(next).finally(() => {
        this.#running--;
        this.#fill();
      });
    }
    this.#told();
  }

  /** @param {Upload} upload */
  async #run(upload) {
    try {
      await this.#makeFolders(upload.folder, upload.path.slice(0, -1));
      await this.#place(upload);
    } catch (error) {
      if (!upload.controller.signal.aborted) {
        upload.state = "failed";
        upload.error = error;
      }
    }
    if (upload.state === "done") this.#tellDone(upload.folder);
    this.#told();
  }

  /** @param {string} folder @param {string[]} path @returns {Promise<void>} */
  async #makeFolders(folder, path) {
    let href = folder;
    for (const name of path) {
      href = childOf(href, name, true);
      let made = this.#made.get(href);
      if (!made) {
        made = makeFolderUnlessThere(href);
        this.#made.set(href, made);
      }
      await made;
    }
  }

  /** Puts it where it belongs, and asks before anything is replaced. @param {Upload} upload */
  async #place(upload) {
    const folder = upload.path.slice(0, -1).reduce((href, name) => childOf(href, name, true), upload.folder);
    const wanted = upload.path.at(-1) ?? "";
    const tried = new Set();
    let name = wanted;
    /** @type {Entry | null} */
    let existing = upload.file.size > LOOK_FIRST ? await find(childOf(folder, name)) : null;
    for (;;) {
      const href = childOf(folder, name);
      let condition = { "If-None-Match": "*" };
      if (existing) {
        const choice = await this.#decide(upload, existing);
        if (upload.controller.signal.aborted) return;
        if (choice === "skip") {
          upload.state = "skipped";
          return;
        }
        if (choice === "keep") {
          tried.add(name);
          name = freeName(wanted, (one) => tried.has(one));
          existing = await find(childOf(folder, name));
          this.#keeps.add(upload);
          continue;
        }
        condition = { "If-Match": existing.etag };
      }
      upload.state = "sending";
      const isStored = await this.#send(upload, href, condition);
      if (isStored) return;
      existing = await find(href);
    }
  }

  /** @type {WeakSet<Upload>} those that get the next free name, whatever else is taken */
  #keeps = new WeakSet();

  /** @param {Upload} upload @param {Entry} existing @returns {Promise<"replace" | "keep" | "skip">} */
  async #decide(upload, existing) {
    if (this.#keeps.has(upload)) return "keep";
    upload.state = "asking";
    this.#told();
    const before = this.#question;
    const answer = before.then(async () => {
      if (upload.controller.signal.aborted) return "skip";
      if (this.#settled && !(existing.isFolder && this.#settled === "replace")) return this.#settled;
      const waiting = this.items.filter((one) => !one.isOver).length;
      const { choice, forAll } = await this.ask(upload, existing, waiting);
      if (forAll) this.#settled = choice;
      return choice;
    });
    this.#question = answer.catch(() => {});
    return answer;
  }

  /**
   * @param {Upload} upload
   * @param {string} href
   * @param {Record<string, string>} headers
   * @returns {Promise<boolean>} false where something is there that the condition excludes
   */
  async #send(upload, href, headers) {
    for (let attempt = 0; ; attempt++) {
      const error = await put(upload, href, headers, () => this.#told());
      if (error === null) {
        upload.state = "done";
        return true;
      }
      if (error.status === 412 || error.status === 405) return false;
      if (!LOST.has(error.status) || attempt >= PATIENCE.length) throw error;
      upload.state = "lost";
      this.#told();
      await pause(PATIENCE[attempt], upload.controller.signal);
      upload.state = "sending";
    }
  }
}

/** @param {string} href */
async function makeFolderUnlessThere(href) {
  try {
    await makeFolder(href);
  } catch (error) {
    // 405: "MKCOL can only be executed on an unmapped URL" (RFC 4918 section 9.3.1).
    if (!(error instanceof DavError) || error.status !== 405) throw error;
  }
}

/**
 * PUT with progress, which fetch does not tell.
 *
 * @param {Upload} upload
 * @param {string} href
 * @param {Record<string, string>} headers
 * @param {() => void} told
 * @returns {Promise<DavError | null>} Throws when it was cancelled.
 */
function put(upload, href, headers, told) {
  const { file, controller } = upload;
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open("PUT", href);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    // The file keeps its time.
    if (file.lastModified) xhr.setRequestHeader("X-OC-Mtime", String(Math.floor(file.lastModified / 1000)));
    xhr.upload.onprogress = (event) => {
      upload.sent = event.loaded;
      told();
    };
    xhr.onload = () => {
      const isStored = xhr.status >= 200 && xhr.status < 300;
      upload.sent = isStored ? file.size : 0;
      resolve(isStored ? null : new DavError(xhr.status));
    };
    xhr.onerror = () => resolve(new DavError(0));
    xhr.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    controller.signal.addEventListener("abort", () => xhr.abort());
    if (controller.signal.aborted) reject(new DOMException("cancelled", "AbortError"));
    else xhr.send(file);
  });
}

/** @param {number} seconds @param {AbortSignal} signal also ends when the network is back */
function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    window.setTimeout(resolve, seconds * 1000);
    window.addEventListener("online", resolve, { once: true });
    signal.addEventListener("abort", () => reject(new DOMException("cancelled", "AbortError")), { once: true });
  });
}
