/** Search by name below a folder: a PROPFIND of everything, or folder by folder where that is refused. */

import { DavError, list, listAll } from "./dav.js";
import { ROOT, decodeName, parentOf, segments } from "./paths.js";
import { fold } from "./listing.js";

/** @typedef {import("./dav.js").Entry} Entry */

/**
 * What has the text in its name, as it is found; each with `where`, its folder below the one that is
 * searched.
 *
 * @param {string} folder
 * @param {string} text
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<Entry[]>}
 */
export async function* search(folder, text, signal) {
  const wanted = fold(text.trim());
  const level = segments(folder).length;
  const place = (entry) => segments(parentOf(entry.href)).slice(level).map(decodeName).join("/");
  for await (const batch of below(folder, signal)) {
    const found = batch.filter((entry) => fold(entry.name).includes(wanted));
    yield found.map((entry) => ({ ...entry, where: place(entry) }));
  }
}

/** @param {string} folder @param {AbortSignal} signal @returns {AsyncGenerator<Entry[]>} */
async function* below(folder, signal) {
  try {
    yield* listAll(folder, signal);
  } catch (error) {
    // A server may refuse Depth infinity (RFC 4918 section 9.1).
    if (!(error instanceof DavError) || error.status !== 403) throw error;
    yield* walk(folder, signal);
  }
}

/** @param {string} folder @param {AbortSignal} signal @returns {AsyncGenerator<Entry[]>} */
async function* walk(folder, signal) {
  const waiting = [folder];
  const seen = new Set(waiting);
  while (waiting.length > 0) {
    const href = waiting.pop() ?? ROOT;
    try {
      for await (const batch of list(href, signal)) {
        for (const { href: inner } of batch.filter((one) => one.isFolder && !seen.has(one.href))) {
          seen.add(inner);
          waiting.push(inner);
        }
        yield batch;
      }
    } catch (error) {
      // One that is gone, or not for us, keeps nobody from the others.
      if (!(error instanceof DavError) || href === folder) throw error;
    }
  }
}
