// One box of tokens: words, -without, s:failed b:trt p:fp16,bf16 m:bert t:tag e:machine is:unstable, slow>5%, p50>2.
"use strict";

const FIELDS = { s: "status", b: "backend", p: "precision", m: "model", t: "tags", e: "environment", is: "is", suite: "suite", shape: "shape" };
const NUMBERS = {
  slow: (row) => (row.ratio === null ? null : (row.ratio - 1) * 100),
  fast: (row) => (row.ratio === null ? null : (1 - row.ratio) * 100),
  p50: (row) => row.p50_ms,
};
const short = (name) => name.replace("onnxruntime", "ort").replace("tensorrt", "trt");

const tokens = (text) => text.match(/(?:[^\s"]|"[^"]*")+/g) ?? [];

function fieldValues(row, field) {
  const value = field === "status" ? row.status.name : row[field];
  return (Array.isArray(value) ? value : [value]).map((one) => String(one ?? "").toLowerCase());
}

const KNOWN = new Map();
function knownValues(field) {
  if (!KNOWN.has(field)) KNOWN.set(field, new Set(ROWS.flatMap((row) => fieldValues(row, field)).flatMap((one) => [one, short(one)])));
  return KNOWN.get(field);
}

// Whole names win: b:tensorrt is not onnxruntime-tensorrt, but b:tensor is both.
function fieldTest(field, wanted) {
  const known = knownValues(field);
  const tests = wanted.split(",").filter(Boolean).map((one) =>
    known.has(one) ? (value) => value === one || short(value) === one : (value) => value.includes(one) || short(value).includes(one));
  return tests.length ? (row) => fieldValues(row, field).some((value) => tests.some((test) => test(value))) : () => true;
}

function tokenTest(token) {
  const compared = /^(slow|fast|p50)([<>])(-?\d+(?:\.\d+)?)(%|ms)?$/.exec(token);
  if (compared) {
    const [, name, sign, limit] = compared;
    return (row) => {
      const value = NUMBERS[name](row);
      return value !== null && (sign === ">" ? value > Number(limit) : value < Number(limit));
    };
  }
  const [, field, wanted] = /^([a-z]+):(.*)$/s.exec(token) ?? [];
  if (Object.hasOwn(FIELDS, field ?? "")) return fieldTest(FIELDS[field], wanted.replaceAll('"', ""));
  const word = token.replaceAll('"', "");
  return (row) => (row.text ??= [row.id, row.status.name, row.headline, ...row.tags].join(" ").toLowerCase()).includes(word);
}

// A function that tells whether a row fits every token.
function predicate(text) {
  const tests = tokens(text.toLowerCase()).map((token) => {
    const without = token.length > 1 && token[0] === "-";
    const test = tokenTest(without ? token.slice(1) : token);
    return without ? (row) => !test(row) : test;
  });
  return (row) => tests.every((test) => test(row));
}

// The text of the box with a value of a field put in or taken out.
function toggled(text, field, value) {
  const found = tokens(text);
  const at = found.findIndex((token) => token.startsWith(`${field}:`));
  if (at < 0) return [...found, `${field}:${value}`].join(" ");
  const values = found[at].slice(field.length + 1).split(",").filter(Boolean);
  const left = values.includes(value) ? values.filter((one) => one !== value) : [...values, value];
  found.splice(at, 1, ...(left.length ? [`${field}:${left.join(",")}`] : []));
  return found.join(" ");
}
const pressed = (text, field, value) =>
  tokens(text).some((token) => token.startsWith(`${field}:`) && token.slice(field.length + 1).split(",").includes(value));
