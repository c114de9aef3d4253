// Elements, numbers and words. Foreign text becomes text nodes and plain attributes only, never markup.
"use strict";

// As harness.foreign.visible: no control characters, and no marks that turn round what stands beside them.
const CONTROL = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]/gu;
const visible = (text) => String(text).replace(CONTROL, "");

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "href" && !String(value).startsWith("#")) throw new Error("links stay within the page");
    else element.setAttribute(name, name === "href" ? value : visible(value === true ? "" : value));
  }
  for (const child of children.flat(4)) {
    if (child === null || child === undefined || child === false || child === "") continue;
    element.append(child instanceof Node ? child : visible(child));
  }
  return element;
}

// h("td", { class: "n" }, "text", node, [more]): an element of HTML; s: the same of SVG.
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const byId = (id) => document.getElementById(id);

const NONE = "–";

function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  if (size >= 0.9 && size < 1) {
    const decimals = Math.min(9, Math.max(4, Math.ceil(-Math.log10(1 - size)) + 1));
    return String(Number(value.toFixed(decimals)));
  }
  if (Number.isInteger(value) && size < 1e6) return String(value);
  const text = value.toPrecision(4);
  if (size >= 1e-4 && size < 1e4) return String(Number(text));
  return Number(text).toExponential().replace("e+", "e");
}

// Four significant digits with trailing zeros kept, for columns whose header names the unit.
function digits(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  return Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5 ? plain(value.toPrecision(4)) : number(value);
}
const plain = (text) => (text.includes("e") ? String(Math.round(Number(text))) : text);

function seconds(value) {
  if (!Number.isFinite(value ?? NaN)) return NONE;
  if (Math.abs(value) < 0.9995) return `${Number((value * 1e3).toPrecision(3))} ms`;
  if (Math.abs(value) < 119.5) return `${Number(value.toPrecision(3))} s`;
  return `${Math.floor(value / 60)} min ${Math.floor(value % 60)} s`;
}

function milliseconds(value) {
  if (!Number.isFinite(value ?? NaN)) return NONE;
  if (Math.abs(value) < 0.9995) return `${digits(value * 1e3)} µs`;
  return Math.abs(value) < 9999.5 ? `${digits(value)} ms` : seconds(value / 1e3);
}

function change(ratio) {
  if (!Number.isFinite(ratio ?? NaN)) return NONE;
  const percent = (ratio - 1) * 100;
  const text = Math.abs(percent) >= 99.5 ? percent.toFixed(0) : percent.toFixed(1);
  if (Number(text) === 0) return "0.0 %";
  return `${percent > 0 ? "+" : ""}${text} %`.replace("-", "−");
}

// A measure whose name ends in its unit, as a label and a text: build_s and 31.2 are "build" and "31.2 s".
const UNITS = {
  _per_s: (value) => `${number(value)}/s`, // before _s, which it ends in as well
  _ms: milliseconds,
  _us: (value) => milliseconds(value / 1e3),
  _mib: (value) => `${number(value)} MiB`,
  _bytes: (value) => (value >= 2 ** 20 ? `${number(value / 2 ** 20)} MiB` : `${number(value / 1024)} KiB`),
  _s: seconds,
};
function quantity(name, value) {
  const unit = Object.keys(UNITS).find((end) => name.endsWith(end)) ?? "";
  const label = name.slice(0, name.length - unit.length).replaceAll("_", " ");
  if (typeof value === "number") return [label, unit && Number.isFinite(value) ? UNITS[unit](value) : number(value)];
  return [name.replaceAll("_", " "), words(value)];
}

function words(value) {
  if (value === null || value === undefined) return NONE;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return number(value);
  if (Array.isArray(value)) return value.map(words).join(", ") || NONE;
  if (typeof value === "object") return Object.entries(value).map(([key, one]) => `${key} ${words(one)}`).join(", ") || NONE;
  return value;
}

// A moment in the reader's own zone, with the exact time and the zone in a tooltip.
function moment(text) {
  const time = new Date(text);
  if (Number.isNaN(time.valueOf())) return h("span", {}, text);
  const shown = time.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  return h("time", { datetime: text, title: `${text} (shown in ${Intl.DateTimeFormat().resolvedOptions().timeZone})` }, shown);
}

async function copy(text, button) {
  const said = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    const area = h("textarea", { class: "hidden", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    button.textContent = document.execCommand("copy") ? "Copied" : "Copy failed";
    area.remove();
  }
  setTimeout(() => { button.textContent = said; }, 1500);
}
const copyable = (text, what) =>
  h("div", { class: "copyable" }, h("pre", {}, h("code", {}, text)),
    h("button", { type: "button", class: "copy", "aria-label": `Copy the ${what}`, click: (event) => copy(text, event.target) }, "Copy"));

function download(name, text, type) {
  const link = h("a", { download: name });
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// A case whose verdict changes by itself, beside the badge of its verdict.
const unstableMark = (row) => row.unstable && h("span", { class: "tag warn", title: row.unstable }, "↯ unstable");

const badge = (status) =>
  h("span", { class: `badge ${status.tone}`, title: status.meaning },
    h("span", { class: "glyph", "aria-hidden": "true" }, status.glyph), status.name);
