// Small charts in SVG: places are percent of the width, so that they fit any screen and print sharply.
"use strict";

function axis(values) {
  const known = values.filter((value) => Number.isFinite(value));
  const low = Math.min(...known), high = Math.max(...known);
  const margin = (high - low) * 0.06 || Math.abs(high) * 0.01 || 1;
  const first = Math.max(0, low - margin), last = high + margin;
  return { first, last, at: (value) => Math.min(100, Math.max(0, ((value - first) / (last - first)) * 100)) };
}
const percent = (value) => `${value.toFixed(2)}%`;

// This run above its baseline: line from p10 to p99, ticks at p90 and p99, box of the quartiles, dot at the median.
function distribution(now, before) {
  const lanes = [["now", now], ["baseline", before]].filter(([, found]) => found);
  const scale = axis(lanes.flatMap(([, q]) => [q.p10_ms ?? q.spread?.low_ms, q.p50_ms, q.ci95_ms[0], q.ci95_ms[1], q.p90_ms, q.p99_ms]));
  const draw = (q) => {
    const at = (value) => percent(scale.at(value));
    const known = (value) => Number.isFinite(value ?? NaN);
    const tick = (value, name) => known(value) && s("line", { x1: at(value), x2: at(value), y1: 4, y2: 20 }, s("title", {}, `${name} ${milliseconds(value)}`));
    const [low, high] = q.spread ? [q.spread.q1_ms, q.spread.q3_ms] : q.ci95_ms;
    return [
      known(q.p99_ms) && s("line", { x1: at(q.p10_ms ?? q.ci95_ms[0]), x2: at(q.p99_ms), y1: 12, y2: 12 }),
      tick(q.p10_ms, "p10"), tick(q.p90_ms, "p90"), tick(q.p99_ms, "p99"),
      s("rect", { x: at(low), width: percent(Math.max(scale.at(high) - scale.at(low), 0.4)), y: 6, height: 12, rx: 2 }),
      s("circle", { cx: at(q.p50_ms), cy: 12, r: 3.5 }, s("title", {}, `p50 ${milliseconds(q.p50_ms)}`)),
    ];
  };
  const max = now.spread?.max_ms;
  return h("figure", { class: "chart strip" },
    lanes.map(([whose, q]) => h("div", { class: "lane" }, h("span", {}, whose),
      s("svg", { class: whose, height: 24, role: "img", "aria-label": `${whose}: see the table` }, draw(q)))),
    h("figcaption", {}, h("span", {}, milliseconds(scale.first)),
      h("span", {}, `dot: median · box: ${now.spread ? "quartiles" : "95 % interval of the median"} · ticks: p10, p90, p99`,
        max > scale.last && ` · slowest ${milliseconds(max)}, beyond the axis`, scale.first > 0 && " · the axis does not start at zero"),
      h("span", {}, milliseconds(scale.last))));
}

const HEIGHT = 132;

// p50 of earlier runs and of this one, with the accepted interval, the limit and what was accepted or acknowledged.
function trend(points, { band, limit, unit }) {
  const values = points.map((point) => point?.value);
  const scale = axis([...values, ...(band ?? []), ...(Number.isFinite(limit) && limit < 2 * Math.max(...values.filter(Number.isFinite)) ? [limit] : [])]);
  const x = (place) => percent(points.length > 1 ? 1.5 + (97 * place) / (points.length - 1) : 50);
  const y = (value) => HEIGHT - 8 - ((HEIGHT - 16) * scale.at(value)) / 100;
  const parts = [];
  if (band) parts.push(s("rect", { class: "band", x: 0, width: "100%", y: y(band[1]), height: Math.max(1.5, y(band[0]) - y(band[1])) }, s("title", {}, `baseline ${milliseconds(band[0])} to ${milliseconds(band[1])}`)));
  if (Number.isFinite(limit) && limit <= scale.last) parts.push(s("line", { class: "limit", x1: 0, x2: "100%", y1: y(limit), y2: y(limit) }, s("title", {}, `limit ${milliseconds(limit)}`)));
  points.forEach((point, place) => {
    if (point?.mark) parts.push(s("line", { class: `mark ${point.mark}`, x1: x(place), x2: x(place), y1: 0, y2: HEIGHT }, s("title", {}, `${point.mark}: ${point.reason}`)));
    const before = points[place - 1];
    if (point && before && Number.isFinite(point.value) && Number.isFinite(before.value)) {
      parts.push(s("line", { class: "path", x1: x(place - 1), y1: y(before.value), x2: x(place), y2: y(point.value) }));
    }
  });
  points.forEach((point, place) => {
    if (!point) return;
    const title = s("title", {}, point.words);
    if (!Number.isFinite(point.value)) {
      parts.push(s("text", { class: "bad", x: x(place), y: HEIGHT - 4, "text-anchor": "middle" }, "✗", title));
      return;
    }
    parts.push(s("circle", { class: `${point.tone} ${place === points.length - 1 ? "last" : ""}`, cx: x(place), cy: y(point.value), r: place === points.length - 1 ? 5 : 3 }, title));
    if (point.mark) parts.push(s("text", { class: "flag", x: x(place), y: 11, dx: 4, "text-anchor": place > points.length * 0.8 ? "end" : "start" }, point.mark === "accepted" ? "⚑ accepted" : "≈ acknowledged", s("title", {}, point.reason)));
  });
  return h("figure", { class: "chart trend" },
    h("div", { class: "plot" }, h("div", { class: "scale" }, h("span", {}, milliseconds(scale.last)), h("span", {}, milliseconds(scale.first))),
      s("svg", { height: HEIGHT, role: "img", "aria-label": `${unit} over ${points.length} runs; the numbers stand in the table below` }, parts)),
    h("figcaption", {}, h("span", {}, "oldest"),
      h("span", {}, band && "band: the baseline's interval · ", Number.isFinite(limit) && "dashed: the limit · ", "gaps: not in that run, or timed with other settings · ✗: not measured", scale.first > 0 && " · the axis does not start at zero"),
      h("span", {}, "this run")));
}

// A dot a launch in which both sides were timed in turns: hollow where it is no evidence.
function launches(found) {
  const dots = found.dots.map(([value, spoiled]) => ({ value: value * 100, spoiled }));
  const reach = Math.max(0.5, ...dots.map((dot) => Math.abs(dot.value))) * 1.15;
  const at = (value) => percent(50 + (value / reach) * 50);
  return h("figure", { class: "chart strip" },
    h("div", { class: "lane" }, h("span", {}, "launches"),
      s("svg", { class: "now", height: 40, role: "img", "aria-label": `change in each of ${dots.length} launches: ${dots.map((dot) => change(1 + dot.value / 100)).join(", ")}` },
        s("line", { class: "zero", x1: "50%", x2: "50%", y1: 0, y2: 40 }),
        dots.map((dot, place) => s("circle", { class: dot.spoiled && "spoiled", cx: at(dot.value), cy: 8 + 24 * ((place % 5) / 4), r: 4 },
          s("title", {}, `launch ${place + 1}: ${change(1 + dot.value / 100)}${dot.spoiled && `, no evidence: ${dot.spoiled}`}`))))),
    h("figcaption", {}, h("span", {}, change(1 - reach / 100)), h("span", {}, `dot: one launch, both sides timed in turns · line: no change${dots.some((dot) => dot.spoiled) ? " · hollow: no evidence" : ""}`), h("span", {}, change(1 + reach / 100))));
}

// How many elements are off by each power of two; those that are equal, NaN or infinite have no place on the axis.
function errorHistogram({ low, counts, size, equal }) {
  const most = Math.max(...counts), width = 100 / Math.max(counts.length, 12);
  const from = (place) => number(2 ** (low + place));
  const unplaced = size - equal - counts.reduce((sum, count) => sum + count, 0);
  return h("figure", { class: "chart strip" },
    h("div", { class: "lane" }, h("span", {}, "errors"),
      s("svg", { class: "now", height: 56, role: "img", "aria-label": `errors from ${from(0)} to ${from(counts.length)}; most often ${from(counts.indexOf(most))} to ${from(counts.indexOf(most) + 1)}` },
        counts.map((count, place) => {
          const height = count && Math.max(1, (52 * count) / most);
          return s("rect", { x: percent(place * width), width: percent(width * 0.92), y: 56 - height, height }, s("title", {}, `${count} of ${size} elements are off by ${from(place)} to ${from(place + 1)}`));
        }))),
    h("figcaption", {}, h("span", {}, from(0)), h("span", {}, `elements by their absolute error, doubling from bar to bar${equal ? ` · ${equal} equal` : ""}${unplaced ? ` · ✗ ${unplaced} NaN or infinite, without a bar` : ""}`), h("span", {}, from(Math.max(counts.length, 12)))));
}

// A bar whose length is a share of the widest, beside its number; `before` is a thin line below it.
function bar(value, most, before) {
  return s("svg", { class: "bar", height: 14, "aria-hidden": "true" },
    s("rect", { x: 0, y: 2, height: Number.isFinite(before ?? NaN) ? 6 : 9, rx: 1.5, width: percent(Math.max(0.5, Math.min(100, (100 * value) / most))) }),
    Number.isFinite(before ?? NaN) && s("rect", { class: "before", x: 0, y: 9.5, height: 3, rx: 1, width: percent(Math.max(0, Math.min(100, (100 * before) / most))) }));
}

// A change to the left (faster) or right (slower) of no change, up to 20 percent.
function deviation(ratio, tone) {
  const share = Math.max(-1, Math.min(1, (ratio - 1) / 0.2)) * 50;
  return s("svg", { class: `deviation ${tone}`, height: 10, "aria-hidden": "true" },
    s("line", { x1: "50%", x2: "50%", y1: 0, y2: 10 }),
    s("rect", { x: percent(share < 0 ? 50 + share : 50), width: percent(Math.max(Math.abs(share), 0.5)), y: 2, height: 6, rx: 1 }));
}
