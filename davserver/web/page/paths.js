/**
 * Hrefs: percent-encoded absolute paths, as the server gives them. They are the identity of what is
 * shown; a name is only how one is read.
 */

/** Path of the mount with its slash: this file is `<mount>.davserver/page/paths.js`. */
export const ROOT = new URL("../../", import.meta.url).pathname;

/** What the server has beside the served folder. */
export const SERVICE = `${ROOT}.davserver/`;

/** Field that says that the page asks, which has a form to sign in. */
export const PAGE = { "X-Davserver-Page": "1" };

/** @param {string} name @returns {string} */
export function encodeName(name) {
  return encodeURIComponent(name.toWellFormed()).replace(
    /[!'()*]/g,
    (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/**
 * @param {string} segment percent-encoded
 * @returns {string} bytes that are not UTF-8 show as U+FFFD
 */
export function decodeName(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    const bytes = segment.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
    return new TextDecoder().decode(Uint8Array.from(bytes, (one) => one.charCodeAt(0)));
  }
}

/** @param {string} href @returns {string[]} the encoded segments below the mount */
export function segments(href) {
  return href.slice(ROOT.length).split("/").filter(Boolean);
}

/** @param {string} href @returns {string} the name, "" for the mount */
export function nameOf(href) {
  return decodeName(segments(href).at(-1) ?? "");
}

/** @param {string} href @returns {string} the collection that it is in, the mount for itself */
export function parentOf(href) {
  const names = segments(href).slice(0, -1);
  return ROOT + names.map((one) => `${one}/`).join("");
}

/**
 * @param {string} folder
 * @param {string} name
 * @param {boolean} [isFolder]
 * @returns {string}
 */
export function childOf(folder, name, isFolder = false) {
  return folder + encodeName(name) + (isFolder ? "/" : "");
}

/** @param {string} href @returns {string} with its slash */
export function asFolder(href) {
  return href.endsWith("/") ? href : `${href}/`;
}

/** @param {string} a @param {string} b @returns {boolean} b is a, or below it */
export function covers(a, b) {
  const [outer, inner] = [segments(a).map(decodeName), segments(b).map(decodeName)];
  return outer.every((one, index) => one === inner[index]);
}

/** @param {string} name @returns {[string, string]} "photo" and ".jpg" */
export function splitExtension(name) {
  const dot = name.lastIndexOf(".");
  return dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
}

/**
 * @param {string} name
 * @param {(name: string) => boolean} isTaken
 * @returns {string} the name, or with the first number that is free: "photo (2).jpg"
 */
export function freeName(name, isTaken) {
  const [stem, extension] = splitExtension(name);
  for (let number = 2; ; number++) {
    const candidate = `${stem} (${number})${extension}`;
    if (!isTaken(candidate)) return candidate;
  }
}

/** @param {string} name @returns {string | null} what is wrong with a new name: a catalogue key */
export function nameFault(name) {
  if (!name.trim()) return "nameEmpty";
  if (name.includes("/")) return "nameSlash";
  if (name === "." || name === "..") return "nameDots";
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f]/.test(name)) return "nameControl";
  if (new TextEncoder().encode(name).length > 255) return "nameLong";
  return null;
}
