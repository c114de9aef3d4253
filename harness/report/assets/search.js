// The page of a search has its trade-offs and nothing else.
"use strict";

let beside = { of: "", base: "" };
function drawSearch(change) {
  beside = { ...beside, ...change };
  drawTradeoff(beside, () => true, drawSearch, null, null);
}

async function startSearch() {
  theme();
  byId("theme").addEventListener("click", nextTheme);
  await load();
  drawSearch({});
  document.body.dataset.ready = "true";
}
startSearch().catch((error) => { byId("told").hidden = false; byId("told").textContent = `✗ The trials cannot be shown here: ${visible(error.message)}. A browser of 2024 or later is needed.`; });
