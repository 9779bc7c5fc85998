/** The bar at the top: where one is, and what concerns the whole page. */

import { LANGUAGES } from "./catalogue.js";
import { button, el, icon } from "./dom.js";
import { currentLanguage, t } from "./i18n.js";
import { ROOT, decodeName, segments } from "./paths.js";
import { toggleTheme } from "./theme.js";

/**
 * @param {object} page
 * @param {string} page.folder
 * @param {string} page.user "" for the anonymous one
 * @param {import("./session.js").Session} page.session
 * @param {() => void} page.signIn
 * @param {() => void} page.signOut
 * @param {(href: string) => void} page.go
 * @param {(language: string) => void} page.translate
 * @param {() => void} page.connect
 * @returns {HTMLElement[]}
 */
export function drawHeader({ folder, user, session, signIn, signOut, go, translate, connect }) {
  const options = Object.entries(LANGUAGES).map(([value, text]) => el("option", { value, text }));
  const language = el("select", { "aria-label": t("language"), title: t("language") }, ...options);
  language.value = currentLanguage();
  language.addEventListener("change", () => translate(language.value));
  const tools = el("div", { class: "tools" },
    user && el("span", { class: "user", title: t("signedIn", { name: user }), text: user }),
    user && session.session && button(t("signOut"), { class: "plain", on: signOut }),
    !user && session.form && button(t("signIn"), { class: "plain", on: signIn }),
    button(t("connect"), { icon: "connect", class: "plain wide", on: connect }),
    language,
    button(t("theme"), { icon: "theme", only: true, class: "plain", on: toggleTheme }));
  return [drawCrumbs(folder, go), tools];
}

/** @param {string} folder @param {(href: string) => void} go */
function drawCrumbs(folder, go) {
  const names = segments(folder);
  const crumb = (href, text, isHere) => {
    const link = el("a", { href, "aria-current": isHere ? "page" : undefined, draggable: "false" },
      href === ROOT && icon("folder"), el("span", { dir: "auto", text }));
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      go(href);
    });
    return el("li", {}, link);
  };
  const links = names.map((name, index) => {
    const href = ROOT + names.slice(0, index + 1).map((one) => `${one}/`).join("");
    return crumb(href, decodeName(name), index === names.length - 1);
  });
  return el("nav", { class: "crumbs", "aria-label": t("path") }, el("ol", {}, crumb(ROOT, location.host, names.length === 0), ...links));
}
