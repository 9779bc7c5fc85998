/** The page's language: its texts, and how it writes numbers, sizes and times. */

import { CATALOGUE } from "./catalogue.js";

/** @typedef {keyof typeof CATALOGUE} Language */

const STORED = "davserver.language";
let language = chosen();
let formats = makeFormats();

/** @returns {Language} as chosen, else the first of the browser's that there is */
function chosen() {
  const wanted = [localStorage.getItem(STORED), ...navigator.languages.map((one) => one.slice(0, 2))];
  return wanted.find((one) => one && one in CATALOGUE) ?? "en";
}

function makeFormats() {
  // As in the user's country, where that speaks this language.
  const locale = navigator.languages.find((one) => one.startsWith(language)) ?? language;
  return {
    plural: new Intl.PluralRules(locale),
    number: new Intl.NumberFormat(locale),
    short: new Intl.NumberFormat(locale, { maximumSignificantDigits: 3 }),
    time: new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" }),
    collator: new Intl.Collator(locale, { numeric: true, sensitivity: "base" }),
  };
}

/** @returns {Language} */
export function currentLanguage() {
  return language;
}

/** @param {Language} to */
export function setLanguage(to) {
  localStorage.setItem(STORED, to);
  language = to;
  formats = makeFormats();
}

/**
 * @param {string} key
 * @param {Record<string, string | number>} [values] `n` chooses between `key.one` and `key.other`
 * @returns {string}
 */
export function t(key, values = {}) {
  /** @type {Record<string, string>} */
  const texts = CATALOGUE[language];
  const plural = typeof values.n === "number" ? `${key}.${formats.plural.select(values.n)}` : key;
  const text = texts[plural] ?? texts[`${key}.other`] ?? texts[key];
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? formatNumber(value) : value;
  });
}

/** @param {number} value @returns {string} */
export function formatNumber(value) {
  return formats.number.format(value);
}

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** @param {number} bytes @returns {string} in powers of 1000 */
export function formatSize(bytes) {
  let unit = 0;
  let value = bytes;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${formats.short.format(value)} ${UNITS[unit]}`;
}

/** @param {number} time milliseconds since the epoch @returns {string} */
export function formatTime(time) {
  return Number.isFinite(time) && time > 0 ? formats.time.format(time) : "";
}

/** @param {number} seconds @returns {string} */
export function formatDuration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/** @param {string} a @param {string} b @returns {number} as people sort names: 9 before 10 */
export function compareNames(a, b) {
  return formats.collator.compare(a, b);
}

/** @param {unknown} error @returns {string} what to tell of it */
export function explain(error) {
  const status = error?.status;
  if (typeof status !== "number") return String(error?.message ?? error);
  return explainStatus(status);
}

/** @param {number} status @returns {string} */
export function explainStatus(status) {
  return `error${status}` in CATALOGUE.en ? t(`error${status}`) : t("errorOther", { status: String(status) });
}
