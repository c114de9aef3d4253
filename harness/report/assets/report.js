// Filter, sort, fold and copy. The page is complete without it, except for bodies that travel packed.
"use strict";
(() => {
  const box = document.getElementById("filter");
  const chips = [...document.querySelectorAll("[data-status]")];
  const table = document.getElementById("cases-table");
  const MOST = Number(table.dataset.most);
  const more = document.getElementById("more");
  const fields = new Set(["s", "b", "p", "m", "t"]);
  let rows = [...table.tBodies[0].rows].map((row) => {
    const d = row.dataset;
    return { row, data: d, text: `${row.cells[0].dataset.v} ${d.s} ${d.t}`.toLowerCase() };
  });
  let all = false;

  const matches = (item, term) => {
    const field = term[1] === ":" && fields.has(term[0]) ? term[0] : "";
    const wanted = field ? term.slice(2) : term;
    return (field ? item.data[field].toLowerCase() : item.text).includes(wanted);
  };
  const accepts = (item, terms, statuses) =>
    (!statuses.length || statuses.includes(item.data.s)) &&
    terms.every((term) => (term.length > 1 && term[0] === "-" ? !matches(item, term.slice(1)) : matches(item, term)));
  const pressed = () => chips.filter((c) => c.getAttribute("aria-pressed") === "true").map((c) => c.dataset.status);

  function apply() {
    const terms = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const statuses = pressed();
    let found = 0;
    for (const item of rows) {
      const fits = accepts(item, terms, statuses);
      if (fits) found += 1;
      item.row.hidden = !fits || (!all && found > MOST);
    }
    const left = all ? 0 : found - MOST;
    document.getElementById("shown").textContent = `${found} of ${rows.length} cases`;
    more.hidden = left <= 0;
    more.firstElementChild.textContent = `Show ${left} more`;
  }

  function remember() {
    const state = new URLSearchParams();
    if (box.value.trim()) state.set("q", box.value.trim());
    if (pressed().length) state.set("s", pressed().join(","));
    const hash = state.toString();
    try { history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search); } catch { /* some viewers forbid it */ }
  }

  let bodies;
  async function unpack() {
    const bytes = Uint8Array.from(atob(document.getElementById("packed").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }
  async function fill(fold) {
    if (!fold.hasAttribute("data-packed")) return;
    fold.removeAttribute("data-packed");
    fold.hidden = false;
    bodies ??= unpack();
    fold.insertAdjacentHTML("beforeend", (await bodies)[fold.id]); // escaped when the report was written
  }

  function follow() {
    const hash = location.hash.slice(1);
    if (/^[qs]=/.test(hash)) {
      const state = new URLSearchParams(hash);
      const statuses = (state.get("s") ?? "").split(",");
      box.value = state.get("q") ?? "";
      for (const chip of chips) chip.setAttribute("aria-pressed", String(statuses.includes(chip.dataset.status)));
      apply();
      document.getElementById("all-cases").scrollIntoView();
      return;
    }
    let id = hash;
    try { id = decodeURIComponent(hash); } catch { /* a stray percent sign: take it as it stands */ }
    const fold = document.getElementById(id);
    if (!fold?.classList.contains("case")) return;
    fold.open = true;
    fill(fold).then(() => fold.scrollIntoView());
  }

  function sort(head) {
    const column = head.cellIndex;
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = ({ row }) => row.cells[column].dataset.v ?? row.cells[column].textContent;
    const numeric = [1, 3, 4].includes(column);
    const order = (a, b) => (numeric ? a - b : a.localeCompare(b, undefined, { numeric: true })) * (up ? 1 : -1);
    rows = rows
      .map((item) => ({ item, key: key(item) }))
      .sort((a, b) => (a.key === "") - (b.key === "") || order(a.key, b.key)) // rows without a value stay last
      .map(({ item }) => item);
    table.tBodies[0].append(...rows.map(({ row }) => row));
    apply();
  }

  async function copy(button) {
    const code = button.parentNode.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  box.addEventListener("input", () => { all = false; apply(); remember(); });
  box.form.addEventListener("submit", (event) => event.preventDefault());
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
      apply();
      remember();
    });
  }
  for (const head of table.tHead.rows[0].cells) head.firstElementChild.addEventListener("click", () => sort(head));
  more.firstElementChild.addEventListener("click", () => { all = true; apply(); });
  document.addEventListener("toggle", (event) => {
    if (event.target.open && event.target.classList.contains("case")) fill(event.target);
  }, true);
  document.addEventListener("click", (event) => {
    if (event.target.classList.contains("copy")) copy(event.target);
    if (event.target.closest?.("a")?.hash === location.hash && location.hash) follow(); // a second click opens again
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) { event.preventDefault(); box.focus(); }
  });
  window.addEventListener("hashchange", follow);
  window.addEventListener("beforeprint", () => { all = true; apply(); });
  apply();
  follow();
})();
