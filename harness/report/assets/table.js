// The table of cases: sixty rows at a time, drawn again on every key press; the matrix; and the CSV of what is shown.
"use strict";

const PAGE = 60;
const PRINTED = 2000;
const LINES = 40;

const reading = (row) => row.place;
const COLUMNS = [
  { name: "status", key: reading },
  { name: "case", key: (row) => row.id },
  { name: "why", key: (row) => row.headline, title: "the headline of the verdict" },
  { name: "p50, ms", sort: "p50", key: (row) => row.p50_ms, number: true, title: "median latency on the clock that the gate decides on" },
  { name: "change", key: (row) => row.ratio, number: true, title: "p50 against the baseline's p50; the bar ends at 20 %" },
  { name: "tightest accuracy check", sort: "check", key: (row) => row.check?.[0] ?? null, title: "the accuracy check that fails by most or is nearest to its limit" },
];
const sortName = (column) => column.sort ?? column.name;

const collator = new Intl.Collator(undefined, { numeric: true });

// The rows in the order of a column ("-p50": largest first); rows without a value stay last.
function sorted(rows, sort) {
  const column = COLUMNS.find((one) => sortName(one) === sort?.replace("-", ""));
  if (!column) return rows;
  const sign = sort.startsWith("-") ? -1 : 1;
  const order = column.number || column.key === reading ? (a, b) => a - b : collator.compare;
  return rows.map((row) => ({ row, key: column.key(row) }))
    .sort((a, b) => (a.key === null) - (b.key === null) || (a.key === null ? 0 : sign * order(a.key, b.key)))
    .map(({ row }) => row);
}

const toneOf = (row) => ({ regressed: "bad", improved: "good" })[row.status.name] ?? "";
const ratioOf = (row) => row.ratio !== null && h("span", { class: `ratio ${toneOf(row)}` }, change(row.ratio));
const caseLink = (row, state) => h("a", { class: "id", href: address({ ...state, case: row.id }) }, row.id);

function tableRow(row, state) {
  const [label, value, limit, ok] = row.check ?? [];
  return h("tr", { class: row.status.blocks && "blocks" },
    h("td", {}, badge(row.status), row.unstable && [" ", unstableMark(row)]),
    h("th", { scope: "row" }, caseLink(row, state)),
    h("td", { class: "whole why", title: row.headline.length > 160 && row.headline.slice(0, 2000) }, row.headline.slice(0, 600)),
    h("td", { class: "n", "data-label": "p50, ms" }, row.p50_ms !== null && [digits(row.p50_ms), " ", h("small", {}, row.clock)]),
    h("td", { class: "n", "data-label": "change" }, ratioOf(row), row.ratio !== null && deviation(row.ratio, toneOf(row))),
    h("td", { class: "whole check" }, label !== undefined &&
      [h("span", { class: ok ? "quiet" : "bad" }, ok ? "✓ " : "✗ ", label), " ", number(value), h("span", { class: "quiet" }, ` limit ${number(limit)}`)]));
}

// Draws the first rows of `list` and the others as the reader comes to them; `body` is the table's body.
function paged(body, more, list, draw) {
  let drawn = 0;
  const add = (count) => {
    body.append(...list.slice(drawn, drawn + count).map(draw));
    drawn = Math.min(list.length, drawn + count);
    more.hidden = drawn >= list.length;
    more.firstElementChild.textContent = `Show ${Math.min(PAGE, list.length - drawn)} more of ${list.length - drawn}`;
  };
  body.replaceChildren();
  more.firstElementChild.onclick = () => add(PAGE);
  add(PAGE);
  return { upTo: (count) => add(Math.max(0, count - drawn)) };
}

function tableHead(state, onSort) {
  return h("tr", {}, COLUMNS.map((column) => {
    const name = sortName(column);
    const order = state.sort === name ? "ascending" : state.sort === `-${name}` ? "descending" : null;
    return h("th", { scope: "col", class: column.number && "n", "aria-sort": order },
      h("button", { type: "button", title: column.title, click: () => onSort(order === null ? name : order === "ascending" ? `-${name}` : "") }, column.name));
  }));
}

const FORMULA = /(^|[;|] ?)(?=[=+\-@＝＋－＠])/g;
const csvCell = (value) => {
  if (value === null || value === undefined) return "";
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const text = visible(value).replace(/\s+/g, " ").trim().replace(FORMULA, "$1'");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
const CSV = {
  id: (row) => row.id, suite: (row) => row.suite, model: (row) => row.model, backend: (row) => row.backend,
  precision: (row) => row.precision, shape: (row) => row.shape, status: (row) => row.status.name, headline: (row) => row.headline,
  clock: (row) => row.clock, p50_ms: (row) => row.p50_ms, baseline_p50_ms: (row) => row.baseline_ms, ratio: (row) => row.ratio,
  worst_check: (row) => row.check?.[0], worst_value: (row) => row.check?.[1], worst_limit: (row) => row.check?.[2], worst_ok: (row) => row.check?.[3],
};
const csvOf = (rows) =>
  [Object.keys(CSV).join(","), ...rows.map((row) => Object.values(CSV).map((of) => csvCell(of(row))).join(","))].join("\n") + "\n";

// --- the matrix: models and shapes down, backends and precisions across ---------------------------------------------

const PRECISIONS = ["fp32", "tf32", "fp16", "bf16", "int8", "fp8", "as-is"];
const BY_NAME = new Set(["error", "failed", "missing", "skipped"]); // a time beside these would be read as fine

function columnsOf(rows) {
  const found = new Map();
  for (const { backend, precision } of rows) found.set(`${backend}\n${precision}`, [backend, precision]);
  const place = (precision) => (PRECISIONS.indexOf(precision.split("+")[0]) + 1 || 99);
  return [...found.values()].sort((a, b) => (a[0] > b[0]) - (a[0] < b[0]) || place(a[1]) - place(b[1]) || (a[1] > b[1]) - (a[1] < b[1]));
}

function cell(row, state) {
  if (!row) return h("td", {});
  const text = BY_NAME.has(row.status.name) ? row.status.name : row.ratio !== null ? change(row.ratio) : milliseconds(row.p50_ms);
  const hidden = !BY_NAME.has(row.status.name) && h("span", { class: "hidden" }, `${row.status.name} `);
  return h("td", {}, h("a", { class: `cell ${row.status.tone}`, href: address({ ...state, case: row.id }), title: `${row.id}\n${row.status.name}: ${row.headline.slice(0, 500)}` },
    h("span", { class: "glyph", "aria-hidden": "true" }, row.status.glyph), hidden, text));
}

function drawMatrix(rows, state, lines = LINES) {
  const columns = columnsOf(rows);
  const backends = [...new Set(columns.map(([backend]) => backend))];
  const first = columns.map(([backend], place) => backend !== columns[place - 1]?.[0]);
  const table = new Map();
  for (const row of rows) {
    const key = `${row.suite}\n${row.model}\n${row.shape}`;
    if (!table.has(key)) table.set(key, { row, cells: new Map() });
    table.get(key).cells.set(`${row.backend}\n${row.precision}`, row);
  }
  const all = [...table.values()].sort((a, b) => collator.compare(a.row.suite, b.row.suite) || collator.compare(a.row.model, b.row.model) || collator.compare(a.row.shape, b.row.shape));
  const head = byId("matrix-table").tHead;
  head.replaceChildren(
    h("tr", {}, h("th", { rowspan: 2, scope: "col", class: "corner" }, "model · shape"),
      backends.map((backend) => h("th", { scope: "colgroup", class: "backend", colspan: columns.filter((one) => one[0] === backend).length }, backend))),
    h("tr", {}, columns.map(([, precision], place) => h("th", { scope: "col", class: `precision ${first[place] ? "first" : ""}` }, precision))));
  const suites = new Set(all.map(({ row }) => row.suite)).size > 1;
  let suite = null;
  const drawn = all.slice(0, lines).flatMap(({ row, cells }) => {
    const title = suites && row.suite !== suite && h("tr", { class: "suite" }, h("th", { colspan: columns.length + 1, scope: "rowgroup" }, row.suite));
    suite = row.suite;
    return [title, h("tr", {}, h("th", { scope: "row" }, h("span", { class: "model", title: row.model.slice(0, 500) }, row.model), " ", h("span", { class: "quiet" }, row.shape.slice(0, 80))),
      columns.map(([backend, precision]) => cell(cells.get(`${backend}\n${precision}`), state)))].filter(Boolean);
  });
  byId("matrix-table").tBodies[0].replaceChildren(...drawn);
  const more = byId("matrix-more");
  more.hidden = all.length <= lines;
  more.firstElementChild.textContent = `Show ${Math.min(LINES * 4, all.length - lines)} more of ${all.length - lines} lines`;
  more.firstElementChild.onclick = () => drawMatrix(rows, state, lines + LINES * 4);
}
