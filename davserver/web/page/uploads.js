/** The queue of uploads: several at once, each with its progress; draws nothing. */

import { DavError, find, makeFolder } from "./dav.js";
import { childOf, freeName } from "./paths.js";
import { giveUp, send } from "./sending.js";

/**
 * @typedef {import("./dav.js").Entry} Entry
 * @typedef {"waiting" | "sending" | "asking" | "lost" | "paused" | "done" | "failed" | "canceled" | "skipped"} UploadState
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
  /** Href where the server has what was sent of it, "" where it has nothing. */
  place = "";
  /** @type {{name: string, existing: Entry | null} | null} the name it gets, and what has it now */
  chosen = null;
  /** The user said that `existing` is to be replaced. */
  isAgreed = false;
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
    giveUp(upload);
    this.#told();
  }

  /** @param {Upload} upload */
  pause(upload) {
    upload.state = "paused";
    upload.controller.abort();
    this.#told();
  }

  cancelAll() {
    for (const one of this.items) this.cancel(one);
  }

  /** Goes on after a pause, or tries once more. @param {Upload} upload */
  retry(upload) {
    upload.controller = new AbortController();
    if (upload.isOver) Object.assign(upload, { chosen: null, isAgreed: false });
    Object.assign(upload, { state: "waiting", error: null });
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
      await this.#persist(upload);
    } catch (error) {
      if (!upload.controller.signal.aborted) {
        upload.state = "failed";
        upload.error = error;
      }
    }
    if (upload.state === "done") this.#tellDone(upload.folder);
    this.#told();
  }

  /** Tries again after a lost connection, the more patiently the more came through. @param {Upload} upload */
  async #persist(upload) {
    let [attempt, reached] = [0, upload.sent];
    for (;;) {
      try {
        await this.#makeFolders(upload.folder, upload.path.slice(0, -1));
        await this.#place(upload);
        return;
      } catch (error) {
        if (upload.sent > reached) attempt = 0;
        reached = Math.max(reached, upload.sent);
        if (!isLost(error, upload) || attempt >= PATIENCE.length) throw error;
      }
      this.#made.clear();
      upload.state = "lost";
      this.#told();
      await pause(PATIENCE[attempt++], upload.controller.signal);
      upload.state = "sending";
    }
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
    upload.chosen ??= { name: wanted, existing: upload.file.size > LOOK_FIRST ? await find(childOf(folder, wanted)) : null };
    let isAgreed = upload.isAgreed;
    for (;;) {
      const { name, existing } = upload.chosen;
      if (existing && !isAgreed) {
        const choice = await this.#decide(upload, existing);
        if (upload.controller.signal.aborted) return;
        if (choice !== "replace") giveUp(upload);
        if (choice === "skip") {
          upload.state = "skipped";
          return;
        }
        if (choice === "keep") {
          tried.add(name);
          this.#keeps.add(upload);
          const free = freeName(wanted, (one) => tried.has(one));
          upload.chosen = { name: free, existing: await find(childOf(folder, free)) };
          continue;
        }
      }
      upload.isAgreed = existing !== null;
      upload.state = "sending";
      const href = childOf(folder, name);
      const condition = existing ? { "If-Match": existing.etag } : { "If-None-Match": "*" };
      if (await this.#send(upload, href, condition)) return;
      upload.chosen = { name, existing: await find(href) };
      upload.isAgreed = isAgreed = false;
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
   * @param {Record<string, string>} condition
   * @returns {Promise<boolean>} false where something is there that the condition excludes
   */
  async #send(upload, href, condition) {
    const error = await send(upload, href, condition, () => this.#told());
    if (error === null) upload.state = "done";
    else if (error.status !== 412 && error.status !== 405) throw error;
    return error === null;
  }
}

/** @param {unknown} error @param {Upload} upload @returns {boolean} another attempt may do */
function isLost(error, upload) {
  if (!(error instanceof DavError)) return false;
  // 409 of a piece: it does not begin where the last one ended, as somebody has to find out anew.
  return LOST.has(error.status) || (error.status === 409 && upload.place !== "");
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

/** @param {number} seconds @param {AbortSignal} signal also ends when the network is back */
function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    window.setTimeout(resolve, seconds * 1000);
    window.addEventListener("online", resolve, { once: true });
    signal.addEventListener("abort", () => reject(new DOMException("cancelled", "AbortError")), { once: true });
  });
}
