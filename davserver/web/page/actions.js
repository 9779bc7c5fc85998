/** What is done to the members that are selected: make, rename, move, copy, delete, download. */

import { askConflict, askName, chooseFolder, confirm, tellFailures, toast } from "./dialogs.js";
import { DavError, complete, find, makeFolder, remove, transfer } from "./dav.js";
import { explain, explainStatus, formatNumber, t } from "./i18n.js";
import { followJob, keptJobs } from "./jobs.js";
import { asFolder, childOf, covers, decodeName, freeName, nameOf, parentOf, segments } from "./paths.js";

/**
 * @typedef {import("./dav.js").Entry} Entry
 * @typedef {{method: "COPY" | "MOVE", entries: Entry[]}} Clipboard
 * @typedef {object} View what the actions need of the page
 * @property {string} folder href of what is shown
 * @property {(name: string) => boolean} isTaken
 * @property {(name?: string) => Promise<void>} reload then the cursor goes to that name
 */

const CLIPBOARD = "davserver.clipboard";

export class Actions {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
  }

  async newFolder() {
    const name = await askName({
      title: t("newFolder"), label: t("newFolderName"), ok: t("create"), isTaken: this.view.isTaken,
    });
    if (name === null) return;
    await this.#once(() => makeFolder(childOf(this.view.folder, name, true)), name);
  }

  /** @param {Entry} entry */
  async rename(entry) {
    const name = await askName({
      title: t("rename"), label: t("renameTo", { name: entry.name }), ok: t("rename"),
      value: entry.name, isTaken: this.view.isTaken,
    });
    if (name === null || name === entry.name) return;
    await this.#once(() => transfer("MOVE", entry.href, childOf(this.view.folder, name, entry.isFolder)), name);
  }

  /** @param {() => Promise<void>} step @param {string} name */
  async #once(step, name) {
    try {
      await step();
    } catch (error) {
      await this.#tell(failuresOf(error, name));
    }
    await this.view.reload(name);
  }

  /** @param {Entry[]} entries */
  async remove(entries) {
    if (entries.length === 0) return;
    const title = t("deleteAsk", { n: entries.length, name: entries[0].name });
    if (!(await confirm(title, t("deleteForGood"), t("delete")))) return;
    await this.#each(entries, (entry, watch) => remove(entry.href, watch));
  }

  /** @param {"COPY" | "MOVE"} method @param {Entry[]} entries */
  async transferTo(method, entries) {
    const isCopy = method === "COPY";
    const target = await chooseFolder({
      title: t(isCopy ? "copyTo" : "moveTo"), ok: t(isCopy ? "copyHere" : "moveHere"),
      start: this.view.folder, moving: entries,
    });
    if (target !== null) await this.transfer(method, entries, target);
  }

  /** @param {"COPY" | "MOVE"} method @param {Entry[]} entries @param {string} folder */
  async transfer(method, entries, folder) {
    const decide = rememberVerdict(entries.length === 1);
    const isHere = (entry) => parentOf(entry.href) === folder;
    await this.#each(
      entries.filter((entry) => method === "COPY" || !isHere(entry)),
      (entry, watch) => place(method, entry, folder, { decide, watch, isBeside: isHere(entry) }),
    );
  }

  /** Keeps them for `paste`, in other tabs as well. @param {"COPY" | "MOVE"} method @param {Entry[]} entries */
  hold(method, entries) {
    if (entries.length === 0) return;
    localStorage.setItem(CLIPBOARD, JSON.stringify({ method, entries }));
    toast(t("copied", { n: entries.length }));
  }

  /** @returns {Clipboard | null} */
  get held() {
    try {
      return JSON.parse(localStorage.getItem(CLIPBOARD) ?? "null");
    } catch {
      return null;
    }
  }

  async paste() {
    const { held } = this;
    if (!held) return;
    if (held.method === "MOVE") localStorage.removeItem(CLIPBOARD);
    await this.transfer(held.method, held.entries, this.view.folder);
  }

  /** @param {Entry[]} entries */
  async download(entries) {
    (await import("./archives.js")).download(entries);
  }

  /**
   * One after the other, with what failed told at the end.
   *
   * @param {Entry[]} entries
   * @param {(entry: Entry, watch: import("./dav.js").Watch) => Promise<void>} step
   */
  async #each(entries, step) {
    const controller = new AbortController();
    const action = { label: t("cancel"), on: () => controller.abort() };
    const progress = toast(t("working"), { stays: true, action });
    const failures = [];
    let done = 0;
    const onProgress = (members, all) => progress.update(workText(entries.length, done, members, all));
    for (const entry of entries) {
      if (controller.signal.aborted) break;
      try {
        await step(entry, { signal: controller.signal, onProgress });
      } catch (error) {
        if (controller.signal.aborted) break;
        failures.push(...failuresOf(error, entry.name));
      }
      done++;
      onProgress(0, null);
    }
    progress.close();
    await this.view.reload();
    await this.#tell(failures);
  }

  /** Goes on to tell of what was going on when the page was left. */
  followKept() {
    for (const job of keptJobs()) {
      const controller = new AbortController();
      const action = { label: t("cancel"), on: () => controller.abort() };
      const progress = toast(`${job.label}: ${t("working")}`, { stays: true, action });
      const onProgress = (members, all) => progress.update(`${job.label}: ${workText(1, 0, members, all)}`);
      followJob(job, { signal: controller.signal, onProgress })
        .then(complete)
        .catch((error) => controller.signal.aborted || this.#tell(failuresOf(error, job.label)))
        .finally(() => {
          progress.close();
          void this.view.reload();
        });
    }
  }

  /** @param {{name: string, reason: string}[]} failures */
  async #tell(failures) {
    if (failures.length > 0) await tellFailures(failures);
  }
}

/**
 * @param {number} count of what was chosen
 * @param {number} done of them
 * @param {number} members of the one that is being worked on
 * @param {number | null} all that it has
 */
function workText(count, done, members, all) {
  const outer = count > 1 ? ` ${formatNumber(done)} / ${formatNumber(count)}` : "";
  const inner = members ? ` (${formatNumber(members)}${all ? ` / ${formatNumber(all)}` : ""})` : "";
  return t("working") + outer + inner;
}

/** @param {unknown} error @param {string} name @returns {{name: string, reason: string}[]} */
function failuresOf(error, name) {
  if (!(error instanceof DavError) || error.failures.length === 0) return [{ name, reason: explain(error) }];
  return error.failures.map((one) => ({
    name: segments(one.href).map(decodeName).join("/"),
    reason: explainStatus(one.status),
  }));
}

/**
 * @typedef {(name: string, existing: Entry, incoming: Entry) => Promise<"replace" | "keep" | "skip">} Decide
 *
 * @param {boolean} isOne
 * @returns {Decide} asks, until the answer is for all
 */
function rememberVerdict(isOne) {
  /** @type {"replace" | "keep" | "skip" | null} */
  let settled = null;
  return async (name, existing, incoming) => {
    if (settled) return settled;
    const verdict = await askConflict(name, existing, incoming, { isOne });
    if (verdict.forAll) settled = verdict.choice;
    return verdict.choice;
  };
}

/**
 * Puts one into a folder; never over something that the user was not asked about.
 *
 * @param {"COPY" | "MOVE"} method
 * @param {Entry} entry
 * @param {string} folder
 * @param {{decide: Decide, watch: import("./dav.js").Watch, isBeside: boolean}} options `isBeside`: a copy
 *   in the same folder gets a name of its own
 */
async function place(method, entry, folder, { decide, watch, isBeside }) {
  if (entry.isFolder && covers(entry.href, folder)) throw new Error(t("intoItself"));
  const at = (name) => childOf(folder, name, entry.isFolder);
  let name = nameOf(entry.href);
  let isKept = isBeside;
  const tried = new Set(isBeside ? [name] : []);
  /** @type {Entry | undefined} */
  let replace;
  for (;;) {
    if (isKept) name = freeName(nameOf(entry.href), (one) => tried.has(one));
    try {
      await transfer(method, entry.href, at(name), { replace, ...watch });
      return;
    } catch (error) {
      if (!(error instanceof DavError) || error.status !== 412) throw error;
    }
    tried.add(name);
    const existing = await find(at(name));
    if (existing === null || isKept) continue;
    const choice = await decide(name, existing, entry);
    if (choice === "skip") return;
    isKept = choice === "keep";
    replace = isKept ? undefined : existing;
  }
}

/** @param {string} href @returns {string} for a folder that is gone: the nearest that may be there */
export function above(href) {
  return asFolder(parentOf(href));
}
