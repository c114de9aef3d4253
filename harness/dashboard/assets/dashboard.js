// Sifts the cases of a page; everything is there without it.
"use strict";
(() => {
  const box = document.getElementById("sieve");
  if (!box) return;
  const picks = [...document.querySelectorAll("[data-pick]")];
  const rows = [...document.querySelectorAll("tr[data-s]")].map((row) => ({ row, text: row.textContent.toLowerCase() }));

  function apply() {
    const terms = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const picked = picks.filter((one) => one.getAttribute("aria-pressed") === "true").map((one) => one.dataset.pick);
    let shown = 0;
    for (const { row, text } of rows) {
      const named = picked.includes(row.dataset.s) || (picked.includes("unstable") && "u" in row.dataset);
      const fits = (!picked.length || named) &&
        terms.every((term) => (term.length > 1 && term[0] === "-" ? !text.includes(term.slice(1)) : text.includes(term)));
      row.hidden = !fits;
      shown += fits;
    }
    document.getElementById("sieved").textContent = `${shown} of ${rows.length} cases`;
  }

  box.addEventListener("input", apply);
  box.form.addEventListener("submit", (event) => event.preventDefault());
  for (const pick of picks) {
    pick.addEventListener("click", () => {
      pick.setAttribute("aria-pressed", String(pick.getAttribute("aria-pressed") !== "true"));
      apply();
    });
  }
  box.form.hidden = false;
  apply();
})();
