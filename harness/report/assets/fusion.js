// What was fused: one row for each layer that runs, slowest first, and what is known of nodes that no layer names.
"use strict";

const several = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;
const FATES = {
  constant: ["constant: computed once, before the first inference", true],
  unused: ["unused: no output depends on them", true],
  repeated: ["repeated: an earlier node does the same to the same tensors", true],
  region: ["inside a layer that does not tell its nodes, or left out", false],
  untold: ["left out, or absorbed by a layer that does not say so", false],
};

function fusedNodes([nodes, more, name, , , , opaque]) {
  const told = nodes.join(" + ") + (more > 0 ? ` + ${more} more` : "");
  if (opaque) return [told || name, h("div", { class: "quiet small" }, told ? `and others that ${name} does not tell` : "computes nodes that it does not tell")];
  return told || [h("span", { class: "quiet" }, name), h("div", { class: "quiet small" }, "of no node: the runtime's own")];
}

function fusionTable(found, rows, total) {
  const { times } = found;
  const kernels = found.rows.some((row) => row[5]), precisions = found.rows.some((row) => row[4]);
  const most = Math.max(...found.rows.map((row) => row[7] ?? 0));
  const share = (ms) => times.total_ms > 0 && Number.isFinite(ms ?? NaN) ? `${((100 * ms) / times.total_ms).toFixed(1)} %` : NONE;
  const line = (row) => h("tr", {},
    h("th", { scope: "row", title: row[2] }, fusedNodes(row)), h("td", {}, row[3]), precisions && h("td", { class: "nowrap" }, row[4]),
    times && [h("td", { class: "n" }, digits(row[7])), h("td", { class: "n" }, share(row[7])), h("td", { class: "bars" }, row[7] !== null && most > 0 && bar(row[7], most, null))],
    kernels && h("td", { class: "kernel" }, row[5]));
  const sum = (label, ms) => h("tr", {}, h("th", { scope: "row" }, label), h("td", {}), precisions && h("td", {}),
    times && [h("td", { class: "n" }, digits(ms)), h("td", { class: "n" }, share(ms)), h("td", {})], kernels && h("td", {}));
  return region("Fusion", h("table", { class: "fusion" },
    head(["nodes of the file", false, "the ONNX nodes that went into one layer; the layer's own name is in the tooltip"], "layer", ...(precisions ? [["precision", false, "what it stores / what it multiplies in; one where both are the same or the second is not told"]] : []),
      ...(times ? [["ms", true], ["share", true, "of the time of all layers"], "time"] : []), ...(kernels ? ["kernel"] : [])),
    h("tbody", {}, rows.map(line)),
    total && (times || found.others) && h("tfoot", {}, found.others && sum(several(found.others[0], "layer that is not listed", "layers that are not listed"), found.others[1]), times && sum("all layers", times.total_ms))));
}

function unnamedNodes([why, count, nodes]) {
  const [words, known] = FATES[why] ?? [why, false];
  return h("li", {}, `${count} ${words} `, h("span", { class: "tag", title: known ? "the file itself shows it" : "the runtime does not tell which of it" }, known ? "known" : "not known"), ": ",
    h("span", { class: "code" }, nodes.join(", "), count > nodes.length && `, and ${count - nodes.length} more`));
}

function fusionTimes({ others, times: { total_ms, p50_ms, clock, iterations, by } }) {
  const told = by.filter(([name]) => name), unlisted = others?.[1] > 0 ? [["layers that are not listed", others[1]]] : [];
  const beside = p50_ms > 0 && ` That is ${Math.round((100 * total_ms) / p50_ms)} % of the p50 of ${milliseconds(p50_ms)}, which was measured before and without a profiler: profiling costs time itself, and what lies between layers is in none.`;
  return [h("p", { class: "quiet" }, `Layers take ${milliseconds(total_ms)} together: median of ${several(iterations, "profiled inference")} on the ${clock} clock.`, beside),
    told.length > 1 && total_ms > 0 && h("p", { class: "quiet" }, "By precision: ", [...by, ...unlisted].map(([name, ms]) => `${name || "not told"} ${milliseconds(ms)} (${Math.round((100 * ms) / total_ms)} %)`).join(", "))];
}

function fusionBlock(found) {
  if (!found) return null;
  const count = found.rows.length + (found.others?.[0] ?? 0);
  const own = found.rows.filter((row) => !row[0].length && !row[6]).length;
  const named = found.nodes - found.unnamed.reduce((sum, [, one]) => sum + one, 0);
  const became = found.nodes === null ? several(count, "layer") : `${several(found.nodes, "node")} of the file became ${several(count, "layer")}`;
  return block("Fusion",
    h("p", {}, became, own > 0 && `, ${own} of ${found.others ? "those listed" : "them"} the runtime's own`, found.unnamed.length > 0 ? `; layers name ${named} of the nodes.` : "."),
    found.times && fusionTimes(found),
    fusionTable(found, found.rows.slice(0, 12), found.rows.length <= 12),
    found.rows.length > 12 && h("details", { class: "more" }, h("summary", {}, `${several(found.rows.length - 12, "more layer")}, and the total`), fusionTable(found, found.rows.slice(12), true)),
    found.unnamed.length > 0 && [h("h3", {}, "Nodes that no layer names"), h("ul", { class: "notes" }, found.unnamed.map(unnamedNodes))]);
}
