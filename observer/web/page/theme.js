/** The colour theme: the device's, unless the reader chose one. */

const KEY = "observer-theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };

function stored() {
  const found = localStorage.getItem(KEY);
  return found === "light" || found === "dark" ? found : "auto";
}

function apply(theme, button) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  button.textContent = `Theme: ${theme}`;
}

/** @param {() => void} onChange colours changed: drawn charts need them, too */
export function startTheme(onChange) {
  const button = document.getElementById("theme");
  apply(stored(), button);
  button.addEventListener("click", () => {
    const theme = NEXT[stored()];
    localStorage.setItem(KEY, theme);
    apply(theme, button);
    onChange();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onChange);
}
