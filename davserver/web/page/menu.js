/** A menu at a place, for mouse, touch and keyboard (WAI-ARIA menu). */

import { el, icon } from "./dom.js";

/**
 * @typedef {{label: string, icon: string, key?: string, kind?: string, on: () => void}} Item
 */

/**
 * @param {string} label
 * @param {(Item | null)[]} items null leaves out
 * @param {number} x
 * @param {number} y
 */
export function openMenu(label, items, x, y) {
  const before = document.activeElement;
  const close = () => {
    menu.remove();
    shade.remove();
    before?.focus?.({ preventScroll: true });
  };
  const run = (on) => {
    close();
    on();
  };
  const offered = items.filter(Boolean);
  const buttons = offered.map((item) =>
    el("button", { type: "button", role: "menuitem", tabindex: -1, class: item.kind, on: { click: () => run(item.on) } },
      icon(item.icon), el("span", { text: item.label }),
      item.key && el("kbd", { "aria-hidden": "true", text: item.key })));
  const menu = el("div", { class: "menu", role: "menu", "aria-label": label }, ...buttons);
  const shade = el("div", { class: "shade", on: { click: close, contextmenu: (event) => { event.preventDefault(); close(); } } });
  menu.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(document.activeElement);
    const steps = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 };
    if (event.key === "Escape" || event.key === "Tab") close();
    else if (event.key in steps) buttons.at(steps[event.key] % buttons.length)?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  document.querySelector("main")?.append(shade, menu);
  const box = menu.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(x, innerWidth - box.width - 8))}px`;
  menu.style.top = `${Math.max(8, Math.min(y, innerHeight - box.height - 8))}px`;
  buttons[0]?.focus();
}
