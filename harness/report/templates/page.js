"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const { cells, variants, cases, details, grid, packages } = data;
  const V = variants.length, C = cells.length;
  const ROW = 28, NARROW = matchMedia("(max-width: 600px)");
  const COLUMN = Math.max(30, 8 + 17 * packages.length), HEAD = 96;
  const FIELDS = ["q", "document", "case", "family", "method", "defect", "cause", "since", ...packages];
  const SVG = $("chart").content.querySelector("svg").namespaceURI;
  const state = { verdicts: new Set(), focus: [0, 0], open: null };
  let rows = [], columns = [], match = new Uint8Array(V * C), chosen = null;

  // Nothing from a record is ever parsed as HTML: every text goes through textContent.
  function make(tag, properties = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name === "class") node.className = value;
      else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name.includes("-") || name === "role") node.setAttribute(name, value);
      else node[name] = value;
    }
    node.append(...children.filter((one) => one !== null && one !== undefined));
    return node;
  }

  const detailOf = (v, c) => (grid[c][v] < 0 ? null : details[grid[c][v]]);
  const versionsOf = (cell) => packages.map((name) => `${name} ${cell.versions[name] ?? "none"}`).join(", ");
  const nameOf = (v) => `${cases[variants[v][0]].name} ${variants[v][1]}`;
  const rowText = variants.map((one, v) => nameOf(v).toLowerCase());
  const columnText = cells.map((one) => `${one.id} ${one.state}`.toLowerCase());
  const detailText = details.map((one) => [one.outcome, one.label, one.message, one.signature, one.defect].join(" ").toLowerCase());
  const causeOf = new Map();
  data.causes.forEach((cause, number) => cause.members.forEach((place) => causeOf.set(place, number)));

  function wanted() {
    const found = {};
    for (const name of FIELDS) {
      const value = $(`f-${name}`) ? $(`f-${name}`).value : (chosen && chosen[name]) || "";
      if (value) found[name] = value;
    }
    return found;
  }

  function apply() {
    const want = wanted(), terms = (want.q || "").toLowerCase().split(/\s+/).filter(Boolean);
    const rowHas = terms.map((term) => rowText.map((text) => text.includes(term)));
    const columnHas = terms.map((term) => columnText.map((text) => text.includes(term)));
    const detailHas = terms.map((term) => detailText.map((text) => text.includes(term)));
    const isDetail = details.map((one) => (!want.defect || one.defect === want.defect)
      && (!state.verdicts.size || state.verdicts.has(one.label)));
    const isRow = variants.map(([index, , axes]) => (!want.document || cases[index].document === want.document)
      && (!want.case || cases[index].name === want.case)
      && (!want.family || axes.model === want.family) && (!want.method || axes.method === want.method));
    const isColumn = cells.map((one) => packages.every((name) => !want[name] || one.versions[name] === want[name]));
    const onEntries = Boolean(terms.length || want.defect || want.cause || want.since || state.verdicts.size);
    const rowUsed = new Uint8Array(V), columnUsed = new Uint8Array(C);
    match.fill(0);
    let count = 0;
    const cause = want.cause ? Number(want.cause) : null;
    for (let c = 0; c < C; c++) {
      if (!isColumn[c]) continue;
      const entries = grid[c];
      for (let v = 0; v < V; v++) {
        if (!isRow[v]) continue;
        const index = entries[v], place = c * V + v;
        if (index < 0) { if (!onEntries && cells[c].state !== "ready") columnUsed[c] = 1; continue; }
        if (!isDetail[index] || (cause !== null && causeOf.get(place) !== cause) || (want.since && !data.before[place])) continue;
        let t = 0;
        while (t < terms.length && (rowHas[t][v] || columnHas[t][c] || detailHas[t][index])) t++;
        if (t < terms.length) continue;
        match[place] = 1; rowUsed[v] = 1; columnUsed[c] = 1; count++;
      }
    }
    rows = variants.map((_, v) => v).filter((v) => rowUsed[v]);
    columns = cells.map((_, c) => c).filter((c) => columnUsed[c]);
    state.focus = [Math.min(state.focus[0], Math.max(0, rows.length - 1)), Math.min(state.focus[1], Math.max(0, columns.length - 1))];
    $("count").textContent = `${count} of ${data.count} results, in ${columns.length} cells and ${rows.length} variants`;
    $("cause-words").hidden = !want.cause;
    if (want.cause) $("cause-words").firstElementChild.textContent = `Of one cause: ${data.causes[want.cause].words}`;
    for (const button of document.querySelectorAll("[data-verdict]")) button.setAttribute("aria-pressed", state.verdicts.has(button.dataset.verdict));
    draw();
  }

  function labelWidth() { return NARROW.matches ? 150 : Math.min(430, Math.round($("grid").clientWidth * 0.36)); }

  function draw() {
    const box = $("grid"), canvas = $("canvas"), wide = labelWidth();
    const held = canvas.contains(document.activeElement);
    canvas.style.width = `${wide + columns.length * COLUMN}px`;
    canvas.style.height = `${HEAD + rows.length * ROW}px`;
    box.setAttribute("aria-rowcount", rows.length + 1);
    box.setAttribute("aria-colcount", columns.length + 1);
    const top = Math.max(0, Math.floor(box.scrollTop / ROW) - 4), bottom = Math.min(rows.length, top + Math.ceil(box.clientHeight / ROW) + 8);
    const left = Math.max(0, Math.floor(box.scrollLeft / COLUMN) - 2), right = Math.min(columns.length, left + Math.ceil(box.clientWidth / COLUMN) + 4);
    const seen = [];
    for (let y = top; y < bottom; y++) seen.push(y);
    if (rows.length && (state.focus[0] < top || state.focus[0] >= bottom)) seen.push(state.focus[0]);
    const across = [];
    for (let x = left; x < right; x++) across.push(x);
    if (columns.length && (state.focus[1] < left || state.focus[1] >= right)) across.push(state.focus[1]);
    across.sort((one, other) => one - other);
    seen.sort((one, other) => one - other);
    const head = make("div", { class: "head", role: "row", "aria-rowindex": 1 },
      make("span", { class: "label", role: "columnheader", "aria-colindex": 1 }, packages.join(" / ")));
    head.style.height = `${HEAD}px`;
    head.firstChild.style.width = `${wide}px`;
    for (const x of across) {
      const cell = cells[columns[x]];
      const node = make("span", { class: "column", role: "columnheader", "aria-colindex": x + 2, "aria-label": versionsOf(cell), title: cell.id });
      packages.forEach((name, index) => node.append(...(index ? [make("br")] : []), make(index ? "span" : "b", {}, cell.versions[name] ?? "-")));
      node.style.left = `${wide + x * COLUMN}px`;
      node.style.width = `${COLUMN}px`;
      head.append(node);
    }
    const lines = [head];
    for (const y of seen) {
      const v = rows[y];
      const line = make("div", { class: "line", role: "row", "aria-rowindex": y + 2 },
        make("span", { class: "label", role: "rowheader", "aria-colindex": 1, title: nameOf(v) }, variants[v][1], make("span", { class: "dim" }, ` ${cases[variants[v][0]].name}`)));
      line.style.top = `${HEAD + y * ROW}px`;
      line.style.height = `${ROW}px`;
      line.firstChild.style.width = `${wide}px`;
      for (const x of across) line.append(entry(y, x, v, columns[x], wide));
      lines.push(line);
    }
    canvas.replaceChildren(...lines);
    if (held) focus(false);
  }

  function entry(y, x, v, c, wide) {
    const detail = detailOf(v, c), cell = cells[c], place = c * V + v;
    const words = detail ? `${detail.outcome}, ${detail.label}` : cell.state === "ready" ? "not asked for" : cell.state;
    const kind = detail ? `${detail.outcome} ${detail.person ? detail.label.split(":")[0] : ""}` : "not-run";
    const node = make("span", {
      class: `entry ${kind}${match[place] || !detail ? "" : " other"}`, role: "gridcell", "aria-colindex": x + 2,
      "aria-label": `${words}: ${nameOf(v)}, ${versionsOf(cell)}`, tabIndex: y === state.focus[0] && x === state.focus[1] ? 0 : -1,
      "aria-selected": state.open === place,
    }, detail ? data.marks[detail.outcome] : cell.state === "ready" ? "" : "×");
    node.style.left = `${wide + x * COLUMN}px`;
    node.style.width = `${COLUMN}px`;
    node.dataset.at = `${y},${x}`;
    return node;
  }

  function focus(scroll = true) {
    const [y, x] = state.focus, box = $("grid");
    if (scroll) {
      const above = y * ROW, before = x * COLUMN, high = box.clientHeight - HEAD - ROW, broad = box.clientWidth - labelWidth() - COLUMN;
      if (above < box.scrollTop) box.scrollTop = above;
      else if (above > box.scrollTop + high) box.scrollTop = above - high;
      if (before < box.scrollLeft) box.scrollLeft = before;
      else if (before > box.scrollLeft + broad) box.scrollLeft = before - broad;
      draw();
    }
    const node = $("canvas").querySelector(`[data-at="${y},${x}"]`);
    if (node) node.focus({ preventScroll: true });
  }

  function keys(event) {
    const [y, x] = state.focus, page = Math.max(1, Math.floor($("grid").clientHeight / ROW) - 4);
    const moves = {
      ArrowDown: [y + 1, x], ArrowUp: [y - 1, x], ArrowRight: [y, x + 1], ArrowLeft: [y, x - 1], PageDown: [y + page, x], PageUp: [y - page, x],
      Home: event.ctrlKey ? [0, 0] : [y, 0], End: event.ctrlKey ? [rows.length - 1, columns.length - 1] : [y, columns.length - 1],
    };
    if (event.key in moves) {
      const [down, along] = moves[event.key];
      state.focus = [Math.min(rows.length - 1, Math.max(0, down)), Math.min(columns.length - 1, Math.max(0, along))];
      event.preventDefault();
      focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      if (rows.length && columns.length) open(rows[y], columns[x]);
    }
  }

  function open(v, c) {
    state.open = c * V + v;
    panel(v, c);
    save();
    draw();
    $("close").focus();
  }

  function close() {
    if (state.open === null) return;
    const v = state.open % V, c = Math.floor(state.open / V);
    state.open = null;
    $("panel").hidden = true;
    save();
    state.focus = [Math.max(0, rows.indexOf(v)), Math.max(0, columns.indexOf(c))];
    focus();
  }

  function command(words) {
    const text = words.map((word) => (/^[\w.:@%+=,/-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(" ");
    const said = make("span", { role: "status", class: "dim" });
    const copy = make("button", { type: "button", "aria-label": `Copy: ${text}`, onclick: () => put(text, said) }, "Copy");
    return make("div", { class: "copy" }, make("pre", { tabIndex: 0 }, text), make("span", {}, copy, said));
  }

  async function put(text, said) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Pages from disk may not use the clipboard in every browser; a selection may be copied everywhere.
      const area = make("textarea", { value: text });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    said.textContent = " copied";
  }

  function panel(v, c) {
    const [index, name, axes] = variants[v], cell = cells[c], detail = detailOf(v, c), place = c * V + v, of = cases[index], more = data.more[place] || {};
    const facts = make("dl");
    const fact = (term, ...words) => { if (words.some((one) => one !== "" && one !== null && one !== undefined)) facts.append(make("dt", {}, term), make("dd", {}, ...words)); };
    fact("outcome", detail ? `${data.marks[detail.outcome]} ${detail.outcome}` : cell.state);
    fact("verdict", detail ? detail.label : "");
    fact("defect", detail ? detail.defect : "");
    if (detail && data.defects[detail.defect]) fact("", `${data.defects[detail.defect].title}. ${data.defects[detail.defect].words}`);
    fact("before", data.before[place] || "");
    fact("case", `${of.name}: ${of.summary}`);
    fact("variant", Object.entries(axes).map(([axis, value]) => `${axis} ${value}`).join(", "));
    fact("cell", versionsOf(cell), make("br"), make("code", {}, cell.id));
    fact("why", cell.why);
    fact("lock", cell.lock ? make("code", {}, cell.lock) : "");
    fact("took", more.took === undefined ? "" : `${more.took} s`);
    const parts = [facts];
    const text = (title, words) => { if (words) parts.push(make("h3", {}, title), make("pre", { tabIndex: 0 }, words)); };
    text("Message", detail ? detail.message : cell.words);
    text("Signature", detail ? detail.signature : "");
    text("Counters", more.counters === undefined ? "" : data.counters[more.counters]);
    if (more.latency) parts.push(make("h3", {}, "Latency of a call"), chart(more.latency));
    if (more.history) {
      parts.push(make("h3", {}, "History"), make("table", { class: "dense" }, make("thead", {}, make("tr", {}, ...["time", "outcome", "run", "machine"].map((one) => make("th", {}, one)))),
        make("tbody", {}, ...more.history.map(([time, outcome, run, machine]) => make("tr", {}, make("td", {}, time), make("td", { class: outcome }, outcome), make("td", { class: "wrap" }, run), make("td", { class: "wrap" }, machine))))));
    }
    if (data.trimmed) parts.push(make("p", { class: "dim" }, "Counters and history of what is as expected are left out of a page this large; the records have them."));
    const short = Object.entries(axes).filter(([axis]) => axis !== "device" && axis !== "dtype").map(([, value]) => value).join("-");
    const where = Object.entries(axes).filter(([axis]) => axis !== "device" && axis !== "dtype").map(([axis, value]) => `${axis}=${value}`).join(",");
    parts.push(make("h3", {}, "Commands"), command([data.program, "run", data.matrix, "--cell", cell.id, "--case", `${of.name}:${short}`]));
    if (detail && detail.outcome !== "passed") {
      parts.push(command([data.program, "repro", of.name, "--matrix", data.matrix, "--cell", cell.id, "--variant", short, "-o", "repro.py"]));
      if (cell.versions.peft && cell.versions.transformers) {
        parts.push(command([data.program, "bisect", "--case", of.name, "--where", where, "--axis", "peft", "--bad", cell.versions.peft, "--transformers", cell.versions.transformers]));
      }
    }
    parts.push(command([data.program, "explain", of.name, "--run", data.run, "--where", where]));
    $("panel-title").textContent = `${of.name} ${name}`;
    $("panel-body").replaceChildren(...parts);
    $("panel").hidden = false;
    $("panel").scrollTop = 0;
  }

  function chart(arms) {
    const most = Math.max(...arms.flatMap((arm) => [arm.middle, arm.high || 0])) * 1.08, at = (value) => 70 + (330 * value) / most;
    const node = $("chart").content.querySelector("svg").cloneNode(true);
    const draw = (tag, attributes, words) => {
      const part = document.createElementNS(SVG, tag);
      for (const [name, value] of Object.entries(attributes)) part.setAttribute(name, value);
      if (words) part.textContent = words;
      node.append(part);
    };
    arms.forEach((arm, index) => {
      const y = 18 + index * 26;
      draw("text", { x: 0, y: y + 4, class: arm.name }, arm.name);
      if (arm.low) draw("line", { x1: at(arm.low), x2: at(arm.high), y1: y, y2: y, class: `bar ${arm.name}` });
      draw("circle", { cx: at(arm.middle), cy: y, r: 4, class: arm.name });
      draw("text", { x: 410, y: y + 4 }, `${arm.middle} ms`);
    });
    node.setAttribute("aria-label", arms.map((arm) => `${arm.name} ${arm.middle} ms${arm.low ? `, ${arm.low} to ${arm.high}` : ""}`).join("; "));
    return node;
  }

  // The address says what is shown: a filter can be sent to somebody, and Back leads back.
  function save() {
    const words = new URLSearchParams(wanted());
    if (state.verdicts.size) words.set("verdict", [...state.verdicts].join(","));
    if (state.open !== null) {
      words.set("cell", cells[Math.floor(state.open / V)].id);
      words.set("variant", nameOf(state.open % V));
    }
    const text = words.toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  }

  function load() {
    const words = new URLSearchParams(location.hash.slice(1));
    chosen = { cause: data.causes[words.get("cause")] ? words.get("cause") : "", since: words.get("since") || "" };
    for (const name of FIELDS) {
      const field = $(`f-${name}`), value = words.get(name) || "";
      if (field) field.value = value;
      if (field && field.value !== value) field.value = "";
    }
    state.verdicts = new Set((words.get("verdict") || "").split(",").filter(Boolean));
    apply();
    const c = cells.findIndex((one) => one.id === words.get("cell")), v = variants.findIndex((_, index) => nameOf(index) === words.get("variant"));
    if (c >= 0 && v >= 0) open(v, c);
  }

  function changed() { apply(); save(); }
  const options = { document: (v) => cases[variants[v][0]].document, case: (v) => cases[variants[v][0]].name, family: (v) => variants[v][2].model, method: (v) => variants[v][2].method };
  const fill = (name, values) => $(`f-${name}`).append(...[...new Set(values)].filter(Boolean).map((value) => make("option", { value }, value)));
  for (const [name, of] of Object.entries(options)) fill(name, variants.map((_, v) => of(v)).sort());
  for (const name of packages) fill(name, cells.map((one) => one.versions[name]));
  fill("defect", details.map((one) => one.defect).sort());
  for (const name of FIELDS) if ($(`f-${name}`)) $(`f-${name}`).addEventListener("input", changed);
  for (const button of document.querySelectorAll("[data-verdict]")) {
    button.addEventListener("click", () => {
      const verdict = button.dataset.verdict;
      if (!state.verdicts.delete(verdict)) state.verdicts.add(verdict);
      changed();
    });
  }
  for (const button of document.querySelectorAll("[data-cause]")) {
    button.addEventListener("click", () => { reset(); chosen.cause = button.dataset.cause; changed(); $("grid-title").scrollIntoView(); $("grid-title").focus(); });
  }
  for (const button of document.querySelectorAll("[data-since]")) {
    button.addEventListener("click", () => { reset(); chosen.since = "1"; changed(); $("grid-title").scrollIntoView(); $("grid-title").focus(); });
  }
  function reset() {
    for (const name of FIELDS) if ($(`f-${name}`)) $(`f-${name}`).value = "";
    chosen = {};
    state.verdicts.clear();
  }
  $("reset").addEventListener("click", () => { reset(); changed(); });
  $("close").addEventListener("click", close);
  $("grid").addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  $("grid").addEventListener("keydown", keys);
  $("grid").addEventListener("click", (event) => {
    const node = event.target.closest("[data-at]");
    if (!node) return;
    state.focus = node.dataset.at.split(",").map(Number);
    open(rows[state.focus[0]], columns[state.focus[1]]);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
  addEventListener("hashchange", load);
  addEventListener("resize", draw);
  load();
})();
