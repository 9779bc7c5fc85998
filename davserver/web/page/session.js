/** Who is signed in: the form, and its end. The server keeps the session in a cookie of its own. */

import { ask, toast } from "./dialogs.js";
import { el } from "./dom.js";
import { explainStatus, t } from "./i18n.js";
import { PAGE, ROOT, SERVICE } from "./paths.js";

/** Where the browser itself asks for a password, for everything below. */
const BASIC = `${ROOT}?basic`;

/**
 * @typedef {object} Session
 * @property {string | null} name
 * @property {boolean} form one can sign in with a form
 * @property {boolean} session one did
 */

/** @param {string} method @param {object} [told] @returns {Promise<Response>} */
function send(method, told) {
  const headers = { ...PAGE, ...(told && { "Content-Type": "application/json" }) };
  return fetch(`${SERVICE}session`, { method, headers, cache: "no-store", body: told && JSON.stringify(told) });
}

/** @returns {Promise<Session>} */
export async function currentSession() {
  const nobody = { name: null, form: false, session: false };
  try {
    const response = await send("GET");
    return response.ok ? await response.json() : nobody;
  } catch {
    return nobody;
  }
}

/** Asks until somebody is signed in. @returns {Promise<boolean>} false when one gives up */
export async function signIn() {
  const { form } = await currentSession();
  if (!form) {
    location.assign(BASIC);
    return false;
  }
  for (let fault = ""; ; ) {
    const credentials = await askWho(fault);
    if (credentials === null) return false;
    fault = await trySignIn(credentials);
    if (fault === "") return true;
  }
}

/** @param {{name: string, password: string}} credentials @returns {Promise<string>} what is wrong, "" for nothing */
async function trySignIn(credentials) {
  try {
    const { ok, status } = await send("POST", credentials);
    return ok ? "" : t(status === 401 || status === 400 ? "signInWrong" : status === 429 ? "signInLater" : "signInRefused");
  } catch {
    return explainStatus(0);
  }
}

/** @param {string} fault @returns {Promise<{name: string, password: string} | null>} */
async function askWho(fault) {
  const name = el("input", { type: "text", id: "sign-in-name", name: "username", autocomplete: "username", spellcheck: "false", autocapitalize: "none" });
  const password = el("input", { type: "password", id: "sign-in-password", name: "password", autocomplete: "current-password" });
  const answer = ask({
    title: t("signIn"), kind: "sign-in",
    content: [
      el("label", { for: "sign-in-name", text: t("signInName") }), name,
      el("label", { for: "sign-in-password", text: t("signInPassword") }), password,
      el("p", { class: "fault", role: "alert", text: fault }),
      el("p", {}, el("a", { href: BASIC, text: t("signInBrowser") })),
    ],
    choices: [{ label: t("cancel"), value: "" }, { label: t("signIn"), value: "ok", kind: "primary" }],
  });
  name.focus();
  return (await answer) === "ok" ? { name: name.value, password: password.value } : null;
}

/** Everything is asked for anew after it. */
export async function signOut() {
  try {
    const response = await send("DELETE");
    if (response.ok) location.reload();
    else toast(explainStatus(response.status), { isError: true });
  } catch {
    toast(explainStatus(0), { isError: true });
  }
}
