/**
 * Reads multistatus documents (RFC 4918 section 13) while they come in: what has arrived is shown
 * before the rest is sent.
 */

const DAV = "DAV:";

/** Text becomes XML here alone; what comes of it is read, never shown as a document. */
const policy = globalThis.trustedTypes?.createPolicy("davserver", {
  createHTML: (text) => text,
});

/** Elements of HTML or SVG among the properties are taken for what they are here: unknown ones. */
const DOCUMENTS = /http:\/\/www\.w3\.org\/(?=1999\/xhtml|2000\/svg)/g;

/** @param {string} text @returns {Document} */
function parseXml(text) {
  const neutral = text.replace(DOCUMENTS, "w3.org:");
  const source = policy ? policy.createHTML(neutral) : neutral;
  const parsed = new DOMParser().parseFromString(source, "application/xml");
  if (parsed.getElementsByTagName("parsererror").length > 0) throw new Error("not XML");
  return parsed;
}

/**
 * @param {Response} response whose body is a multistatus
 * @returns {AsyncGenerator<Element[]>} its `response` elements, in pieces
 */
export async function* responses(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const cutter = new Cutter();
  for (;;) {
    const { done, value } = await reader.read();
    const found = done ? cutter.finish() : cutter.take(value);
    if (found.length > 0) yield found;
    if (done) return;
  }
}

/** Cuts the text into whole `response` elements. */
class Cutter {
  #text = "";
  #head = "";
  #tail = "";
  #end = "";

  /** @param {string} text @returns {Element[]} */
  take(text) {
    this.#text += text;
    if (!this.#head && !this.#begin()) return [];
    const cut = this.#text.lastIndexOf(this.#end);
    if (cut < 0) return [];
    const whole = this.#text.slice(0, cut + this.#end.length);
    this.#text = this.#text.slice(cut + this.#end.length);
    return members(parseXml(this.#head + whole + this.#tail));
  }

  /** @returns {Element[]} Throws where the document ends too early. */
  finish() {
    if (!this.#head || !this.#text.includes(this.#tail)) throw new Error("the listing broke off");
    return [];
  }

  /** Remembers the root's start tag, with the namespaces that the elements need. */
  #begin() {
    const root = /<((?:[\w.-]+:)?)multistatus\b[^>]*>/.exec(this.#text);
    if (!root) return false;
    this.#head = this.#text.slice(0, root.index) + root[0];
    this.#tail = `</${root[1]}multistatus>`;
    this.#end = `</${root[1]}response>`;
    this.#text = this.#text.slice(root.index + root[0].length);
    return true;
  }
}

/** @param {Document} parsed @returns {Element[]} */
function members(parsed) {
  return [...parsed.documentElement.children].filter((one) => one.localName === "response");
}

/** @param {Element} node @param {string} name @returns {Element | undefined} */
export function child(node, name) {
  for (let one = node.firstElementChild; one; one = one.nextElementSibling) {
    if (one.localName === name && one.namespaceURI === DAV) return one;
  }
  return undefined;
}

/** @param {Element} response @returns {string} its path, whether it is a path or a URL */
export function hrefOf(response) {
  const text = child(response, "href")?.textContent.trim() ?? "";
  return text.startsWith("/") ? text : new URL(text, location.href).pathname;
}

/** @param {Element | undefined} node with a `status` @returns {number} */
export function statusOf(node) {
  return Number(/ (\d{3})/.exec((node && child(node, "status")?.textContent) ?? "")?.[1] ?? 0);
}

/** @param {Element} response @returns {Element[]} the properties that were found */
export function propertiesOf(response) {
  /** @type {Element[]} */
  const found = [];
  for (const propstat of response.children) {
    if (propstat.localName !== "propstat" || statusOf(propstat) !== 200) continue;
    const prop = child(propstat, "prop");
    if (prop) found.push(...prop.children);
  }
  return found;
}
