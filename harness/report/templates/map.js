"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const MARKS = { w: "✓", s: "≠", p: "~", r: "!", i: "×", u: "·" };
  const WORDS = { w: "works", s: "silently wrong", p: "works in part", r: "raises", i: "cannot be imported together", u: "cannot exist" };
  const unready = new Map(data.unready.map(([p, t, state, defect]) => [`${p},${t}`, { letter: "i", state, defects: defect < 0 ? [] : [defect] }]));
  const GROUPS = { generate: "generate, with the cache (its default)", uncached: "generate, without the cache" };
  let entries = new Map();

  // Every text goes through textContent; nothing is parsed as HTML.
  function make(tag, properties = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name.includes("-") || name === "class") node.setAttribute(name, value);
      else node[name] = value;
    }
    node.append(...children);
    return node;
  }

  function joined(results) {
    const letters = new Set(results.map((one) => one[3]));
    const passed = results.reduce((sum, one) => sum + one[4], 0), measured = results.reduce((sum, one) => sum + one[5], 0);
    const fails = letters.has("r") || letters.has("p");
    const letter = letters.has("s") ? "s" : fails ? (passed ? "p" : "r") : passed ? "w" : "u";
    return { letter, passed, measured, defects: [...new Set(results.flatMap((one) => one[6]))] };
  }

  function collect() {
    const chosen = $("case").value, found = new Map();
    const meant = chosen in GROUPS ? new Set(data[chosen]) : chosen === "all" ? null : new Set([Number(chosen)]);
    for (const one of data.families[$("family").value]) {
      if (meant && !meant.has(one[2])) continue;
      const key = `${one[0]},${one[1]}`;
      if (!found.has(key)) found.set(key, []);
      found.get(key).push(one);
    }
    entries = new Map([...found].map(([key, results]) => [key, joined(results)]));
    for (const [key, one] of unready) if (!entries.has(key)) entries.set(key, one);
  }

  function draw() {
    collect();
    const measured = [...found()];
    const rows = data.peft.map((_, p) => p).filter((p) => measured.some(([one]) => one === p));
    const columns = data.transformers.map((_, t) => t).filter((t) => measured.some(([, one]) => one === t));
    const head = make("tr", {}, make("th", { scope: "col" }, "peft \\ transformers"), ...columns.map((t) => make("th", { scope: "col" }, make("span", {}, data.transformers[t]))));
    const lines = rows.map((p) => make("tr", {},
      make("th", { scope: "row" }, make("button", { type: "button", "aria-pressed": String($("peft").value === data.peft[p]), "aria-label": `peft ${data.peft[p]}`, onclick: () => choose(data.peft[p]) }, data.peft[p])),
      ...columns.map((t) => make("td", {}, ...entry(p, t)))));
    $("map").replaceChildren(make("thead", {}, head), make("tbody", {}, ...lines));
  }

  function* found() { for (const key of entries.keys()) if (!unready.has(key) || entries.get(key).letter !== "i") yield key.split(",").map(Number); }

  function entry(p, t) {
    const one = entries.get(`${p},${t}`);
    if (!one) return [];
    const words = `peft ${data.peft[p]}, transformers ${data.transformers[t]}: ${WORDS[one.letter]}`;
    return [make("button", { type: "button", class: one.letter, title: words, "aria-label": words, onclick: () => { tell(p, t); $("answer").scrollIntoView({ block: "center" }); } }, MARKS[one.letter])];
  }

  const where = () => `${$("family").value}, ${$("case").selectedOptions[0].textContent}`;
  const names = (defects) => defects.flatMap((number, index) => [...(index ? ["; "] : []), make("a", { href: `../defects/${data.defects[number][0]}.html` }, data.defects[number][1]), ` (way round: ${data.defects[number][2]})`]);

  function tell(p, t) {
    const one = entries.get(`${p},${t}`), count = one.measured ? ` (${one.passed} of ${one.measured} results pass)` : "";
    say(make("b", {}, `peft ${data.peft[p]} with transformers ${data.transformers[t]}: ${WORDS[one.letter]}`), `${count}. ${where()}. `, ...(one.defects.length ? ["Of: ", ...names(one.defects), "."] : []));
  }

  // Neighbouring releases with one answer are one range; the newest stands first on the page, the oldest in words.
  function ranges(list) {
    const spans = [];
    for (const t of [...list].sort((one, other) => one - other)) {
      const last = spans.at(-1);
      if (last && known.indexOf(t) === known.indexOf(last[1]) + 1) last[1] = t;
      else spans.push([t, t]);
    }
    return spans.reverse().map(([newest, oldest]) => (newest === oldest ? data.transformers[newest] : `${data.transformers[oldest]} to ${data.transformers[newest]}`)).join(", ");
  }
  let known = [];

  function answer(version) {
    const p = data.peft.indexOf(version), by = {};
    known = data.transformers.map((_, t) => t).filter((t) => entries.has(`${p},${t}`));
    for (const t of known) (by[entries.get(`${p},${t}`).letter] ||= []).push(t);
    const order = ["w", "p", "s", "r", "i", "u"].filter((letter) => by[letter]);
    const parts = order.map((letter) => make("p", {}, make("b", { class: letter }, MARKS[letter]), ` ${WORDS[letter]}: transformers ${ranges(by[letter])}`));
    if (!by.w) parts.unshift(make("p", {}, make("b", {}, "No measured transformers works for all of it.")));
    const defects = [...new Set(known.flatMap((t) => entries.get(`${p},${t}`).defects))];
    say(make("h2", { style: "margin:0" }, `peft ${version}: ${where()}`), ...parts, ...(defects.length ? [make("p", {}, "What fails: ", ...names(defects), ".")] : []));
  }

  function say(...parts) {
    $("answer").hidden = false;
    $("answer").replaceChildren(...parts);
  }

  function choose(version) {
    $("peft").value = version;
    changed();
    $("answer").scrollIntoView({ block: "center" });
  }

  function changed() {
    draw();
    if ($("peft").value) answer($("peft").value);
    else $("answer").hidden = true;
    const words = new URLSearchParams({ family: $("family").value, case: $("case").value });
    if ($("peft").value) words.set("peft", $("peft").value);
    history.replaceState(null, "", `#${words}`);
  }

  function load() {
    const words = new URLSearchParams(location.hash.slice(1));
    for (const id of ["family", "case", "peft"]) {
      const wanted = words.get(id);
      if (wanted && [...$(id).options].some((one) => one.value === wanted)) $(id).value = wanted;
    }
    draw();
    if ($("peft").value) answer($("peft").value);
  }

  const families = Object.keys(data.families).sort((one, other) => data.families[other].length - data.families[one].length);
  $("family").append(...families.map((value) => make("option", { value }, value)));
  for (const [value, words] of Object.entries(GROUPS)) if (data[value].length) $("case").append(make("option", { value }, words));
  $("case").append(make("option", { value: "all" }, "everything that was measured"), ...data.cases.map((name, index) => make("option", { value: String(index) }, name)));
  $("peft").append(...data.peft.map((value) => make("option", { value }, value)));
  for (const id of ["family", "case", "peft"]) $(id).addEventListener("input", changed);
  addEventListener("hashchange", load);
  load();
})();
