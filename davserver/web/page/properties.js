/** What the server knows of one resource: properties of its own and of clients, and locks. */

import { allProperties, describe, unlock } from "./dav.js";
import { ask, toast } from "./dialogs.js";
import { button, el } from "./dom.js";
import { explain, formatDuration, t } from "./i18n.js";
import { decodeName } from "./paths.js";

/** @param {import("./dav.js").Entry} entry */
export async function showProperties(entry) {
  const content = el("div", { class: "properties" }, el("p", { text: t("loading") }));
  const closed = ask({ title: entry.name || "/", content: [content], kind: "sheet" });
  await fill(content, entry.href);
  await closed;
}

/** @param {HTMLElement} content @param {string} href */
async function fill(content, href) {
  try {
    const [properties, { privileges }] = await Promise.all([allProperties(href), describe(href)]);
    const isLive = (one) => one.namespaceURI === "DAV:";
    const told = properties.filter((one) => !["lockdiscovery", "supportedlock"].includes(one.localName));
    const locks = properties.find((one) => one.localName === "lockdiscovery");
    content.replaceChildren(
      el("p", { class: "path", text: decodeName(href) }),
      el("p", { text: t(privileges?.has("write") ? "mayWrite" : "mayRead") }),
      el("h3", { text: t("locks") }), ...locksOf(locks, href, () => fill(content, href)),
      el("h3", { text: t("liveProperties") }), table(told.filter(isLive), false),
      ...(told.every(isLive) ? [] : [el("h3", { text: t("deadProperties") }), table(told.filter((one) => !isLive(one)), true)]),
    );
  } catch (error) {
    content.replaceChildren(el("p", { class: "fault", text: explain(error) }));
  }
}

/** @param {Element[]} properties @param {boolean} hasNamespace */
function table(properties, hasNamespace) {
  return el("dl", {}, ...properties.flatMap((one) => [
    el("dt", { text: one.localName, title: one.namespaceURI ?? "" }, hasNamespace && el("small", { text: one.namespaceURI ?? "" })),
    el("dd", { dir: "auto", text: valueOf(one) }),
  ]));
}

/** @param {Element} property @returns {string} */
function valueOf(property) {
  const text = property.textContent.trim();
  if (text || property.childElementCount === 0) return text || "–";
  return [...property.children].map((one) => one.localName).join(", ");
}

/** @param {Element | undefined} discovery @param {string} href @param {() => void} changed @returns {HTMLElement[]} */
function locksOf(discovery, href, changed) {
  const locks = [...(discovery?.children ?? [])];
  return locks.length === 0 ? [el("p", { text: t("noLocks") })] : locks.map((one) => lockOf(one, href, changed));
}

/** @param {Element} lock @param {string} href @param {() => void} changed */
function lockOf(lock, href, changed) {
  const part = (name) => lock.querySelector(name);
  const seconds = /Second-(\d+)/.exec(part("timeout")?.textContent ?? "")?.[1];
  /** @type {[string, string][]} */
  const rows = [
    [t("lockedBy"), part("owner")?.textContent.trim() || "–"],
    [t("lockScope"), t(part("lockscope")?.firstElementChild?.localName === "shared" ? "shared" : "exclusive")],
    [t("lockDepth"), part("depth")?.textContent ?? ""],
    [t("lockLeft"), seconds ? formatDuration(Number(seconds)) : t("lockForever")],
    [t("lockRoot"), decodeName(part("lockroot")?.textContent.trim() ?? href)],
  ];
  // The server shows a token to the lock's own creator alone.
  const token = part("locktoken")?.textContent.trim();
  const release = async () => {
    try {
      await unlock(href, token ?? "");
    } catch (error) {
      toast(explain(error), { isError: true });
    }
    changed();
  };
  return el("div", { class: "lock" },
    el("dl", {}, ...rows.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })])),
    token && button(t("release"), { icon: "lock", on: release }));
}
