// Accuracy against latency against size: one model at a time, everything beside a base that the reader chooses.
"use strict";

let TRADEOFFS = null, drawnTradeoff = "";
const MARKS = { worthy: 1, front: 2, line: 4, winner: 8 };

function loadTradeoffs() {
  TRADEOFFS = INDEX.tradeoffs.map((values) => zip(INDEX.fields.tradeoffs, values));
  const machines = new Set(TRADEOFFS.map((found) => found.machine)).size > 1;
  const suites = new Set(TRADEOFFS.map((found) => found.suite)).size > 1;
  for (const found of TRADEOFFS) {
    found.name = visible([suites && found.suite, found.model, found.shape].filter(Boolean).join(" · ") + (machines ? ` on ${found.machine}` : ""));
    found.options = found.options.map((values, at) => optionOf(zip(INDEX.fields.options, values), at));
  }
}

function optionOf(one, at) {
  const row = ROWS[one.place];
  const [p50, low, high] = one.times ?? [row.p50_ms, row.low_ms, row.high_ms];
  const [precision, ...chain] = row.precision.split("+");
  const marks = Object.fromEntries(Object.entries(MARKS).map(([name, bit]) => [name, ((one.marks ?? 0) & bit) > 0]));
  const [p10, p90] = one.around?.length === 2 ? one.around.map((part) => p50 * (1 + part / 1e3)) : [];
  return { ...one, ...marks, row, at, p50, low, high, p10, p90, precision, chain, number: at + 1, timed: p50 > 0 };
}

// --- words and numbers beside the base -----------------------------------------------------------------------------

// As many digits as tell a ratio from 1, and a small one from nothing.
function times(value) {
  if (!Number.isFinite(value)) return NONE;
  const off = Math.abs(value - 1);
  if (off > 0 && off < 0.005) return `${value.toFixed(Math.min(9, Math.ceil(-Math.log10(off))))}×`;
  if (value < 0.1) return `${number(Number(value.toPrecision(3)))}×`;
  return `${value >= 99.95 ? Math.round(value) : value.toFixed(value >= 9.995 ? 1 : 2)}×`;
}
const signed = (value) => (value === 0 ? "0" : `${value > 0 ? "+" : "−"}${number(Math.abs(Number(value.toPrecision(3))))}`);
const same = (ratio) => ratio < INDEX.rules.same && ratio > 1 / INDEX.rules.same;
const known = (...values) => values.every((value) => Number.isFinite(value ?? NaN));
const tone = (better) => (better > 0 ? "good" : better < 0 ? "bad" : "");

const SAME_TITLE = "latencies that are no further apart than 5 % count as the same";
const speedUp = (one, base) => known(one.p50, base.p50) && one.p50 > 0 &&
  (same(base.p50 / one.p50) ? h("span", { class: "quiet", title: SAME_TITLE }, `≈ ${(base.p50 / one.p50).toFixed(2)}×`) : h("span", { class: tone(base.p50 - one.p50) }, times(base.p50 / one.p50)));
const sized = (ratio, better) => h("span", { class: Math.abs(ratio - 1) < 0.005 ? "quiet" : tone(better) }, times(ratio));
const smaller = (one, base) => known(one.bytes, base.bytes) && one.bytes > 0 && sized(base.bytes / one.bytes, base.bytes - one.bytes);
function accuracyChange(found, one, base) {
  if (!known(one.accuracy, base.accuracy)) return null;
  const by = Number((one.accuracy - base.accuracy).toPrecision(4));
  const { error, smallest, room } = INDEX.rules;
  const ratio = Math.max(one.accuracy, smallest) / Math.max(base.accuracy, smallest);
  if (found.metric === error && ratio <= room && ratio >= 1 / room) return h("span", { class: "quiet", title: `errors that are no further apart than a factor of ${room} count as the same` }, `≈ ${signed(by)}`);
  return h("span", { class: tone(found.lower ? -by : by) }, signed(by));
}
const bytesText = (value) => (known(value) ? quantity("size_bytes", value)[1] : NONE);
const named = (one) => `${one.row.backend} ${one.row.precision}`;
// Of a build on the front as well the time may be in doubt, or one that nobody accepted.
const SETTLED = new Set(["passed", "new", "improved"]);
const unsettled = (one) => !SETTLED.has(one.row.status.name);

// The number of an option, as the picture has it; a link where its case has a page.
const pin = (one, link) => {
  const kind = `pin ${one.front ? "front" : one.worthy ? "" : one.row.status.tone === "idle" ? "idle" : "bad"}`;
  return link ? h("a", { class: kind, href: link(one.row), title: one.row.id, "aria-label": `${one.number}: ${one.row.id}` }, one.number) : h("span", { class: kind }, one.number);
};
const star = (one) => one.front && h("span", { class: "star", title: "on the Pareto front: nothing is as good in accuracy, latency and size (where it is known of all), and better in one" }, "★", h("span", { class: "hidden" }, " on the Pareto front"));

// --- the picture -----------------------------------------------------------------------------------------------------

const PLOT = 330, ROWS_SHOWN = 60;
const unfolded = (one) => one.at < ROWS_SHOWN || one.front;

function niceTicks(first, last, count = 5) {
  const raw = (last - first) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw);
  const found = [];
  for (let at = Math.ceil(first / step); at * step <= last; at += 1) found.push(Number((at * step).toPrecision(9)));
  return found;
}
function decades(first, last) {
  const found = [];
  for (let power = Math.floor(Math.log10(first)); power <= Math.log10(last); power += 1) for (const one of [1, 2, 5]) found.push(Number(`${one}e${power}`));
  const inside = found.filter((one) => one >= first && one <= last);
  return inside.length > 7 ? inside.filter((one) => /^1/.test(String(one.toExponential()))) : inside;
}

// Places in percent of the way from `first` to `last`, by ratio where `log`.
function span(values, log, room = 0.09) {
  const as = log ? Math.log : (value) => value, back = log ? Math.exp : (value) => value;
  const [low, high] = [Math.min(...values), Math.max(...values)].map(as);
  const margin = (high - low) * room || (log ? 0.2 : Math.abs(high) * 0.01 || 1);
  const [first, last] = [low - margin, high + margin];
  const ends = [first, last].map(back);
  const wide = log && ends[1] / ends[0] > 8;
  return { at: (value) => Math.min(100, Math.max(0, (100 * (as(value) - first)) / (last - first))), ticks: wide ? decades(...ends) : niceTicks(...ends), ends };
}

// Where the number of a dot stands: inside, else beside it where no other number is, as if the picture were WIDTH wide.
const WIDTH = 430, APART = 15;
function labels() {
  const placed = [];
  return (across, y, r) => {
    const x = (across * WIDTH) / 100, away = r + 9;
    const around = [[0, 0], [0, -away], [0, away], [away, 0], [-away, 0], [away, -away], [-away, away], [away, away], [-away, -away]];
    const places = around.slice(r < 9 ? 1 : 0);
    const [dx, dy] = places.find(([right, down]) => placed.every((one) => Math.hypot(one[0] - x - right, one[1] - y - down) > APART)) ?? places[0];
    placed.push([x + dx, y + dy]);
    return { dx, dy, inside: dx === 0 && dy === 0 };
  };
}

// Accuracy upwards, the better the higher. What is far below all that holds stands at the edge, not to flatten the rest.
function upwards(found, options) {
  const error = found.metric === INDEX.rules.error;
  const value = (one) => (error ? Math.max(one.accuracy, INDEX.rules.smallest) : one.accuracy);
  const good = options.filter((one) => one.worthy).map(value);
  const reach = 2 * (Math.max(...good) - Math.min(...good)) || Infinity; // nothing is flattened where all that holds is one line
  const inside = options.map(value).filter((one) => error || !good.length || (one >= Math.min(...good) - reach && one <= Math.max(...good) + reach));
  const scale = span(inside, error);
  const turned = (percent) => (found.lower ? percent : 100 - percent);
  return { y: (of) => 12 + ((PLOT - 24) * turned(scale.at(of))) / 100, value, ticks: scale.ticks, beyond: (one) => value(one) < scale.ends[0] || value(one) > scale.ends[1] };
}

// Marks of an axis that is short differ in digits that tables do without.
const exact = (value) => (Number(number(value)) === value ? number(value) : String(value));
const shortTime = (ms) => {
  const [value, unit] = ms < 1 ? [ms * 1e3, "µs"] : ms < 1e4 ? [ms, "ms"] : [ms / 1e3, "s"];
  return `${exact(Number(value.toPrecision(9)))} ${unit}`;
};

function scatter(found, open) {
  const options = found.options.filter((one) => one.timed && known(one.accuracy));
  if (!options.length) return null;
  const medians = options.map((one) => one.p50), [least, last] = [Math.min(...medians) / 1.2, Math.max(...medians) * 1.2];
  const across = span(options.flatMap((one) => [one.p50, Math.max(least, one.p10 ?? one.p50), Math.min(last, one.p90 ?? one.p50)]), true);
  const up = upwards(found, options);
  const x = (ms) => percent(across.at(ms)), y = (one) => up.y(up.value(one));
  const most = Math.max(...options.map((one) => one.bytes ?? 0));
  const radius = (one) => Math.max(5, 20 * Math.sqrt((one.bytes ?? 0) / (most || 1)));
  const line = options.filter((one) => one.line).sort((a, b) => a.p50 - b.p50);
  const steps = line.slice(1).flatMap((one, at) => [
    s("line", { class: "frontier", x1: x(line[at].p50), x2: x(one.p50), y1: y(line[at]), y2: y(line[at]) }),
    s("line", { class: "frontier", x1: x(one.p50), x2: x(one.p50), y1: y(line[at]), y2: y(one) })]);
  const kind = (one) => `dot ${one.front ? "front" : one.worthy ? "" : "bad"}`;
  const dot = (one) =>
    s("g", { class: kind(one), click: open && (() => open(one.row)) },
      s("title", {}, `${one.number} ${named(one)}: ${found.metric} ${number(one.accuracy)}, p50 ${milliseconds(one.p50)}, ${bytesText(one.bytes)}${one.front ? ", on the Pareto front" : ""}${one.worthy ? "" : `, ${one.row.status.name}`}${up.beyond(one) ? ", beyond the axis" : ""}`),
      known(one.p10, one.p90) && s("line", { x1: x(one.p10), x2: x(one.p90), y1: y(one), y2: y(one) }),
      s("circle", { cx: x(one.p50), cy: y(one), r: radius(one) }));
  const order = [...options].sort((a, b) => a.front - b.front || radius(b) - radius(a));
  const free = labels();
  const label = (one) => {
    const { dx, dy, inside } = free(across.at(one.p50), y(one), radius(one));
    return s("text", { class: `${kind(one)} ${inside ? "inside" : ""}`, x: x(one.p50), y: y(one), dx, dy: dy + 4, "text-anchor": "middle" }, `${one.worthy ? "" : "✗"}${one.number}${up.beyond(one) ? "↓" : ""}`);
  };
  const direction = `${found.metric}, ${found.lower ? "lower" : "higher"} is better`;
  return h("figure", { class: "chart scatter" },
    h("p", { class: "quiet small" }, `↑ ${direction}${found.metric === INDEX.rules.error ? ` (log scale, below ${number(INDEX.rules.smallest)} the same)` : ""}`),
    h("div", { class: "plot" },
      s("svg", { class: "ticks", height: PLOT, "aria-hidden": "true" }, up.ticks.map((tick) => s("text", { x: "100%", y: up.y(tick), dy: "0.35em", "text-anchor": "end" }, exact(tick)))),
      h("div", { class: "area" },
        s("svg", { class: "field", height: PLOT, role: "img", "aria-label": `${options.length} builds by p50 and ${direction}; the numbers stand in the table` },
          up.ticks.map((tick) => s("line", { class: "grid", x1: 0, x2: "100%", y1: up.y(tick), y2: up.y(tick) })),
          across.ticks.map((tick) => s("line", { class: "grid", x1: x(tick), x2: x(tick), y1: 0, y2: PLOT })),
          steps, order.map(dot), [...order].reverse().filter(unfolded).map(label)),
        s("svg", { height: 18, class: "ticks across", "aria-hidden": "true" }, across.ticks.map((tick) => s("text", { x: x(tick), y: 13, "text-anchor": "middle" }, shortTime(tick)))))),
    h("figcaption", {}, h("span", {}, "← p50, faster (log scale)"),
      h("span", {}, "area: size · filled: on the Pareto front", line.length > 1 && " · line: what accuracy a latency buys", options.some((one) => known(one.p10, one.p90)) && " · bar: p10 to p90", options.some((one) => !one.worthy) && " · ✗ dashed: fails", options.some(up.beyond) && " · ↓ beyond the axis")));
}

// What is made when somebody opens it.
function folded(title, make, open = false) {
  const element = h("details", { class: "more", open, toggle: () => element.open && element.childElementCount === 1 && element.append(make()) }, h("summary", {}, title));
  if (open) element.append(make());
  return element;
}

// --- the tables ------------------------------------------------------------------------------------------------------

const LINES_SHOWN = 8, STEPS_SHOWN = 12;

function optionsTable(found, base, link) {
  const chained = found.options.some((one) => one.chain.length);
  const timed = found.options.filter((one) => one.timed), others = found.options.filter((one) => !one.timed);
  const noise = (one) => known(one.p10, one.p90) &&
    h("small", { title: `p10 to p90${known(one.low, one.high) ? `; the 95 % interval of the median is ${digits(one.low)} to ${digits(one.high)} ms` : ""}` }, `${digits(one.p10)} – ${digits(one.p90)}`);
  const why = (one) => !one.worthy && h("div", { class: "quiet small why", title: one.row.headline.slice(0, 2000) }, one.row.headline.slice(0, 160), one.row.headline.length > 160 && "…");
  const line = (one) => h("tr", { class: one.at === base.at ? "base" : !one.worthy && "lost" },
    h("th", { scope: "row" }, pin(one, link), " ", star(one), one.winner && h("span", { class: "tag good", title: "of those about as good on the Pareto front the most accurate, then the one with the fewest steps" }, "winner"), one.at === base.at && h("span", { class: "tag" }, "base")),
    h("td", { class: "backend-of" }, one.row.backend), h("td", {}, one.precision), chained && h("td", { class: "steps-of" }, one.chain.join(" → ")),
    h("td", { class: "n", "data-label": found.metric }, number(one.accuracy)), h("td", { class: "n", "data-label": "change" }, one.at !== base.at && accuracyChange(found, one, base)),
    h("td", { class: "n", "data-label": "p50, ms" }, one.row.status.name === "inconclusive" && h("span", { class: "warn", title: "inconclusive: the evidence does not decide" }, "? "), digits(one.p50), noise(one)),
    h("td", { class: "n", "data-label": "speed-up" }, one.at !== base.at && speedUp(one, base)),
    h("td", { class: "n", "data-label": "size" }, bytesText(one.bytes)), h("td", { class: "n", "data-label": "smaller" }, one.at !== base.at && smaller(one, base)),
    h("td", { class: "verdict-of" }, badge(one.row.status), why(one)));
  const untimed = (one) => h("tr", {}, h("th", { scope: "row" }, pin(one, link)), h("td", {}, one.row.backend), h("td", {}, one.row.precision), h("td", {}, badge(one.row.status)), h("td", { class: "reason whole" }, one.row.headline.slice(0, 600)));
  const table = (label, list) => region(label, h("table", { class: "stack options" },
    head("case", "backend", "precision", ...(chained ? ["steps"] : []), [found.metric, true, found.lower ? "lower is better" : "higher is better"], ["change", true, `beside ${named(base)}`], ["p50, ms", true, `median on the clock of the ${found.clock}; below it p10 to p90`], ["speed-up", true, `beside ${named(base)}`], ["size", true, "of the engine where the backend builds one, else of the model's file"], ["smaller", true, `beside ${named(base)}`], "verdict"),
    h("tbody", {}, list.map(line))));
  const [shown, more] = [true, false].map((wanted) => timed.filter((one) => (unfolded(one) || one.at === base.at) === wanted));
  return [
    table("Builds", shown), more.length > 0 && folded(`${more.length} more, slower or failing`, () => table("More builds", more)),
    others.length > 0 && folded(`${others.length} ${others.length === 1 ? "case was" : "cases were"} not timed, and ${others.length === 1 ? "is" : "are"} never on the front`, () =>
      region("Not timed", h("table", { class: "stack" }, head("case", "backend", "precision", "verdict", "why"), h("tbody", {}, others.map(untimed)))), others.length < 4),
  ];
}

const precisionPlace = (name) => PRECISIONS.indexOf(name.split("+")[0]) + 1 || 99;
const byPrecision = (a, b) => a.split("+").length - b.split("+").length || precisionPlace(a) - precisionPlace(b) || collator.compare(a, b);

// Precisions down, backends across: how many times as fast as the base.
function speedUps(found, base, link) {
  const timed = found.options.filter((one) => one.timed);
  const backends = [...new Set(timed.map((one) => one.row.backend))].sort((a, b) => (b === base.row.backend) - (a === base.row.backend) || collator.compare(a, b));
  if (backends.length < 2) return null;
  const builds = [...new Set(timed.map((one) => one.row.precision))].sort(byPrecision);
  const cell = (one) => {
    if (!one) return h("td", { class: "n quiet" }, "");
    const shown = one.timed && [h("b", {}, one.at === base.at ? "1×" : speedUp(one, base)), h("small", {}, " ", milliseconds(one.p50))];
    const told = unsettled(one) && [" ", h("span", { class: `small ${one.row.status.tone}`, title: one.row.headline.slice(0, 300) }, `${one.row.status.glyph} ${one.row.status.name}`)];
    return h("td", { class: `n ${one.at === base.at ? "base" : one.worthy ? "" : "lost"}` }, star(one), " ", shown, told, " ", pin(one, link), one.timed && one.worthy && bar(base.p50 / one.p50, most));
  };
  const most = Math.max(...timed.filter((one) => one.worthy).map((one) => base.p50 / one.p50));
  const of = new Map(found.options.map((one) => [`${one.row.backend}\n${one.row.precision}`, one]));
  const table = (label, list) => region(label, h("table", { class: "speed-ups" }, head("precision", ...backends.map((name) => [name, true])),
    h("tbody", {}, list.map((build) => h("tr", {}, h("th", { scope: "row" }, build.replaceAll("+", " + ")), backends.map((backend) => cell(of.get(`${backend}\n${build}`))))))));
  return [h("h3", {}, `Speed-up over ${named(base)}`), table("Speed-ups", builds.slice(0, LINES_SHOWN)),
    builds.length > LINES_SHOWN && folded(`${builds.length - LINES_SHOWN} more builds`, () => table("More speed-ups", builds.slice(LINES_SHOWN)))];
}

// Which steps lead from one option to another: the precision is the last, unless the step before makes it.
function stepsBetween(from, to) {
  const steps = to.chain.slice(from.chain.length);
  const made = to.precision === "as-is" || to.chain.at(-1)?.startsWith("mixed-");
  return to.precision === from.precision || made ? steps : [...steps, to.precision];
}

function stepsTable(found, link) {
  const changed = found.options.filter((one) => one.timed && known(one.previous)).map((to) => ({ to, from: found.options[to.previous] }));
  if (!changed.length) return null;
  changed.sort((a, b) => collator.compare(a.to.row.backend, b.to.row.backend) || byPrecision(a.from.row.precision, b.from.row.precision) || byPrecision(a.to.row.precision, b.to.row.precision));
  const line = ({ from, to }) => h("tr", {},
    h("th", { scope: "row" }, stepsBetween(from, to).join(" → ")), h("td", { class: "nowrap" }, to.row.backend),
    h("td", { class: "nowrap" }, pin(from, link), " ", from.row.precision, " → ", pin(to, link)),
    h("td", { class: "n", "data-label": found.metric }, accuracyChange(found, to, from)), h("td", { class: "n", "data-label": "speed-up" }, speedUp(to, from)), h("td", { class: "n", "data-label": "smaller" }, smaller(to, from)),
    h("td", {}, badge(to.row.status)));
  const table = (label, rows) => region(label, h("table", { class: "stack steps-table" }, head("step", "backend", "from → to", [`${found.metric}, change`, true], ["speed-up", true], ["smaller", true], "verdict"), h("tbody", {}, rows.map(line))));
  return [h("h3", {}, "What each step cost and won"), table("Steps", changed.slice(0, STEPS_SHOWN)),
    changed.length > STEPS_SHOWN && folded(`${changed.length - STEPS_SHOWN} more steps`, () => table("More steps", changed.slice(STEPS_SHOWN)))];
}

// --- one model -------------------------------------------------------------------------------------------------------

// What to ship, by what counts most.
function answer(found, base, link) {
  const front = found.options.filter((one) => one.front).length;
  if (!front) return h("p", { class: "told" }, "Nothing here can ship: no case that was timed holds its limits and has an accuracy.");
  const said = (one) => [pin(one, link), " ", named(one)];
  const size = (one) => known(one.bytes, base.bytes) && (one.bytes === base.bytes ? "the same size" : one.bytes < base.bytes ? [smaller(one, base), " smaller"] : [sized(one.bytes / base.bytes, -1), " larger"]);
  const accuracy = (one) => known(one.accuracy, base.accuracy) && [`${found.metric} `, accuracyChange(found, one, base)];
  const won = (one) => one.at === base.at ? "the base" : [[speedUp(one, base), " as fast"], accuracy(one), size(one)].filter(Boolean).flatMap((part, at) => [at > 0 && " · ", part]);
  const tile = (name, one) => h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, said(one), unsettled(one) && [" ", badge(one.row.status)]), h("dd", { class: "won" }, won(one)));
  const kinds = ["fastest", "smallest", "most accurate"];
  const picked = [...new Set(found.picks.filter((at) => at !== null))].map((at) => [kinds.filter((_, place) => found.picks[place] === at).join(", "), found.options[at]]);
  const timed = found.options.filter((one) => one.timed).length;
  return [h("p", {}, `${front} of the ${timed} builds that were timed ${front === 1 ? "is" : "are"} on the Pareto front; compared with `, h("b", {}, named(base)), base.worthy ? ":" : h("span", { class: "bad" }, `, which is no build that holds (${base.row.status.name}):`)),
    h("dl", { class: "tiles" }, picked.map(([name, one]) => tile(name[0].toUpperCase() + name.slice(1), one)))];
}

// Everything about one model; `link` gives the address of a case and `open` goes there, where cases have pages.
function tradeoffView(found, base, link, open) {
  return [answer(found, base, link),
    found.notes.length > 0 && h("ul", { class: "notes" }, found.notes.map((note) => h("li", {}, note))),
    speedUps(found, base, link),
    h("div", { class: "trade" }, scatter(found, open), h("div", { class: "trade-table" }, optionsTable(found, base, link))), stepsTable(found, link)].flat().filter(Boolean);
}

// Attributes hold names as they are shown, so addresses do as well.
const idOf = (one) => visible(one.row.id);
const OFFERED = 100;
const choices = (select, all, chosen, most = all.length) => {
  const at = all.findIndex(([value]) => value === chosen);
  const list = at < most ? all.slice(0, most) : [all[at], ...all.slice(0, most - 1)];
  const key = list.map(([value, text]) => `${value}\n${text}`).join("\n");
  if (select.dataset.key !== key) {
    select.replaceChildren(...list.map(([value, text]) => h("option", { value }, text)));
    if (list.length < all.length) select.append(h("option", { disabled: true }, `${all.length - list.length} more: the filter finds them`));
  }
  select.dataset.key = key;
  select.value = chosen;
};

// The selects stay as they are while the rest is drawn again, so that the keyboard stays where it is.
function tradeoffFrame(section, onChange) {
  const select = (id, text, key) => h("label", {}, text, " ", h("select", { id, change: (event) => onChange({ [key]: event.target.value, ...(key === "of" && { base: "" }) }) }));
  section.replaceChildren(h("div", { class: "trade-bar" }, select("trade-of", "Model and shape", "of"), select("trade-base", "Compared with", "base")), h("div", { id: "trade-view" }));
}

// `wanted` tells which trade-offs are offered; {of, base} which one is shown, and beside what.
function drawTradeoff({ of, base: asked }, wanted, onChange, link, open) {
  if (TRADEOFFS === null) loadTradeoffs();
  const offered = TRADEOFFS.filter(wanted);
  byId("tradeoffs").hidden = !offered.length;
  if (!offered.length) return;
  if (!byId("trade-view")) tradeoffFrame(byId("tradeoff"), onChange);
  const found = offered.find((one) => one.name === of) ?? offered[0];
  const timed = found.options.filter((one) => one.timed);
  const base = timed.find((one) => idOf(one) === visible(asked)) ?? found.options[found.base];
  choices(byId("trade-of"), offered.map((one) => [one.name, one.name]), found.name, OFFERED);
  choices(byId("trade-base"), timed.map((one) => [idOf(one), one.worthy ? named(one) : `${named(one)} (${one.row.status.name})`]), idOf(base));
  const drawn = `${found.name}\n${base.row.id}\n${location.hash}`;
  if (drawn === drawnTradeoff) return;
  drawnTradeoff = drawn;
  byId("trade-view").replaceChildren(...tradeoffView(found, base, link, open));
}
