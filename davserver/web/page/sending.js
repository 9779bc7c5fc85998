/**
 * How the bytes of one upload get to the server: small files with one PUT, larger ones in a way that
 * goes on where it broke off (draft-ietf-httpbis-resumable-upload).
 */

import { DavError, request } from "./dav.js";
import { PAGE } from "./paths.js";

/**
 * @typedef {import("./uploads.js").Upload} Upload
 * @typedef {Record<string, string>} Fields
 */

/** Bytes from which on a file is worth a request more. */
export const RESUMABLE = 8_000_000;

const STORED = "davserver.upload ";

/**
 * Sends what is missing. Throws when it was cancelled.
 *
 * @param {Upload} upload
 * @param {string} href
 * @param {Fields} condition If-Match or If-None-Match
 * @param {() => void} told
 * @returns {Promise<DavError | null>} what went wrong
 */
export async function send(upload, href, condition, told) {
  const { file } = upload;
  if (file.size < RESUMABLE) {
    return sendBody(upload, "PUT", href, { ...condition, ...timeOf(file) }, file, 0, told);
  }
  try {
    const offset = await begin(upload, href, condition);
    const fields = { ...condition, "Content-Type": "application/partial-upload", "Upload-Offset": String(offset), "Upload-Complete": "?1" };
    const error = await sendBody(upload, "PATCH", upload.place, fields, file.slice(offset), offset, told);
    if (error === null) forget(upload, href);
    return error;
  } catch (error) {
    if (error instanceof DavError) return error;
    throw error;
  }
}

/** @param {File} file @returns {Fields} the file keeps its time */
function timeOf(file) {
  return file.lastModified ? { "X-OC-Mtime": String(Math.floor(file.lastModified / 1000)) } : {};
}

/** @param {Upload} upload @param {string} href @returns {string} the same file again goes on, too */
function keyOf({ file }, href) {
  return `${STORED}${href} ${file.size} ${file.lastModified}`;
}

/** @param {Upload} upload @param {string} href */
function forget(upload, href) {
  upload.place = "";
  localStorage.removeItem(keyOf(upload, href));
}

/**
 * Begins, or asks how far it is.
 *
 * @param {Upload} upload
 * @param {string} href
 * @param {Fields} condition
 * @returns {Promise<number>} bytes that the server has
 */
async function begin(upload, href, condition) {
  const { signal } = upload.controller;
  upload.place ||= localStorage.getItem(keyOf(upload, href)) ?? "";
  if (upload.place) {
    try {
      const response = await request("HEAD", upload.place, { signal });
      return Number(response.headers.get("Upload-Offset") ?? 0);
    } catch (error) {
      if (!(error instanceof DavError) || ![403, 404, 410].includes(error.status)) throw error;
      forget(upload, href); // it has expired: from the start
    }
  }
  const fields = { ...condition, ...timeOf(upload.file), "Upload-Complete": "?0", "Upload-Length": String(upload.file.size) };
  const response = await request("PUT", href, { headers: fields, body: new Blob(), signal });
  upload.place = new URL(response.headers.get("Location") ?? "", location.href).pathname;
  localStorage.setItem(keyOf(upload, href), upload.place);
  return 0;
}

/** What was sent of a cancelled upload is given up. @param {Upload} upload */
export function giveUp(upload) {
  if (!upload.place) return;
  for (const key of Object.keys(localStorage)) {
    if (key.startsWith(STORED) && localStorage.getItem(key) === upload.place) localStorage.removeItem(key);
  }
  void fetch(upload.place, { method: "DELETE", headers: PAGE }).catch(() => {});
  upload.place = "";
}

/**
 * One request with its progress, which fetch does not tell.
 *
 * @param {Upload} upload
 * @param {string} method
 * @param {string} href
 * @param {Fields} fields
 * @param {Blob} body
 * @param {number} before bytes that are there already
 * @param {() => void} told
 * @returns {Promise<DavError | null>} Throws when it was cancelled.
 */
function sendBody(upload, method, href, fields, body, before, told) {
  const { signal } = upload.controller;
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open(method, href);
    for (const [name, value] of Object.entries({ ...PAGE, ...fields })) xhr.setRequestHeader(name, value);
    upload.sent = before;
    xhr.upload.onprogress = (event) => {
      upload.sent = before + event.loaded;
      told();
    };
    xhr.onload = () => {
      const isStored = xhr.status >= 200 && xhr.status < 300;
      if (isStored) upload.sent = upload.file.size;
      resolve(isStored ? null : new DavError(xhr.status));
    };
    xhr.onerror = () => resolve(new DavError(0));
    xhr.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal.addEventListener("abort", () => xhr.abort());
    if (signal.aborted) reject(new DOMException("cancelled", "AbortError"));
    else xhr.send(body);
  });
}
