/** Dark or light: as the system has it, until somebody chooses. */

const STORED = "davserver.theme";

/** Shows what was chosen before, if anything. */
export function applyTheme() {
  const chosen = localStorage.getItem(STORED);
  if (chosen) document.documentElement.dataset.theme = chosen;
}

/** Changes to the other one. */
export function toggleTheme() {
  const { dataset } = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const next = (dataset.theme ?? system) === "dark" ? "light" : "dark";
  dataset.theme = next;
  localStorage.setItem(STORED, next);
}
