// Another run.json, dropped on the page: what changed from the earlier of the two to the later, by the rules of `harness compare`.
"use strict";

let COMPARED = null; // { run, rows: id to row of the other run, pairs }
const UNMEASURED = new Set(["error", "missing", "skipped"]);
const ACCURACY = new Set(["fidelity", "budget", "task"]);

// What the page draws from of a run; everything else of it may be as it is.
const isText = (value) => typeof value === "string";
const isTimes = (one) => one == null || (Number.isFinite(one.p50_ms) && one.ci95_ms?.length === 2);
const isRecord = (one) => isText(one?.case?.id) && isText(one.status) && isText(one.headline) && Array.isArray(one.case.tags ?? []) &&
  Array.isArray(one.checks ?? []) && (one.checks ?? []).every((check) => isText(check?.name)) && isTimes(one.latency?.host) && isTimes(one.latency?.gpu);
const isMachine = (one) => Array.isArray(one?.gpus ?? []) && (one?.gpus ?? []).every((gpu) => isText(gpu?.driver));

async function readRun(file) {
  let run, text;
  try { text = await file.text(); } catch (error) { throw new Error(`${file.name} cannot be read: ${error.message}`); }
  try { run = JSON.parse(text); } catch { throw new Error(`${file.name} is not JSON: drop the run.json of a run`); }
  if (run?.schema !== SCHEMA || !Array.isArray(run.records)) throw new Error(`${file.name} is no run of this harness: its schema is ${String(run?.schema)}, expected ${SCHEMA}`);
  const damaged = run.records.findIndex((record) => !isRecord(record));
  if (damaged >= 0) throw new Error(`${file.name} is damaged: its case ${damaged + 1} is none`);
  if (!run.environments || !Object.values(run.environments).every(isMachine)) throw new Error(`${file.name} is damaged: its environments are none`);
  return run;
}

async function compareWith(run) {
  const theirs = new Map(run.records.map((record) => [record.case.id, rowOf(record)]));
  const ours = new Map(ROWS.map((row) => [row.id, row]));
  const later = !(Date.parse(run.started) > Date.parse(INDEX.run.started)); // whether this page's run is the later one
  const pairs = [];
  for (const id of new Set([...ours.keys(), ...theirs.keys()])) {
    const [mine, other] = [ours.get(id), theirs.get(id)];
    const [before, after] = later ? [other, mine] : [mine, other];
    const checks = before && after ? [await checksOf(before), await checksOf(after)] : [[], []];
    const said = differences(before, after, checks);
    pairs.push({ id, before, after, words: said, worse: said.length > 0 && isWorse(before, after, checks[1]) });
  }
  const rank = (pair) => (pair.worse ? 0 : pair.words.length ? 1 : 2);
  pairs.sort((a, b) => rank(a) - rank(b) || (a.after?.status.rank ?? -1) - (b.after?.status.rank ?? -1));
  COMPARED = { run, rows: theirs, pairs, names: later ? [run.id, INDEX.run.id] : [INDEX.run.id, run.id], environments: later ? moved(run.environments, INDEX.environments) : moved(INDEX.environments, run.environments) };
}

const checksOf = async (row) => (row.record ? row.record.checks ?? [] : (await detail(row)).checks);
const statusWord = (row) => `${row.status.name}${row.record?.error ? ` (${row.record.error.kind})` : ""}`;

function differences(before, after, [old, now]) {
  if (!before) return [`only in the later run: ${statusWord(after)}, ${after.headline}`];
  if (!after) return [`vanished: was ${statusWord(before)}`];
  const found = [];
  if (before.status !== after.status) found.push(`${before.status.name} → ${after.status.name}: ${after.headline}`);
  if (before.p50_ms !== null && after.p50_ms !== null) {
    if (before.clock !== after.clock) found.push(`timed on another clock: ${before.clock} → ${after.clock}, the times cannot be compared`);
    else if (after.low_ms > before.high_ms || after.high_ms < before.low_ms) {
      found.push(`p50 ${milliseconds(before.p50_ms)} → ${milliseconds(after.p50_ms)} (${change(after.p50_ms / before.p50_ms)}, ${after.low_ms > before.high_ms ? "slower" : "faster"}; ${after.clock} clock)`);
    }
  }
  const known = new Map(old.filter((check) => ACCURACY.has(check.question)).map((check) => [`${check.name}\n${check.output}`, check]));
  for (const check of now) {
    const was = known.get(`${check.name}\n${check.output}`);
    if (was && !check.name.endsWith("_drift") && gotWorse(was, check)) found.push(`${labelOf(check)} got worse: ${number(was.value)} → ${number(check.value)}`);
  }
  return found;
}

function gotWorse(old, now) {
  if (old.value === null || Number(old.value).toPrecision(4) === Number(now.value).toPrecision(4) || number(old.value) === number(now.value)) return false;
  if (now.value === null) return true;
  const higher = higherIsBetter(now) ?? higherIsBetter(old);
  return higher !== null && (now.value < old.value) === higher;
}

function isWorse(before, after, checks) {
  if (!before) return after.status.blocks;
  if (!after) return true;
  if (after.status.name === "skipped") return !UNMEASURED.has(before.status.name);
  if (after.status.blocks && !before.status.blocks) return true;
  if (before.p50_ms === null || after.p50_ms === null || before.clock !== after.clock) return false;
  const check = checks.find((one) => one.name === "latency/regression" && one.limit && one.baseline);
  const allowed = check ? check.limit / check.baseline : 1.05;
  return after.low_ms > before.high_ms && after.p50_ms > Math.max(allowed * before.p50_ms, before.p50_ms + 0.005);
}

function moved(before, after) {
  const facts = (one) => ({ "machine class": one.fingerprint, host: one.host, driver: [...new Set((one.gpus ?? []).map((gpu) => gpu.driver))].sort().join(", ") || "absent", ...one.versions });
  const lines = [];
  for (const key of [...new Set([...Object.keys(before), ...Object.keys(after)])].sort()) {
    if (!before[key] || !after[key]) { lines.push(`${key}: only in the ${before[key] ? "earlier" : "later"} run`); continue; }
    const [old, now] = [facts(before[key]), facts(after[key])];
    for (const name of new Set([...Object.keys(old), ...Object.keys(now)])) {
      if (old[name] !== now[name]) lines.push(`${name} ${old[name] ?? "absent"} → ${now[name] ?? "absent"}`);
    }
  }
  return lines;
}

function drawCompared(state, fits) {
  const place = byId("compared");
  place.hidden = !COMPARED;
  if (!COMPARED) return;
  const { pairs, names } = COMPARED;
  const only = !state.all;
  const shown = pairs.filter((pair) => (!only || pair.words.length) && fits(pair.after?.place === undefined ? pairRow(pair) : pair.after));
  const count = (test) => pairs.filter(test).length;
  place.replaceChildren(
    h("h2", { tabindex: -1, id: "compared-title" }, "From ", h("span", { class: "code" }, names[0]), " to ", h("span", { class: "code" }, names[1])),
    COMPARED.environments.length > 0 && h("ul", { class: "plain differs" }, COMPARED.environments.map((line) => h("li", {}, h("span", { class: "tag" }, "≠ environment"), " ", line))),
    h("div", { class: "tools" },
      h("label", {}, h("input", { type: "checkbox", id: "only", checked: only, change: (event) => go({ all: event.target.checked ? "" : "1" }) }), " Only differences"),
      h("span", { class: "quiet", role: "status" }, `${count((pair) => pair.worse)} worse, ${count((pair) => !pair.worse && pair.words.length)} otherwise changed, ${count((pair) => !pair.words.length)} unchanged`),
      h("button", { type: "button", class: "button", click: () => { COMPARED = null; go({ all: "" }); } }, "Close")),
    region("Comparison of two runs", h("table", { class: "against stack" }, head("case", names[0], names[1], ["p50 before, ms", true], ["p50 now, ms", true], ["change", true], "what changed"), h("tbody", { id: "compared-rows" }))),
    h("p", { class: "pager", hidden: true }, h("button", { type: "button" })));
  const here = (row) => row && ROWS[row.place] === row;
  paged(byId("compared-rows"), place.lastElementChild, shown, ({ id, before, after, words: said, worse }) => {
    const same = before && after && before.clock === after.clock && before.p50_ms > 0 && after.p50_ms !== null;
    return h("tr", {}, h("th", { scope: "row" }, here(after) || here(before) ? caseLink({ id }, state) : h("span", { class: "id" }, id), worse && [" ", h("span", { class: "tag bad" }, "✗ worse")]),
      [before, after].map((row) => h("td", {}, row ? badge(row.status) : h("span", { class: "tag" }, "∅ not in this run"))),
      [before, after].map((row, at) => h("td", { class: "n", "data-label": at ? "now" : "before" }, row?.p50_ms != null && digits(row.p50_ms))),
      h("td", { class: "n", "data-label": "change" }, same && change(after.p50_ms / before.p50_ms)),
      h("td", { class: "whole" }, said.length ? said.map((line) => h("div", {}, line)) : h("span", { class: "quiet" }, "no difference")));
  });
}

// What the filter asks of a row, for a case that this page's run does not have.
const pairRow = ({ before, after }) => ({ ratio: null, check: null, tags: [], ...(after ?? before) });
