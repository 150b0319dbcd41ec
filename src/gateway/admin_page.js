// The status page: asks api/v1/status once per second and shows it. The server sends totals; rates
// are the difference of two answers over the time between them. Text goes in through textContent
// only, because model names and reasons come from outside.
"use strict";

const kPollMs = 1000;
const kTimeoutMs = 3000;
const kHistory = 120;  // Points of a sparkline: two minutes.
const kTopPartitions = 20;

const history = { in: [], out: [], lag: [] };
let previous = null;  // The answer before, with the time at which it came.

const byId = (id) => document.getElementById(id);
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function setText(id, text) {
  const node = byId(id);
  if (node.textContent !== text) node.textContent = text;
}

function count(value) {
  return isNumber(value) ? whole.format(value) : "–";
}

// Three digits are enough to see a change, and fewer to read it.
function short(value) {
  if (!isNumber(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e10) return (value / 1e9).toFixed(1) + " G";
  if (size >= 1e7) return (value / 1e6).toFixed(1) + " M";
  if (size >= 100 || Number.isInteger(value)) return whole.format(value);
  return value.toFixed(size >= 10 ? 1 : 2);
}

function duration(seconds) {
  if (!isNumber(seconds)) return "–";
  const s = Math.floor(seconds);
  const parts = [[Math.floor(s / 86400), "d"], [Math.floor(s / 3600) % 24, "h"],
                 [Math.floor(s / 60) % 60, "min"], [s % 60, "s"]];
  const first = parts.findIndex(([n]) => n > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).map(([n, unit]) => `${n} ${unit}`).join(" ");
}

// Per second between two totals; null before there are two, and after a restart.
function rate(now, before, seconds) {
  if (!isNumber(now) || !isNumber(before) || !(seconds > 0) || now < before) return null;
  return (now - before) / seconds;
}

function remember(list, value) {
  list.push(isNumber(value) ? value : 0);
  if (list.length > kHistory) list.shift();
}

function drawSpark(id, values) {
  const svg = byId(id);
  const [width, height] = [240, 48];
  const top = Math.max(1, ...values);
  const x = (i) => width - (values.length - 1 - i) * (width / (kHistory - 1));
  const y = (v) => height - 1 - (v / top) * (height - 4);
  const points = values.map((v, i) => `${x(i).toFixed(1)} ${y(v).toFixed(1)}`);
  const line = values.length > 1 ? "M" + points.join("L") : "";
  const area = line && `${line}L${width} ${height}L${x(0).toFixed(1)} ${height}Z`;
  [["area", area], ["line", line]].forEach(([name, path], i) => {
    let node = svg.children[i];
    if (!node) {
      node = document.createElementNS("http://www.w3.org/2000/svg", "path");
      node.setAttribute("class", name);
      svg.appendChild(node);
    }
    node.setAttribute("d", path);
  });
}

function setMeter(node, share) {
  node.style.width = (100 * Math.min(1, Math.max(0, share || 0))).toFixed(1) + "%";
}

// Cells are text, {n: text} for a number, {share: 0..1} for a bar. Rows are reused, so that a
// selection and the bars' movement survive.
function fillTable(id, rows, emptyText) {
  const body = byId(id);
  const columns = body.parentElement.querySelectorAll("th").length;
  if (rows.length === 0) {
    const cell = document.createElement("td");
    cell.className = "empty";
    cell.colSpan = columns;
    cell.textContent = emptyText;
    const row = document.createElement("tr");
    row.appendChild(cell);
    body.replaceChildren(row);
    return;
  }
  if (body.querySelector(".empty")) body.replaceChildren();
  while (body.children.length > rows.length) body.lastElementChild.remove();
  rows.forEach((cells, r) => {
    const row = body.children[r] || body.appendChild(document.createElement("tr"));
    cells.forEach((cell, c) => {
      let node = row.children[c];
      if (!node) {
        node = row.appendChild(document.createElement("td"));
        if (typeof cell === "object") node.className = "share" in cell ? "bar" : "n";
        if (typeof cell === "object" && "share" in cell) {
          const meter = node.appendChild(document.createElement("div"));
          meter.className = "meter";
          meter.appendChild(document.createElement("div"));
        }
      }
      if (typeof cell === "object" && "share" in cell) {
        setMeter(node.firstChild.firstChild, cell.share);
        return;
      }
      const text = typeof cell === "object" ? cell.n : cell;
      if (node.textContent !== text) node.textContent = text;
      if (typeof cell === "string") node.title = text;
    });
  });
}

function showHeader(status) {
  const names = { ready: "ready", draining: "draining", starting: "starting", not_ready: "not ready" };
  const looks = { ready: "good", draining: "warn", starting: "warn", not_ready: "bad" };
  setText("state", names[status.state] || String(status.state || "unknown"));
  byId("state").className = "pill " + (looks[status.state] || "");
  setText("version", String(status.version || "–"));
  setText("uptime", duration(status.uptime_s));
  setText("group", String(status.group || "–"));
  setText("transport", String(status.transport || "–"));
}

function showTiles(status, before, seconds) {
  const totals = status.totals || {};
  const old = (before && before.totals) || {};
  const outcomes = (t) => isNumber(t.results) ? t.results + (t.dead_letters || 0) : undefined;
  const inRate = rate(totals.consumed, old.consumed, seconds);
  const outRate = rate(outcomes(totals), outcomes(old), seconds);
  const commitRate = rate(totals.commits, old.commits, seconds);
  if (before) {
    remember(history.in, inRate);
    remember(history.out, outRate);
  }
  remember(history.lag, status.lag);
  drawSpark("in_spark", history.in);
  drawSpark("out_spark", history.out);
  drawSpark("lag_spark", history.lag);

  setText("in_rate", short(inRate));
  setText("in_total", count(totals.consumed));
  setText("out_rate", short(outRate));
  setText("out_total", count(totals.results));
  setText("dead_total", count(totals.dead_letters));
  setText("lag", short(status.lag));
  setText("lag_note", lagNote(status.lag, outRate));
  const latency = status.latency_ms || {};
  setText("p50", short(latency.p50));
  setText("p99", short(latency.p99));
  setText("in_flight", short(status.in_flight));
  setText("batch_fill", isNumber(status.batch_fill) ? (100 * status.batch_fill).toFixed(0) : "–");
  setMeter(byId("batch_meter"), status.batch_fill);
  setText("commit_rate", short(commitRate));
  setText("commit_size", commitRate > 0 ? short(outRate / commitRate) : "–");
}

function lagNote(lag, outRate) {
  if (lag === 0) return "caught up";
  if (lag > 0 && outRate > 0) return "about " + duration(Math.max(1, lag / outRate)) + " of work";
  return "\u00a0";
}

function showModels(status, before, seconds) {
  const key = (m) => `${m.id}\n${m.version}`;
  const old = new Map(((before && before.models) || []).map((m) => [key(m), m.requests]));
  const models = (status.models || []).map((m) => ({ ...m, rate: rate(m.requests, old.get(key(m)), seconds) }));
  const sum = models.reduce((total, m) => total + (m.rate || 0), 0);
  fillTable("models", models.map((m) => [
    String(m.id), m.state === "paused" ? `${m.version} (paused)` : String(m.version), { n: count(m.requests) }, { n: short(m.rate) },
    { n: short(m.rows_per_batch) }, { n: short(m.p99_ms) }, { share: sum > 0 ? m.rate / sum : 0 },
  ]), "No model is loaded.");
}

function showDeadLetters(status) {
  const reasons = Object.entries(status.dead_letters || {})
    .filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  const sum = reasons.reduce((total, [, n]) => total + n, 0);
  fillTable("dead", reasons.map(([reason, n]) => [reason, { n: count(n) }, { share: n / sum }]),
            "None so far.");
}

function showPartitions(status) {
  const all = [...(status.partitions || [])];
  all.sort((a, b) => (b.lag || 0) - (a.lag || 0) || String(a.partition).localeCompare(
    String(b.partition), "en", { numeric: true }));
  const sum = all.reduce((total, p) => total + (p.lag || 0), 0);
  setText("partitions_note", all.length > kTopPartitions
    ? `the ${kTopPartitions} with most lag, of ${all.length}` : "");
  fillTable("partitions", all.slice(0, kTopPartitions).map((p) => [
    String(p.partition), { n: count(p.lag) }, { n: count(p.committed) },
    { share: sum > 0 ? p.lag / sum : 0 },
  ]), "No partition is assigned.");
}

// Threads of one name are one line: which of four executors ran is of no interest here.
function addUpThreads(threads) {
  const sums = new Map();
  for (const t of threads || []) sums.set(t.name, (sums.get(t.name) || 0) + (t.cpu_s || 0));
  return sums;
}

function showThreads(status, before, seconds) {
  const now = addUpThreads(status.threads);
  const old = addUpThreads(before && before.threads);
  const threads = [...now].map(([name, cpu]) => ({ name, cpu, use: rate(cpu, old.get(name), seconds) }));
  threads.sort((a, b) => b.cpu - a.cpu);
  fillTable("threads", threads.map((t) => [
    String(t.name), { n: isNumber(t.cpu) ? t.cpu.toFixed(1) : "–" },
    { n: isNumber(t.use) ? (100 * t.use).toFixed(0) + " %" : "–" }, { share: t.use },
  ]), "Not known on this system.");

  const use = threads.reduce((total, t) => total + (t.use || 0), 0);
  setText("cpu", before ? use.toFixed(2) : "–");
  const outcomes = before && status.totals && before.totals
    ? (status.totals.results + status.totals.dead_letters
       - before.totals.results - before.totals.dead_letters) / seconds
    : 0;
  setText("cpu_per_request", outcomes > 0 ? short(1e6 * use / outcomes) : "–");
}

function show(status, at) {
  // A shorter uptime means another process: its totals began anew.
  if (previous && status.uptime_s < previous.status.uptime_s) {
    previous = null;
    for (const list of Object.values(history)) list.length = 0;
  }
  const before = previous && previous.status;
  const seconds = previous ? (at - previous.at) / 1000 : 0;
  showHeader(status);
  showTiles(status, before, seconds);
  showModels(status, before, seconds);
  showDeadLetters(status);
  showPartitions(status);
  showThreads(status, before, seconds);
  previous = { status, at };
}

async function poll() {
  const notice = byId("notice");
  try {
    const answer = await fetch("api/v1/status", { cache: "no-store", signal: AbortSignal.timeout(kTimeoutMs) });
    if (!answer.ok) throw new Error(`the worker answered ${answer.status}`);
    show(await answer.json(), performance.now());
    notice.hidden = true;
  } catch (error) {
    setText("state", "no answer");
    byId("state").className = "pill bad";
    notice.textContent = `No answer from the worker (${error.message}). What you see is the last that it said; trying again.`;
    notice.hidden = false;
  }
  setTimeout(poll, kPollMs);
}

poll();
