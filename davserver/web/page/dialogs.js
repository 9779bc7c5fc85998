/** Questions, choices and news: native dialogs, and one line that is read out. */

import { button, el, icon } from "./dom.js";
import { list } from "./dav.js";
import { compareNames, explain, formatSize, formatTime, t } from "./i18n.js";
import { ROOT, covers, decodeName, nameFault, parentOf, segments, splitExtension } from "./paths.js";

/**
 * @typedef {import("./dav.js").Entry} Entry
 * @typedef {{label: string, value: string, kind?: string}} Choice
 */

let count = 0;

/**
 * @param {object} options
 * @param {string} options.title
 * @param {(Node | string)[]} [options.content]
 * @param {Choice[]} [options.choices] buttons, the last of them for Enter
 * @param {string} [options.kind] class
 * @param {(value: string) => boolean} [options.accept] false keeps the dialog open
 * @returns {Promise<string>} the value of the button, "" when it was closed otherwise
 */
export function ask({ title, content = [], choices = [], kind = "", accept = () => true }) {
  const id = `dialog-${++count}`;
  const buttons = choices.map(({ label, value, kind: look = "" }) =>
    el("button", { type: "submit", class: `button ${look}`, value, text: label }),
  );
  const form = el("form", { method: "dialog" },
    el("header", {}, el("h2", { id, text: title }),
      button(t("close"), { icon: "close", only: true, class: "plain", on: () => dialog.close("") })),
    el("div", { class: "content" }, ...content),
    choices.length > 0 && el("footer", {}, ...buttons));
  const dialog = el("dialog", { class: `dialog ${kind}`, "aria-labelledby": id }, form);
  form.addEventListener("submit", (event) => {
    const chosen = event.submitter;
    if (!accept(chosen?.value ?? "")) event.preventDefault();
  });
  form.addEventListener("keydown", (event) => {
    // Enter in a field means the last button, not the first.
    if (event.key !== "Enter" || !(event.target instanceof HTMLInputElement)) return;
    event.preventDefault();
    buttons.at(-1)?.click();
  });
  document.body.append(dialog);
  dialog.showModal();
  // Enter does what is meant, but nothing that cannot be undone.
  (choices.at(-1)?.kind === "danger" ? buttons[0] : buttons.at(-1))?.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
}

/**
 * @param {object} options
 * @param {string} options.title
 * @param {string} options.label
 * @param {string} options.ok
 * @param {string} [options.value]
 * @param {(name: string) => boolean} options.isTaken
 * @returns {Promise<string | null>}
 */
export async function askName({ title, label, ok, value = "", isTaken }) {
  const input = el("input", { type: "text", value, autocomplete: "off", spellcheck: "false", id: "asked-name" });
  const fault = el("p", { class: "fault", role: "alert" });
  input.value = value;
  const accept = (choice) => {
    if (choice !== "ok") return true;
    const key = nameFault(input.value) ?? (input.value !== value && isTaken(input.value) ? "nameTaken" : null);
    fault.textContent = key ? t(key) : "";
    if (key) input.focus();
    return key === null;
  };
  const answer = ask({
    title, accept, content: [el("label", { for: "asked-name", text: label }), input, fault],
    choices: [{ label: t("cancel"), value: "" }, { label: ok, value: "ok", kind: "primary" }],
  });
  input.focus();
  input.setSelectionRange(0, splitExtension(value)[0].length);
  return (await answer) === "ok" ? input.value : null;
}

/** @param {string} title @param {string} text @param {string} ok @returns {Promise<boolean>} */
export async function confirm(title, text, ok) {
  const choices = [{ label: t("cancel"), value: "" }, { label: ok, value: "ok", kind: "danger" }];
  return (await ask({ title, content: [el("p", { text })], choices })) === "ok";
}

/**
 * @typedef {{choice: "replace" | "keep" | "skip", forAll: boolean}} Verdict
 *
 * What is to become of something that meets another of its name.
 *
 * @param {string} name
 * @param {Entry} existing
 * @param {{size: number, time: number, isFolder?: boolean}} incoming
 * @param {{mayReplace?: boolean, isOne?: boolean}} [options]
 * @returns {Promise<Verdict>}
 */
export async function askConflict(name, existing, incoming, { mayReplace = true, isOne = false } = {}) {
  const told = (one) => ({ size: formatSize(one.size), time: formatTime(one.time) });
  const forAll = el("input", { type: "checkbox" });
  const content = [
    el("p", { text: existing.isFolder ? t("existsFolder") : t("existsNow", told(existing)) }),
    !incoming.isFolder && el("p", { text: t("existsNew", told(incoming)) }),
    !isOne && el("label", { class: "inline" }, forAll, t("forAll")),
  ].filter(Boolean);
  const choices = [
    { label: t("skipItem"), value: "skip" },
    ...(mayReplace ? [{ label: t("replace"), value: "replace", kind: "danger" }] : []),
    { label: t("keepBoth"), value: "keep", kind: "primary" },
  ];
  const choice = await ask({ title: t("existsTitle", { name }), content, choices });
  return { choice: choice || "skip", forAll: forAll.checked };
}

/**
 * @param {{name: string, reason: string}[]} failures
 * @returns {Promise<string>}
 */
export function tellFailures(failures) {
  const shown = failures.slice(0, 200);
  const rows = shown.map(({ name, reason }) =>
    el("li", {}, el("span", { class: "name", dir: "auto", text: name }), el("span", { class: "reason", text: reason })));
  const rest = failures.length - shown.length;
  const content = [
    el("p", { text: t("failed", { n: failures.length }) }),
    el("ul", { class: "failures", tabindex: 0, "aria-label": t("failedTitle") }, ...rows),
    rest > 0 && el("p", { text: t("andMore", { n: rest }) }),
  ].filter(Boolean);
  return ask({ title: t("failedTitle"), content, choices: [{ label: t("ok"), value: "ok", kind: "primary" }] });
}

/**
 * @param {object} options
 * @param {string} options.title
 * @param {string} options.ok
 * @param {string} options.start where to begin
 * @param {Entry[]} options.moving these and what is in them are no targets
 * @returns {Promise<string | null>} the href of a folder
 */
export async function chooseFolder({ title, ok, start, moving }) {
  let here = start;
  const path = el("p", { class: "path", "aria-live": "polite" });
  const folders = el("ul", { class: "folders", "aria-label": t("chooseFolder") });
  const isTarget = (href) => !moving.some((one) => one.isFolder && covers(one.href, href));
  const go = async (href) => {
    here = href;
    path.textContent = `/${segments(href).map(decodeName).join("/")}`;
    const rows = href === ROOT ? [] : [folderRow(t("up"), "up", () => go(parentOf(href)))];
    folders.replaceChildren(...rows);
    try {
      const found = await foldersIn(href);
      if (here !== href) return;
      const targets = found.filter((one) => isTarget(one.href));
      folders.append(...targets.map((one) => folderRow(one.name, "folder", () => go(one.href))));
    } catch (error) {
      folders.append(el("li", { class: "fault", text: explain(error) }));
    }
  };
  void go(start);
  const choices = [{ label: t("cancel"), value: "" }, { label: ok, value: "ok", kind: "primary" }];
  return (await ask({ title, content: [path, folders], choices })) === "ok" ? here : null;
}

/** @param {string} label @param {string} look @param {() => void} on */
function folderRow(label, look, on) {
  const name = look === "up" ? "upload" : "folder";
  return el("li", {}, el("button", { type: "button", class: "folder", on: { click: on } }, icon(name), el("span", { dir: "auto", text: label })));
}

/** @param {string} href @returns {Promise<Entry[]>} */
async function foldersIn(href) {
  const found = [];
  for await (const batch of list(href)) found.push(...batch.filter((one) => one.isFolder));
  return found.sort((a, b) => compareNames(a.name, b.name));
}

const news = el("div", { class: "toasts", role: "status", "aria-live": "polite" });

/** What is behind a modal dialog is neither seen nor read out: news come in the last that is open. */
function place() {
  const host = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  if (news.parentNode === host) return;
  host.append(news);
  if (host !== document.body) host.addEventListener("close", place, { once: true });
}

/**
 * @param {string} text
 * @param {{isError?: boolean, action?: {label: string, on: () => void}, stays?: boolean}} [options]
 * @returns {{update: (text: string) => void, close: () => void}}
 */
export function toast(text, { isError = false, action, stays = false } = {}) {
  place();
  const label = el("span", { text });
  const node = el("div", { class: `toast ${isError ? "error" : ""}` }, label,
    action && button(action.label, { class: "plain", on: action.on }));
  news.append(node);
  const close = () => node.remove();
  if (!stays) window.setTimeout(close, isError ? 8000 : 4000);
  return { update: (to) => { label.textContent = to; }, close };
}
