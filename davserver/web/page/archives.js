/** Downloads: a file by itself, anything else as one archive that the server makes while it sends it. */

import { toast } from "./dialogs.js";
import { el } from "./dom.js";
import { ROOT, SERVICE, decodeName, parentOf, segments } from "./paths.js";

/** @typedef {import("./dav.js").Entry} Entry */

/** @param {Entry[]} entries */
export function download(entries) {
  /** @type {Map<string, Entry[]>} */
  const folders = new Map();
  for (const entry of entries) {
    const folder = parentOf(entry.href);
    folders.set(folder, [...(folders.get(folder) ?? []), entry]);
  }
  for (const [folder, inside] of folders) {
    if (inside.length === 1 && !inside[0].isFolder) downloadFile(inside[0]);
    else downloadArchive(folder, inside);
  }
}

/** @param {Entry} entry */
function downloadFile(entry) {
  const link = el("a", { href: entry.href, download: entry.name });
  document.body.append(link);
  link.click();
  link.remove();
}

/**
 * By a form, so that the browser saves it as it comes; where it shows something instead, that is what
 * was wrong.
 *
 * @param {string} folder @param {Entry[]} entries
 */
function downloadArchive(folder, entries) {
  const target = `archive-${crypto.randomUUID()}`;
  const frame = el("iframe", { name: target, hidden: true });
  const names = entries.map((entry) => decodeName(segments(entry.href).at(-1) ?? ""));
  const action = `${SERVICE}zip/${folder.slice(ROOT.length)}`;
  const fields = names.map((value) => el("input", { type: "hidden", name: "name", value }));
  const form = el("form", { method: "post", action, target, hidden: true }, ...fields);
  document.body.append(frame, form);
  frame.addEventListener("load", () => {
    const told = frame.contentDocument?.body?.textContent?.trim();
    if (told) toast(told, { isError: true });
  });
  form.submit();
  form.remove();
}
