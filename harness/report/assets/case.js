// One case on a page of its own: why it is so, what was measured, where the time went, and how to run it alone.
"use strict";

const region = (label, table) => h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, table);
const head = (...names) => h("thead", {}, h("tr", {}, names.map((name) => {
  const [text, right, title] = Array.isArray(name) ? name : [name];
  return h("th", { scope: "col", class: right && "n", title }, text);
})));
const block = (title, ...children) => children.flat().some(Boolean) && h("section", { class: "block" }, h("h2", {}, title), children);
const facts = (values) => {
  const found = Object.entries(values ?? {});
  return found.length > 0 && h("dl", { class: "facts" }, found.map(([name, value]) => {
    const [label, text] = quantity(name, value);
    return h("div", {}, h("dt", {}, label), h("dd", {}, text));
  }));
};

function checksTable(checks) {
  const order = [...checks].sort((a, b) => a.ok - b.ok);
  const line = (check) => {
    const idle = check.ok && check.reason.startsWith("not checked");
    const share = Math.max(0, used(check)); // a drop below zero is a gain, and uses nothing up
    return h("tr", { class: !check.ok && "broken" },
      h("th", { scope: "row" }, labelOf(check)),
      h("td", { class: `nowrap ${idle ? "quiet" : check.ok ? "good" : "bad"}` }, idle ? "– not checked" : check.ok ? "✓ holds" : "✗ broken"),
      h("td", {}, check.question),
      h("td", { class: "n", "data-label": "value" }, number(check.value)),
      h("td", { class: "n", "data-label": "limit" }, number(check.limit)),
      h("td", { class: "n", "data-label": "baseline" }, check.baseline !== null && number(check.baseline)),
      h("td", { class: "n gauge", "data-label": "of the limit" }, check.limit !== null && check.limit !== 0 && Number.isFinite(share) &&
        [h("span", {}, `${number(Math.round(share * 1000) / 10)} %`), s("svg", { class: check.ok ? "good" : "bad", height: 8, "aria-hidden": "true" },
          s("rect", { class: "track", width: "100%", y: 2, height: 4, rx: 2 }), s("rect", { width: percent(Math.min(100, share * 100)), y: 2, height: 4, rx: 2 }))]),
      h("td", { class: "reason whole" }, check.reason));
  };
  const dull = (check) => check.ok && check.value === 0 && (check.limit === 0 || check.limit === null);
  const table = (rows) => region("Checks", h("table", { class: "stack checks" },
    head("check", "result", "question", ["value", true], ["limit", true], ["baseline", true], ["used", true, "the share of the limit that is used up; above 100 % it is broken"], "reason"),
    h("tbody", {}, rows.map(line))));
  const shown = order.filter((check) => !dull(check)), folded = order.filter(dull);
  return [shown.length > 0 && table(shown),
    folded.length > 0 && h("details", { class: "more" }, h("summary", {}, `${folded.length} more ${folded.length === 1 ? "check holds" : "checks hold"} with nothing to count: ${folded.map(labelOf).join(", ").slice(0, 300)}`), table(folded))];
}

function latencyBlock(row, record, other) {
  const clocks = ["host", "gpu"].sort((a, b) => (b === row.clock) - (a === row.clock));
  const sides = [["now", record.latency], ["baseline", record.baseline], ["other run", other?.latency]];
  const times = clocks.flatMap((clock) => sides.map(([whose, latency]) => ({ clock, whose, q: latency?.[clock] })).filter(({ q }) => q));
  if (!times.length) return null;
  const line = ({ clock, whose, q }) => h("tr", { class: whose !== "now" && "quiet" },
    h("th", { scope: "row" }, `${clock} clock`, clock === row.clock && whose === "now" && [" ", h("span", { class: "tag", title: "the gate decides on this clock" }, "decides")]),
    h("td", {}, whose), [q.p50_ms, null, q.p10_ms, q.p90_ms, q.p99_ms, q.mean_ms].map((value, place) =>
      h("td", { class: "n" }, place === 1 ? `${digits(q.ci95_ms[0])} – ${digits(q.ci95_ms[1])}` : digits(value))), h("td", { class: "n" }, q.samples));
  const now = onClock(record.latency, row.clock), before = onClock(record.baseline, row.clock);
  return block("Latency",
    region("Latency", h("table", {}, head("clock", "whose", ["p50, ms", true, "median"], ["95 % interval, ms", true, "of the median"], ["p10", true], ["p90", true], ["p99", true, "99 % of the samples are faster"], ["mean", true], ["samples", true]), h("tbody", {}, times.map(line)))),
    now && distribution(now, before),
    record.launches?.dots.length > 0 && launches(record.launches),
    (record.launches?.failures ?? []).map((text) => h("p", { class: "quiet small" }, `A launch gave nothing: ${text}`)),
    record.why_stored && h("p", { class: "quiet small" }, `Compared with stored times: ${record.why_stored}`));
}

// Points of earlier runs, null where a run did not have the case.
function pastPoints({ base_ms, steps, words: told } = { steps: [] }) {
  return steps.map((step, place) => {
    if (step === null && !told[place]) return null;
    const [name, mark, reason] = told[place] ?? ["passed", "", ""];
    const value = step === null ? null : base_ms * (1 + step / 1e4);
    const [run, , commit] = INDEX.past[place];
    const said = `${run}${commit ? ` · ${commit.slice(0, 12)}` : ""}: ${milliseconds(value)}, ${name}${mark && `, ${mark}: ${reason}`}`;
    return { value, mark, reason, status: name, tone: STATUSES.find((one) => one.name === name)?.tone, run, words: said };
  });
}

function trendBlock(row, record) {
  const earlier = pastPoints(record.past);
  const last = { value: row.p50_ms, tone: row.status.tone, status: row.status.name, run: INDEX.run.id, words: `this run: ${milliseconds(row.p50_ms)}, ${row.status.name}` };
  const before = onClock(record.baseline, row.clock);
  const limit = record.checks.find((check) => check.name === "latency/regression")?.limit;
  if (earlier.some((point) => Number.isFinite(point?.value))) {
    const points = [...earlier, last];
    return block("Trend", trend(points, { band: before?.ci95_ms, limit, unit: "p50" }),
      h("details", { class: "more" }, h("summary", {}, `The ${points.filter(Boolean).length} runs as a table`),
        region("Trend", h("table", {}, head("run", ["p50, ms", true], "status", "mark"), h("tbody", {}, points.map((point, place) => h("tr", {},
          h("th", { scope: "row" }, point?.run ?? INDEX.past[place][0]), h("td", { class: "n" }, point ? digits(point.value) : "not in that run, or timed otherwise"), h("td", {}, point?.status ?? ""), h("td", {}, point?.mark && `${point.mark}: ${point.reason}`))))))));
  }
  const screened = record.screening;
  if (!screened?.history?.length) return null;
  const points = [...screened.history, ...screened.now].map((one, place) => ({ value: one, tone: "", words: `${place < screened.history.length ? "an accepted run" : "this run"}: ${milliseconds(one)}` }));
  return block("Accepted runs and this one", trend(points, { limit, unit: screened.quantile }),
    h("p", { class: "quiet small" }, `${screened.quantile} of ${screened.history.length} accepted runs and ${screened.now.length} of this one, each from a process of its own: ${points.map((point) => digits(point.value)).join(", ")} ms`));
}

// Times of layers stand with what was fused into them, and apart where there is a baseline or a reason to tell.
const compared = ({ layers, fusion }) => !fusion?.times || layers?.untold || layers?.baseline_ms;

function layersBlock(found) {
  if (!found) return null;
  if (found.untold) return block("Layers", h("p", { class: "quiet" }, `Layers were not profiled: ${found.untold}`));
  const most = Math.max(...found.rows.map((layer) => Math.max(layer[3], layer[4] ?? 0)));
  const told = found.rows.some((layer) => layer[2]);
  const line = ([nodes, kind, ran, ms, before, was]) => h("tr", {},
    h("th", { scope: "row" }, nodes, was && h("div", { class: "quiet small" }, "≠ was fused: ", was)),
    h("td", {}, kind), told && h("td", {}, ran), h("td", { class: "bars" }, bar(ms, most, before)),
    h("td", { class: "n" }, digits(ms)), h("td", { class: "n" }, found.total_ms ? `${Math.round((100 * ms) / found.total_ms)} %` : ""),
    h("td", { class: "n" }, before !== null ? digits(before) : found.baseline_ms ? "not there" : ""),
    h("td", { class: "n" }, before ? change(ms / before) : ""));
  const table = (rows) => region("Layers", h("table", { class: "layers" },
    head(["what was fused", false, "the nodes of the file that one layer computes"], "kind", ...(told ? ["precision"] : []), ["time", false, "thin bar: the baseline's"], ["ms", true], ["share", true], ["baseline, ms", true], ["change", true]), h("tbody", {}, rows.map(line))));
  const count = found.count > found.rows.length ? `The ${found.rows.length} slowest of ${found.count} layers` : `All ${found.count} layers`;
  return block("Layers", h("p", { class: "quiet" }, `${count}: ${milliseconds(found.total_ms)} together${found.baseline_ms ? `, ${milliseconds(found.baseline_ms)} in the baseline` : ""}; median of ${found.iterations} profiled inferences on the ${found.clock}.`),
    table(found.rows.slice(0, 12)),
    found.rows.length > 12 && h("details", { class: "more" }, h("summary", {}, `${found.rows.length - 12} more layers`), table(found.rows.slice(12))));
}

// One output: how many elements are off by how much, and which by most.
function outputErrors(found) {
  const off = found.size - found.equal;
  const line = (one) => h("tr", {}, h("th", { scope: "row", class: "code" }, `${found.batches > 1 ? `batch ${one[0]} ` : ""}[${one[1].join(", ")}]`),
    ...[one[2], one[3]].map((text) => h("td", { class: "n" }, text)), h("td", { class: "n" }, number(one[4])));
  const said = off === 0 ? `none of ${found.size} elements differs from the reference` : `${off} of ${found.size} elements ${off === 1 ? "differs" : "differ"} from the reference`;
  const many = found.worst.length === 1 ? "error" : `${found.worst.length} errors`;
  return h("div", { class: "output" },
    h("h3", {}, found.output), h("p", { class: "quiet" }, found.size === 0 ? "it has no elements" : said),
    found.counts.length > 0 && errorHistogram(found),
    found.worst.length > 0 && h("details", { class: "more", open: found.open }, h("summary", {}, `The ${found.worst.length === off ? "" : "largest "}${many}`),
      region("Largest errors", h("table", {}, head("element", ["reference", true], ["found", true], ["error", true, "the absolute difference"]), h("tbody", {}, found.worst.map(line))))));
}

function outputsBlock(record) {
  if (record.light) return block("Outputs", h("p", { class: "quiet" }, "In a report of so many cases those that passed are without measurements, errors of outputs, fusion, stages and the other clock: run.json has them."));
  if (!record.measurements.length) return null;
  const broken = new Set(record.checks.filter((check) => !check.ok).map((check) => check.output));
  const found = [...record.deviations].sort((a, b) => broken.has(b.output) - broken.has(a.output))
    .map((one) => ({ ...one, open: broken.has(one.output), batches: 1 + Math.max(0, ...one.worst.map((worst) => worst[0])) }));
  const shown = found.slice(0, 4), folded = found.slice(4);
  const outputs = new Set(record.measurements.map((one) => one.output).filter(Boolean));
  return block("Outputs", shown.map(outputErrors),
    folded.length > 0 && h("details", { class: "more" }, h("summary", {}, `${folded.length} more outputs`), folded.map(outputErrors)),
    h("details", { class: "more" }, h("summary", {}, `All ${record.measurements.length} measurements of ${outputs.size} ${outputs.size === 1 ? "output" : "outputs"}`),
      region("Measurements", h("table", {}, head("output", "metric", ["value", true], "settings", "detail"),
        h("tbody", {}, record.measurements.map((one) => h("tr", {}, h("th", { scope: "row" }, one.output ?? ""), h("td", {}, one.metric), h("td", { class: "n" }, number(one.value)),
          h("td", {}, Object.keys(one.settings ?? {}).length > 0 && words(one.settings)), h("td", { class: "reason" }, one.detail))))))));
}

// [label, answer, rows]: classes as numbers, or what was said and heard as text.
const isPair = (pair) => pair.length === 3 && Number.isFinite(pair[2]) &&
  (pair.every(Number.isFinite) || (typeof pair[0] === "string" && typeof pair[1] === "string"));

function confusions(text) {
  try {
    return JSON.parse(text || "[]").filter(isPair);
  } catch { // a run.json that somebody else wrote
    return [];
  }
}

// The classes that a task takes for others, or what it hears instead of what is said, the most frequent first.
function mistakesBlock(record) {
  const found = record.measurements.find((one) => one.metric === "task_mistakes");
  const pairs = confusions(found?.detail);
  if (!pairs.length) return null;
  const numbers = typeof pairs[0][0] === "number";
  return block("Taken for something else", h("p", { class: "quiet" }, `${found.value} ${found.value === 1 ? "row" : "rows"} of ${found.output}, the most frequent pairs first`),
    region("Labels taken for others", h("table", { class: "confusion" }, head(["label", numbers], ["taken for", numbers], ["rows", true]),
      h("tbody", {}, pairs.map((pair) => h("tr", {}, pair.map((value, place) => h(place ? "td" : "th", { class: typeof value === "number" ? "n" : undefined, scope: place ? undefined : "row" }, value))))))));
}

const failure = (error, title) => h("div", { class: "failure" },
  h("p", {}, h("span", { class: "tag bad" }, "✗ ", error.kind), " in stage ", h("b", {}, error.stage), title),
  h("pre", {}, error.message), error.log && h("details", { open: true, class: "more" }, h("summary", {}, "Log excerpt"), h("pre", { class: "log", tabindex: 0 }, error.log)));

function tiles(row, record) {
  const measures = record.measures ?? {};
  const order = ["build_s", "engine_bytes", "device_mib", "host_mib", "first_infer_ms"];
  const found = [...order, ...Object.keys(measures).filter((name) => !order.includes(name))].filter((name) => measures[name] !== undefined && measures[name] !== null);
  const tile = (label, text, note, tone) => h("div", { class: "tile" }, h("dt", {}, label), h("dd", {}, text, note && h("small", { class: tone }, " ", note)));
  return h("dl", { class: "tiles" }, row.p50_ms !== null && tile(`p50, ${row.clock}`, milliseconds(row.p50_ms), row.ratio !== null && change(row.ratio), toneOf(row)),
    found.map((name) => tile(...quantity(name, measures[name]))));
}

// The page of one case; `around` are its neighbours in the list that the reader came from.
async function caseView(row, state, around) {
  const record = await detail(row);
  const other = COMPARED?.rows.get(row.id);
  const step = (to, text, key) => to ? h("a", { class: "button", href: address({ ...state, case: to.id }), title: `${text} (${key})`, rel: text.startsWith("Next") ? "next" : "prev" }, text) : h("span", { class: "button off" }, text);
  return h("article", {},
    h("nav", { class: "steps", "aria-label": "Cases" }, h("a", { class: "button", href: address({ ...state, case: "" }), id: "back" }, "← All cases"),
      h("span", { class: "quiet" }, around.at >= 0 && `${around.at + 1} of ${around.count}`), step(around.previous, "Previous", "k"), step(around.next, "Next", "j")),
    h("header", { class: `case-head ${row.status.tone}` },
      h("div", { class: "line" }, badge(row.status), unstableMark(row), h("h1", { class: "id", tabindex: -1, id: "case-title" }, row.id),
        h("button", { type: "button", class: "copy", "aria-label": "Copy the id", click: (event) => copy(row.id, event.target) }, "Copy id"),
        h("button", { type: "button", class: "copy", "aria-label": "Copy a link to this case", click: (event) => copy(location.href.split("#")[0] + address({ case: row.id }), event.target) }, "Copy link")),
      h("p", { class: "lead" }, row.headline),
      row.unstable && h("div", { id: "unstable" }, h("b", {}, `Unstable: ${row.unstable}.`), h("details", { class: "more small" }, h("summary", {}, "By which rule"), INDEX.unstable)),
      other && h("p", { class: "quiet" }, "In the other run: ", badge(other.status), " ", other.headline)),
    h("div", { class: "case-body" },
      h("div", { class: "case-main" },
        tiles(row, record),
        record.error && failure(record.error, record.attempts > 1 && `, ${record.attempts} attempts`),
        (record.earlier ?? []).map((error, place) => failure(error, `, attempt ${place + 1}`)),
        block("Checks", record.checks.length > 0 && checksTable(record.checks)),
        latencyBlock(row, record, other?.record),
        trendBlock(row, record),
        compared(record) && layersBlock(record.layers),
        fusionBlock(record.fusion),
        mistakesBlock(record),
        outputsBlock(record),
        record.notes?.length > 0 && block("Notes", h("ul", { class: "notes" }, record.notes.map((note) => h("li", {}, note))))),
      h("aside", { class: "case-side", "aria-label": "How it was measured" },
        record.reproduce && block("Reproduce", copyable(record.reproduce, "command")),
        block("Stages", facts(record.stages)), block("Timing", facts(record.latency?.settings)), block("Attested", facts(record.attested)),
        block("Digests", record.digests && h("dl", { class: "facts" }, Object.entries(record.digests).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", { class: "code", title: value }, value.slice(0, 16)))))),
        block("About", h("dl", { class: "facts" }, [["suite file", record.location], ["tags", row.tags.join(", ")], ["environment", row.environment], ["reference", record.reference]]
          .filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))))))));
}
