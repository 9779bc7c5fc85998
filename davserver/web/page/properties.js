/** What the server knows of one resource: properties of its own and of clients, and locks. */

import { allProperties, describe, unlock } from "./dav.js";
import { ask, toast } from "./dialogs.js";
import { button, el } from "./dom.js";
import { explain, formatDuration, t } from "./i18n.js";
import { decodeName } from "./paths.js";
import { elementOf, elementsOf, textOf } from "./results.js";

/** @typedef {import("./results.js").Value} Value */

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
    const [properties, { mayWrite }] = await Promise.all([allProperties(href), describe(href)]);
    const { "DAV:": { lockdiscovery, supportedlock, ...live }, ...dead } = properties;
    const namespaces = Object.entries(dead);
    content.replaceChildren(
      el("p", { class: "path", text: decodeName(href) }),
      el("p", { text: t(mayWrite ? "mayWrite" : "mayRead") }),
      el("h3", { text: t("locks") }), ...locksOf(lockdiscovery, href, () => fill(content, href)),
      el("h3", { text: t("liveProperties") }), el("dl", {}, ...rowsOf(live)),
      ...(namespaces.length === 0 ? [] : [el("h3", { text: t("deadProperties") }),
        el("dl", {}, ...namespaces.flatMap(([namespace, values]) => rowsOf(values, namespace)))]),
    );
  } catch (error) {
    content.replaceChildren(el("p", { class: "fault", text: explain(error) }));
  }
}

/** @param {Record<string, Value>} values @param {string} [namespace] */
function rowsOf(values, namespace) {
  return Object.entries(values).flatMap(([name, value]) => [
    el("dt", { text: name }, namespace && el("small", { text: namespace })),
    el("dd", { dir: "auto", text: textOf(value) || elementsOf(value).map((one) => one.name).join(", ") || "–" }),
  ]);
}

/** @param {Value} discovery @param {string} href @param {() => void} changed @returns {HTMLElement[]} */
function locksOf(discovery, href, changed) {
  const locks = elementsOf(discovery);
  return locks.length === 0 ? [el("p", { text: t("noLocks") })] : locks.map((one) => lockOf(one, href, changed));
}

/** @param {Value} lock @param {string} href @param {() => void} changed */
function lockOf(lock, href, changed) {
  const part = (name) => textOf(elementOf(lock, name)).trim();
  const seconds = /Second-(\d+)/.exec(part("timeout"))?.[1];
  const isShared = elementOf(elementOf(lock, "lockscope"), "shared") !== undefined;
  /** @type {[string, string][]} */
  const rows = [
    [t("lockedBy"), part("owner") || "–"],
    [t("lockScope"), t(isShared ? "shared" : "exclusive")],
    [t("lockDepth"), part("depth")],
    [t("lockLeft"), seconds ? formatDuration(Number(seconds)) : t("lockForever")],
    [t("lockRoot"), decodeName(part("lockroot") || href)],
  ];
  // The server shows a token to the lock's own creator alone.
  const token = part("locktoken");
  const release = async () => {
    try {
      await unlock(href, token);
    } catch (error) {
      toast(explain(error), { isError: true });
    }
    changed();
  };
  return el("div", { class: "lock" },
    el("dl", {}, ...rows.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })])),
    token && button(t("release"), { icon: "lock", on: release }));
}
