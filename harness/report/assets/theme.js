// Colours: as the system has them, light or dark; what was chosen is kept.
"use strict";

const THEMES = { auto: "◐ Auto", light: "○ Light", dark: "● Dark" };
function theme(next) {
  const kept = (write) => { try { return write ? localStorage.setItem("harness-theme", next) : localStorage.getItem("harness-theme"); } catch { return null; } };
  const name = next ?? (kept() in THEMES ? kept() : "auto");
  if (next) kept(true);
  document.documentElement.dataset.theme = name;
  byId("theme").textContent = THEMES[name];
  byId("theme").setAttribute("aria-label", `Colours: ${name}`);
}
const nextTheme = () => { const names = Object.keys(THEMES); theme(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]); };
