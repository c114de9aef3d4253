// The address is the state: #q=filter&sort=column&of=model&base=id&case=id. Everything on the page is drawn from it.
"use strict";

const TITLE = document.title;
const KEYS = ["q", "sort", "all", "of", "base", "case"];
const NOTHING = Object.fromEntries(KEYS.map((key) => [key, ""]));
let state = NOTHING;
let shown = [], table = null, place = 0;

const wellFormed = (text) => text.toWellFormed?.() ?? text;
// Halves of characters, as in names of files that are no UTF-8, cannot stand in an address.
const rowNamed = (id) => ROWS.find((row) => row.id === id) ?? ROWS.find((row) => wellFormed(row.id) === id);
function address(to) {
  const parts = KEYS.filter((key) => to[key]).map((key) => `${key}=${encodeURIComponent(wellFormed(to[key])).replaceAll("%2F", "/").replaceAll("%3A", ":")}`);
  return `#${parts.join("&")}`;
}

// What an address asks for; null where it names a section, or nothing that is known.
function asked() {
  const hash = location.hash.slice(1);
  if (!hash) return NOTHING;
  if (KEYS.some((key) => hash.startsWith(`${key}=`))) {
    const found = new URLSearchParams(hash.replaceAll("+", "%2B"));
    return Object.fromEntries(KEYS.map((key) => [key, found.get(key) ?? ""]));
  }
  let id = hash;
  try { id = decodeURIComponent(hash); } catch { /* a stray percent sign: take it as it stands */ }
  return rowNamed(id) ? { ...state, case: id } : null;
}

// Change the state and the address with it; steps to another case can be gone back from.
function go(change) {
  state = { ...state, ...change };
  try { history.replaceState(null, "", KEYS.some((key) => state[key]) ? address(state) : location.pathname + location.search); } catch { /* some viewers forbid it */ }
  draw();
}

function drawOverview() {
  const fits = predicate(state.q);
  shown = sorted(ROWS.filter(fits), state.sort);
  byId("cases-table").tHead.replaceChildren(tableHead(state, (sort) => go({ sort })));
  table = paged(byId("cases-table").tBodies[0], byId("more"), shown, (row) => tableRow(row, state));
  byId("shown").textContent = shown.length === ROWS.length ? `${ROWS.length} ${ROWS.length === 1 ? "case" : "cases"}` : `${shown.length} of ${ROWS.length}`;
  byId("none").hidden = shown.length > 0;
  for (const chip of document.querySelectorAll("[data-token]")) {
    const [field, value] = chip.dataset.token.split(/:(.*)/s);
    chip.setAttribute("aria-pressed", String(pressed(state.q, field, value)));
  }
  if (byId("matrix")) drawMatrix(shown, state);
  if (byId("tradeoffs")) {
    const fitting = new Set(shown);
    const link = (row) => address({ ...state, case: row.id });
    drawTradeoff(state, (found) => found.options.some((one) => fitting.has(one.row)), go, link, (row) => go({ case: row.id }));
  }
  drawCompared(state, fits);
}

function draw() {
  const box = byId("filter");
  if (box.value.trim() !== state.q) box.value = state.q;
  drawOverview();
  drawCase();
}

async function drawCase() {
  const id = state.case;
  const row = id && rowNamed(id);
  const [overview, view] = [byId("overview"), byId("case")];
  if (!overview.hidden && row) place = scrollY;
  const back = overview.hidden && !row;
  overview.hidden = Boolean(row);
  view.hidden = !row;
  byId("unknown").hidden = !id || Boolean(row);
  byId("unknown-id").textContent = visible(id);
  document.title = row ? `${row.status.glyph} ${visible(row.id)}` : TITLE;
  if (!row) {
    view.replaceChildren();
    if (back) scrollTo(0, place);
    return;
  }
  const at = shown.indexOf(row);
  const drawn = await caseView(row, state, { at, count: shown.length, previous: shown[at - 1], next: at >= 0 ? shown[at + 1] : null });
  if (state.case !== id) return; // the reader went on meanwhile
  view.replaceChildren(drawn);
  scrollTo(0, 0);
  byId("case-title").focus({ preventScroll: true });
}

function follow() {
  const found = asked();
  if (found === null) { // a section of the overview
    if (state.case) { state = { ...state, case: "" }; draw(); byId(location.hash.slice(1))?.scrollIntoView(); }
    return;
  }
  const filtered = found.q && found.q !== state.q && !found.case;
  state = found;
  draw();
  if (filtered) byId("all-cases").scrollIntoView();
}

// --- chips, files, keys -------- -------------------------------------------------------------------------------------

function chips() {
  const values = (key) => Map.groupBy ? Map.groupBy(ROWS, key) : ROWS.reduce((map, row) => map.set(key(row), [...(map.get(key(row)) ?? []), row]), new Map());
  const chip = (field, value, inside) => h("button", { type: "button", class: `badge ${inside.tone ?? "idle"}`, "data-token": `${field}:${value}`, "aria-pressed": "false", title: inside.meaning, click: () => go({ q: toggled(state.q, field, value) }) },
    inside.glyph && h("span", { class: "glyph", "aria-hidden": "true" }, inside.glyph), value, " ", h("b", {}, inside.count));
  const group = (label, children) => h("div", { class: "chips", role: "group", "aria-label": label }, children);
  const unstable = ROWS.filter((row) => row.unstable).length;
  const statuses = STATUSES.map((status) => ({ ...status, count: ROWS.filter((row) => row.status === status).length })).filter((status) => status.count);
  const facet = (field, key) => {
    const found = [...values(key)].filter(([value]) => !/[\s",]/.test(value)).sort((a, b) => b[1].length - a[1].length);
    return found.length > 1 && found.length <= 12 && found.map(([value, rows]) => chip(field, value, { count: rows.length }));
  };
  const facets = [["Backends", facet("b", (row) => row.backend)], ["Precisions", facet("p", (row) => row.precision)]];
  byId("chips").append(group("Statuses", [...statuses.map((status) => chip("s", status.name, status)), unstable > 0 && chip("is", "unstable", { glyph: "↯", tone: "warn", meaning: INDEX.unstable, count: unstable })]), ...facets.filter(([, found]) => found).map(([label, found]) => group(label, found)));
}

async function take(file) {
  const told = byId("told");
  told.hidden = false;
  told.textContent = `Reading ${visible(file.name)} …`;
  try {
    await compareWith(await readRun(file));
    told.hidden = true;
    go({ case: "", all: "" });
    byId("compared").scrollIntoView();
    byId("compared-title").focus({ preventScroll: true });
  } catch (error) {
    told.textContent = `✗ ${visible(error.message)}`;
  }
}

function step(by) {
  if (state.case) {
    document.querySelector(`.steps a[rel=${by > 0 ? "next" : "prev"}]`)?.click();
    return;
  }
  const links = [...byId("cases-table").querySelectorAll("tbody a.id")];
  const at = links.indexOf(document.activeElement);
  if (by > 0 && at === links.length - 1 && !byId("more").hidden) { byId("more").firstElementChild.click(); step(by); return; }
  links[Math.max(0, Math.min(links.length - 1, at + by))]?.focus();
}

const SHORTCUTS = {
  "/": () => { byId("filter").focus(); byId("filter").select(); }, j: () => step(1), k: () => step(-1), t: nextTheme, "?": () => byId("help").showModal(),
  c: () => byId("file").click(), m: () => (state.case ? go({ case: "" }) : byId("matrix")?.scrollIntoView()),
  Escape: () => { if (state.case) go({ case: "" }); else if (state.q) go({ q: "" }); },
};

function wire() {
  const box = byId("filter");
  box.addEventListener("input", () => go({ q: box.value.trim(), case: "" }));
  box.form.addEventListener("submit", (event) => { event.preventDefault(); byId("all-cases").scrollIntoView(); });
  byId("csv").addEventListener("click", () => download("cases.csv", csvOf(shown), "text/csv"));
  byId("theme").addEventListener("click", nextTheme);
  byId("keys").addEventListener("click", () => byId("help").showModal());
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", (event) => { if (event.target.files[0]) take(event.target.files[0]); event.target.value = ""; });
  addEventListener("dragover", (event) => { if (event.dataTransfer?.types.includes("Files")) { event.preventDefault(); document.body.classList.add("dropping"); } });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
  addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    const typing = /^(INPUT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
    if (typing && event.key !== "Escape") return;
    if (!(event.key in SHORTCUTS)) return;
    event.preventDefault();
    if (typing) event.target.blur();
    SHORTCUTS[event.key]();
  });
  addEventListener("hashchange", follow);
  addEventListener("beforeprint", () => table?.upTo(PRINTED));
  const near = new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting) && !byId("more").hidden) byId("more").firstElementChild.click(); }, { rootMargin: "400px" });
  near.observe(byId("more"));
}

async function start() {
  theme();
  await load();
  chips();
  wire();
  state = asked() ?? state;
  draw();
  document.body.dataset.ready = "true";
  if (state.q && !state.case) byId("all-cases").scrollIntoView();
  else if (location.hash && asked() === null) byId(location.hash.slice(1))?.scrollIntoView();
}
start().catch((error) => { byId("told").hidden = false; byId("told").textContent = `✗ The cases cannot be shown here: ${visible(error.message)}. A browser of 2024 or later is needed.`; });
