/**
 * The server, as any WebDAV client sees it (RFC 4918): one function a method. Everything that the
 * page does goes through here.
 */

import { ASYNC, followJob } from "./jobs.js";
import { PAGE, asFolder, nameOf, segments } from "./paths.js";
import { elementOf, elementsOf, propertiesOf, results, textOf } from "./results.js";

/**
 * @typedef {import("./results.js").Value} Value
 *
 * @typedef {object} Entry one resource
 * @property {string} href
 * @property {string} name
 * @property {boolean} isFolder
 * @property {number} size bytes
 * @property {number} time milliseconds since the epoch
 * @property {string} etag "" where there is none
 * @property {boolean} [mayWrite] where it was asked
 * @property {string} [where] of what a search has found: its folder, below the one that was searched
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
    const headers = { Accept: "application/json", ...PAGE, ...options.headers };
    response = await fetch(href, { method, cache: "no-store", ...options, headers });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new DavError(0);
  }
  if (!response.ok) throw new DavError(response.status);
  return response;
}

const LISTED = ["resourcetype", "getcontentlength", "getlastmodified", "getetag"];
const PRIVILEGES = "current-user-privilege-set";
const PRINCIPAL = "current-user-principal";
const AVAILABLE = "quota-available-bytes";
const OF_FOLDER = [PRIVILEGES, PRINCIPAL, AVAILABLE];

/** @param {string} href @param {string} depth @param {object} asked @param {AbortSignal} [signal] */
function propfind(href, depth, asked, signal) {
  const headers = { Depth: depth, "Content-Type": "application/json", Prefer: "return=minimal" };
  return request("PROPFIND", href, { headers, body: JSON.stringify(asked), signal });
}

/**
 * The members of a collection, as they come.
 *
 * @param {string} href
 * @param {AbortSignal} [signal]
 * @returns {AsyncGenerator<Entry[]>}
 */
export function list(href, signal) {
  return members(href, "1", signal);
}

/** Everything below a collection. @param {string} href @param {AbortSignal} [signal] */
export function listAll(href, signal) {
  return members(href, "infinity", signal);
}

/** @param {string} href @param {string} depth @param {AbortSignal} [signal] */
async function* members(href, depth, signal) {
  const level = segments(href).length;
  const response = await propfind(href, depth, { prop: { "DAV:": LISTED } }, signal);
  for await (const batch of results(response)) {
    yield batch.filter((one) => segments(one.href).length > level).map(toEntry);
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
  const properties = await ask(href, { prop: { "DAV:": OF_FOLDER } }, signal);
  const { [AVAILABLE]: available, [PRIVILEGES]: privileges, [PRINCIPAL]: principal } = properties["DAV:"];
  return {
    mayWrite: privilegesOf(privileges).has("write"),
    user: nameOf(textOf(elementOf(principal, "href"))),
    available: typeof available === "string" ? Number(available) : null,
  };
}

/** @param {string} href @returns {Promise<Entry>} */
export async function describe(href) {
  const asked = { prop: { "DAV:": [...LISTED, PRIVILEGES] } };
  const [result] = await all(await propfind(href, "0", asked));
  const privileges = privilegesOf(propertiesOf(result)["DAV:"][PRIVILEGES]);
  return { ...toEntry(result), mayWrite: privileges.has("write") };
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

/** @param {string} href @returns {Promise<Record<string, Record<string, Value>>>} every property */
export function allProperties(href) {
  const include = ["lockdiscovery", "quota-used-bytes", AVAILABLE];
  return ask(href, { allprop: true, include: { "DAV:": include } });
}

/** @param {string} href @param {object} asked @param {AbortSignal} [signal] */
async function ask(href, asked, signal) {
  const [result] = await all(await propfind(href, "0", asked, signal));
  return propertiesOf(result);
}

/** @param {Response} response @returns {Promise<import("./results.js").Result[]>} */
async function all(response) {
  const found = [];
  for await (const batch of results(response)) found.push(...batch);
  return found;
}

/** @param {Value | undefined} set @returns {Set<string>} */
function privilegesOf(set) {
  return new Set(elementsOf(set).map((one) => elementsOf(one)[0]?.name ?? ""));
}

/** @param {import("./results.js").Result} result @returns {Entry} */
function toEntry(result) {
  const { href } = result;
  const found = propertiesOf(result)["DAV:"] ?? {};
  return {
    href,
    name: nameOf(href),
    isFolder: found.resourcetype ? elementOf(found.resourcetype, "collection") !== undefined : false,
    size: Number(found.getcontentlength ?? 0),
    time: Date.parse(textOf(found.getlastmodified)),
    etag: textOf(found.getetag),
  };
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
  const failures = (await all(response)).map(({ href, status = 0 }) => ({ href, status }));
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
