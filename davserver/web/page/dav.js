/**
 * The server, as any WebDAV client sees it (RFC 4918): one function a method. Everything that the
 * page does goes through here.
 */

import { ASYNC, followJob } from "./jobs.js";
import { child, hrefOf, propertiesOf, responses, statusOf } from "./multistatus.js";
import { asFolder, nameOf, segments } from "./paths.js";

/**
 * @typedef {object} Entry one resource
 * @property {string} href
 * @property {string} name
 * @property {boolean} isFolder
 * @property {number} size bytes
 * @property {number} time milliseconds since the epoch
 * @property {string} etag "" where there is none
 * @property {Set<string>} [privileges] where they were asked for
 *
 * @typedef {object} Failure what a 207 says of one member
 * @property {string} href
 * @property {number} status
 */

/** An answer that is no success. Status 0: there was none. */
export class DavError extends Error {
  /** @param {number} status @param {Failure[]} [failures] */
  constructor(status, failures = []) {
    super(`status ${status}`);
    this.status = status;
    this.failures = failures;
  }
}

/**
 * @param {string} method
 * @param {string} href
 * @param {{headers?: Record<string, string>, body?: BodyInit, signal?: AbortSignal, keepalive?: boolean}} [options]
 * @returns {Promise<Response>} Throws DavError for anything but a success.
 */
export async function request(method, href, options = {}) {
  let response;
  try {
    response = await fetch(href, { method, cache: "no-store", ...options });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new DavError(0);
  }
  if (!response.ok) throw new DavError(response.status);
  return response;
}

const LISTED = ["resourcetype", "getcontentlength", "getlastmodified", "getetag"];
const OF_FOLDER = ["current-user-privilege-set", "current-user-principal", "quota-available-bytes"];

/** @param {string[]} names of the namespace DAV: @returns {string} */
function propfindBody(names) {
  return `<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop>${names
    .map((name) => `<D:${name}/>`)
    .join("")}</D:prop></D:propfind>`;
}

/** @param {string} href @param {string} depth @param {string} body @param {AbortSignal} [signal] */
function propfind(href, depth, body, signal) {
  const headers = { Depth: depth, "Content-Type": "application/xml", Prefer: "return=minimal" };
  return request("PROPFIND", href, { headers, body, signal });
}

/**
 * The members of a collection, as they come.
 *
 * @param {string} href
 * @param {AbortSignal} [signal]
 * @returns {AsyncGenerator<Entry[]>}
 */
export async function* list(href, signal) {
  const level = segments(href).length;
  for await (const batch of responses(await propfind(href, "1", propfindBody(LISTED), signal))) {
    yield batch.map(toEntry).filter((entry) => segments(entry.href).length > level);
  }
}

/**
 * @typedef {object} Folder what the asker may do in a collection
 * @property {boolean} mayWrite
 * @property {string} user "" for the anonymous one
 * @property {number | null} available bytes left
 */

/** @param {string} href @param {AbortSignal} [signal] @returns {Promise<Folder>} */
export async function describeFolder(href, signal) {
  const [response] = await all(await propfind(href, "0", propfindBody(OF_FOLDER), signal));
  const properties = byName(response);
  const available = properties.get("quota-available-bytes")?.textContent;
  return {
    mayWrite: privilegesOf(properties.get("current-user-privilege-set")).has("write"),
    user: nameOf(properties.get("current-user-principal")?.querySelector("href")?.textContent ?? ""),
    available: available ? Number(available) : null,
  };
}

/** @param {string} href @param {AbortSignal} [signal] @returns {Promise<Entry>} */
export async function describe(href, signal) {
  const body = propfindBody([...LISTED, "current-user-privilege-set"]);
  const [response] = await all(await propfind(href, "0", body, signal));
  const privileges = privilegesOf(byName(response).get("current-user-privilege-set"));
  return { ...toEntry(response), privileges };
}

/** @param {string} href @returns {Promise<Entry | null>} null where nothing is */
export async function find(href) {
  try {
    return await describe(href);
  } catch (error) {
    if (error instanceof DavError && error.status === 404) return null;
    throw error;
  }
}

/** @param {string} href @returns {Promise<Element[]>} every property */
export async function allProperties(href) {
  const names = ["supportedlock", "lockdiscovery", "quota-used-bytes", "quota-available-bytes"];
  const include = names.map((name) => `<D:${name}/>`).join("");
  const body = `<D:propfind xmlns:D="DAV:"><D:allprop/><D:include>${include}</D:include></D:propfind>`;
  const [response] = await all(await propfind(href, "0", body));
  return propertiesOf(response);
}

/** @param {Response} response @returns {Promise<Element[]>} */
async function all(response) {
  const found = [];
  for await (const batch of responses(response)) found.push(...batch);
  return found;
}

/** @param {Element} response @returns {Map<string, Element>} by local name */
function byName(response) {
  return new Map(propertiesOf(response).map((one) => [one.localName, one]));
}

/** @param {Element | undefined} set @returns {Set<string>} */
function privilegesOf(set) {
  return new Set([...(set?.children ?? [])].map((one) => one.firstElementChild?.localName ?? ""));
}

/** @param {Element} response @returns {Entry} */
function toEntry(response) {
  const href = hrefOf(response);
  const entry = { href, name: nameOf(href), isFolder: false, size: 0, time: 0, etag: "" };
  for (const one of propertiesOf(response)) {
    if (one.localName === "resourcetype") entry.isFolder = child(one, "collection") !== undefined;
    else if (one.localName === "getcontentlength") entry.size = Number(one.textContent);
    else if (one.localName === "getlastmodified") entry.time = Date.parse(one.textContent);
    else if (one.localName === "getetag") entry.etag = one.textContent;
  }
  return entry;
}

/** @param {string} href */
export async function makeFolder(href) {
  await request("MKCOL", asFolder(href));
}

/**
 * @typedef {{signal?: AbortSignal, onProgress?: import("./jobs.js").Progress}} Watch
 *
 * COPY or MOVE. Without `replace` nothing is replaced (412).
 *
 * @param {"COPY" | "MOVE"} method
 * @param {string} href
 * @param {string} destination
 * @param {Watch & {replace?: Entry}} [options] `replace`: what the user agreed to replace, as it
 *   was then
 */
export async function transfer(method, href, destination, { replace, ...watch } = {}) {
  /** @type {Record<string, string>} */
  const headers = { Destination: location.origin + destination, Overwrite: replace ? "T" : "F" };
  // Whoever changed it since the question was asked is not overwritten.
  if (replace?.etag) headers.If = `<${location.origin}${destination}> ([${replace.etag}])`;
  await work(method, href, headers, watch);
}

/** @param {string} href @param {Watch} [watch] Throws what could not be deleted. */
export async function remove(href, watch = {}) {
  await work("DELETE", href, {}, watch);
}

/** @param {string} method @param {string} href @param {Record<string, string>} headers @param {Watch} watch */
async function work(method, href, headers, watch) {
  const response = await request(method, href, { headers: { ...headers, Prefer: ASYNC }, signal: watch.signal });
  const job = response.status === 202 ? response.headers.get("Location") : null;
  if (!job) return complete(response);
  await complete(await followJob({ href: job, label: nameOf(href) }, watch));
}

/** @param {Response} response Throws where it is no success, or a 207: that stands for what failed. */
export async function complete(response) {
  if (!response.ok) throw new DavError(response.status);
  if (response.status !== 207) return;
  const failures = (await all(response)).map((one) => ({ href: hrefOf(one), status: statusOf(one) }));
  if (failures.length > 0) throw new DavError(207, failures);
}

/** A lock that this page holds, until `release`. It is refreshed while the page is open. */
export class Lock {
  #timer = 0;

  /** @param {string} href @param {string} token */
  constructor(href, token) {
    this.href = href;
    this.token = token;
    const refresh = () => request("LOCK", href, { headers: { If: this.condition, Timeout: "Second-300" } });
    this.#timer = window.setInterval(() => refresh().catch(() => {}), 120_000);
  }

  /** @param {string} href @returns {Promise<Lock>} */
  static async take(href) {
    const body =
      '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/>' +
      "</D:locktype><D:owner>davserver page</D:owner></D:lockinfo>";
    const headers = { Depth: "0", Timeout: "Second-300", "Content-Type": "application/xml" };
    const response = await request("LOCK", href, { headers, body });
    return new Lock(href, (response.headers.get("Lock-Token") ?? "").replace(/[<>]/g, ""));
  }

  /** Value of the If field that submits the token. */
  get condition() {
    return `(<${this.token}>)`;
  }

  /** Outlives the page. */
  async release() {
    window.clearInterval(this.#timer);
    await unlock(this.href, this.token, true).catch(() => {});
  }
}

/** @param {string} href @param {string} token @param {boolean} [keepalive] */
export async function unlock(href, token, keepalive = false) {
  await request("UNLOCK", href, { headers: { "Lock-Token": `<${token}>` }, keepalive });
}
