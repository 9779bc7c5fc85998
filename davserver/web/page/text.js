/** Reads files that are text. */

import { request } from "./dav.js";
import { t } from "./i18n.js";

/** Bytes that are shown, and edited, at most. */
export const TEXT_LIMIT = 1_000_000;

/**
 * @param {import("./dav.js").Entry} entry
 * @returns {Promise<{text: string, etag: string, isCut: boolean}>} Throws what is not UTF-8.
 */
export async function readText({ href, size }) {
  const isCut = size > TEXT_LIMIT;
  /** @type {Record<string, string>} */
  const headers = isCut ? { Range: `bytes=0-${TEXT_LIMIT - 1}` } : {};
  const response = await request("GET", href, { headers });
  const bytes = new Uint8Array(await response.arrayBuffer()).subarray(0, TEXT_LIMIT);
  try {
    // A character that is cut off at the end is no fault.
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes, { stream: isCut });
    return { text, etag: response.headers.get("ETag") ?? "", isCut };
  } catch {
    throw new Error(t("notText"));
  }
}
