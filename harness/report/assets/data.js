// The packed data: the index when the page opens, details of a hundred cases when one of them is asked for.
"use strict";

const SCHEMA = "harness.run/1";
let INDEX, ROWS, STATUSES;
const CHUNKS = new Map();

async function unpack(element) {
  const text = element.textContent.trim();
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

const zip = (names, values) => Object.fromEntries(names.map((name, place) => [name, values[place]]));

async function load() {
  INDEX = await unpack(byId("index"));
  STATUSES = INDEX.statuses.map((values) => zip(["name", "glyph", "tone", "meaning", "blocks"], values));
  STATUSES.forEach((status, rank) => { status.rank = rank; });
  ROWS = INDEX.rows.map((values, place) => {
    const row = zip(INDEX.fields.rows, values);
    row.status = STATUSES[row.status];
    row.place = place;
    row.is = row.unstable ? ["unstable"] : [];
    return row;
  });
}

// Everything about one case, in the form of run.json.
async function detail(row) {
  const at = Math.floor(row.place / INDEX.chunk);
  if (!CHUNKS.has(at)) CHUNKS.set(at, unpack(byId(`chunk-${at}`)));
  const found = (await CHUNKS.get(at))[row.place % INDEX.chunk];
  return {
    ...found,
    checks: (found.checks ?? []).map((values) => zip(INDEX.fields.checks, values)),
    measurements: (found.measurements ?? []).map((values) => zip(INDEX.fields.measurements, values)),
    deviations: (found.deviations ?? []).map((values) => zip(INDEX.fields.deviations, values)),
  };
}

const onClock = (latency, clock) => latency?.[clock === "gpu" ? "gpu" : "host"] ?? null;

// A record of a run.json that was dropped on the page, as a row like those of the index.
function rowOf(record) {
  const clock = record.latency?.decided_on ?? null;
  const now = onClock(record.latency, clock);
  return {
    ...record.case, status: STATUSES.find((status) => status.name === record.status) ?? STATUSES[0],
    headline: record.headline, clock, p50_ms: now?.p50_ms ?? null, low_ms: now?.ci95_ms?.[0], high_ms: now?.ci95_ms?.[1], record,
  };
}

// As harness.report.rows: the direction of a metric as the decision itself tells it, and the share of a limit used up.
function higherIsBetter(check) {
  const { value, limit, ok } = check;
  return value === null || limit === null || value === limit ? null : (value > limit) === ok;
}
function used(check) {
  const { value, limit, ok } = check;
  if (value === null || limit === null) return ok ? 0 : Infinity;
  if (value === 0 && limit === 0) return 0;
  if (!higherIsBetter(check)) return limit > 0 ? value / limit : ok ? 1 : Infinity;
  if (value >= 0 && value <= 1 && limit < 1) return (1 - value) / (1 - limit);
  return value > 0 ? limit / value : Infinity;
}
const labelOf = (check) => (check.output && !check.name.includes(check.output) ? `${check.output}/${check.name}` : check.name);
