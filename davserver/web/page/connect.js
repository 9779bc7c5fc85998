/** How to mount what is shown as a network drive: addresses for each system, a QR code for phones. */

import { ask } from "./dialogs.js";
import { button, el, path } from "./dom.js";
import { t } from "./i18n.js";
import { decodeName } from "./paths.js";
import { QrCode } from "./qr.js";

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} href of a folder */
export async function showConnect(href) {
  const url = location.origin + href;
  const rows = addresses(url).flatMap(([label, address]) => [el("dt", { text: t(label) }), el("dd", {}, ...copyable(address))]);
  const phone = el("div", { class: "phone" }, el("p", { text: t("connectPhone") }), picture(url));
  const content = [el("p", { text: t("connectIntro") }), el("div", { class: "columns" }, el("dl", { class: "addresses" }, ...rows), phone)];
  await ask({ title: t("connect"), kind: "sheet broad", content });
}

/** @param {string} url with its slash @returns {[string, string][]} */
export function addresses(url) {
  const { protocol, hostname, port, host, pathname } = new URL(url);
  const s = protocol === "https:" ? "s" : "";
  const windows = hostname + (s ? "@SSL" : "") + (port ? `@${port}` : "");
  const below = pathname.split("/").filter(Boolean).map(decodeName).join("\\");
  return [
    ["connectMac", url],
    ["connectWindows", `\\\\${windows}\\DavWWWRoot${below && `\\${below}`}`],
    ["connectCommand", `net use Z: "${url}"`],
    ["connectLinux", `dav${s}://${host}${pathname}`],
    ["connectKde", `webdav${s}://${host}${pathname}`],
    ["connectMount", `sudo mount -t davfs '${url.replaceAll("'", "%27")}' /mnt`],
  ];
}

/** @param {string} address */
function copyable(address) {
  const copy = button(t("copyAddress"), { icon: "copy", only: true, class: "plain small", on: async () => {
    // Without TLS a browser gives no clipboard: then the text is selected to be copied.
    await navigator.clipboard?.writeText(address);
    getSelection()?.selectAllChildren(text);
  } });
  const text = el("code", { text: address });
  return [text, copy];
}

/** @param {string} url */
function picture(url) {
  const code = QrCode.of(url);
  if (!code) return el("code", { text: url });
  const svg = document.createElementNS(SVG, "svg");
  // Four modules of quiet zone (ISO/IEC 18004).
  svg.setAttribute("viewBox", `-4 -4 ${code.size + 8} ${code.size + 8}`);
  svg.setAttribute("class", "qr");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", t("qr", { address: url }));
  svg.append(path(code.outline()));
  return svg;
}
