"use strict";
const byId = (id) => document.getElementById(id);
const name = (labels) => {
  const { __name__: metric = "", ...rest } = labels;
  const inner = Object.entries(rest).map(([k, v]) => `${k}="${v}"`).join(", ");
  return inner ? `${metric}{${inner}}` : metric;
};
const fill = (parent, rows, element, cells) => {
  parent.replaceChildren(...rows.map((row) => {
    const item = document.createElement(element);
    const texts = cells(row);
    if (element === "li") item.textContent = texts[0];
    else for (const text of texts) item.append(Object.assign(document.createElement("td"), { textContent: text }));
    return item;
  }));
};
const get = async (path) => {
  const response = await fetch(path);
  const body = await response.json();
  if (!response.ok) throw new Error(body.error || response.statusText);
  return body;
};
const flat = (value, at = "") => Object.entries(value).flatMap(([key, v]) =>
  v && typeof v === "object" ? flat(v, `${at}${key} `) : [[`${at}${key}`, typeof v === "number" ? v.toLocaleString() : String(v)]]);
async function refresh() {
  try {
    const status = await get("/api/v1/status");
    byId("health").textContent = status.problem ? `problem: ${status.problem}` : "all parts make progress";
    byId("status").replaceChildren(...flat(status).flatMap(([k, v]) => [
      Object.assign(document.createElement("dt"), { textContent: k.replaceAll("_", " ") }),
      Object.assign(document.createElement("dd"), { textContent: v })]));
    fill(byId("anomalies"), await get("/api/v1/anomalies?limit=50"), "tr", (a) =>
      [new Date(a.time * 1000).toLocaleString(), a.severity, a.state, name(a.series), a.reasons.join("; ")]);
  } catch (error) {
    byId("health").textContent = `not reachable: ${error.message}`;
  }
}
async function find(event) {
  event?.preventDefault();
  const list = byId("series");
  try {
    const found = await get(`/api/v1/series?limit=200&match=${encodeURIComponent(byId("match").value)}`);
    fill(list, found, "li", (s) => [name(s.labels)]);
    if (!found.length) list.textContent = "No series match.";
  } catch (error) { list.textContent = error.message; }
}
byId("find").addEventListener("submit", find);
refresh();
find();
setInterval(refresh, 2000);
