// The list: draws those rows that are seen, alone or in groups, and knows which one is chosen.
"use strict";

const list = (() => {
  const HEIGHT = 30; // of a row, as in style.css
  const BEYOND = 12; // rows drawn above and below those that are seen
  const NARROW = new Set(["run", "step", "problem_id", "correct", "reward", "executions"]); // on a phone, too
  // Field and heading.
  const COLUMNS = [
    ["run", "run"], ["phase", "phase"], ["step", "step"], ["mode", "mode"], ["problem_id", "problem"],
    ["sample", "sample"], ["subject", "subject"], ["level", "level"], ["correct", "correct"],
    ["reward", "reward"], ["executions", "calls"], ["failed", "failed"], ["policy_tokens", "tokens"],
    ["stop_reason", "stop"], ["answer", "answer"], ["seconds", "seconds"], ["advantage", "advantage"],
    ["entropy", "entropy"], ["lowest_logprob", "lowest logprob"], ["difference", "engine diff."],
  ].map(([field, title]) => [field, title, NARROW.has(field)]);
  const state = { q: "", sort: "", group: false };
  const open = new Set(); // problems whose group is unfolded
  let found = []; // [run, row] in the order of the list
  let groups = []; // {problem, from, to} if grouped
  let entries = []; // what is displayed: a place in found, or -1 - a place in groups
  let shownFor = null; // of which state and data found is
  let current = null; // [run, row] of the chosen one
  let generation = 0;
  let top = 0; // how far the list is scrolled
  let topOf = ""; // in which state of it

  const columnsShown = () => COLUMNS.filter(([field]) => field !== "run" || store.runs.length > 1);

  function regroup() {
    groups = [];
    if (state.group) {
      const by = new Map();
      for (const one of found) {
        const problem = one[0].text("problem_id", one[1]);
        if (!by.has(problem)) by.set(problem, []);
        by.get(problem).push(one);
      }
      found = [...by.values()].flat();
      let at = 0;
      for (const [problem, rows] of by) {
        groups.push({ problem, from: at, to: at + rows.length });
        at += rows.length;
      }
    }
    unfold();
  }

  function unfold() {
    entries = state.group ? [] : found.map((_, at) => at);
    for (const [number, group] of groups.entries()) {
      entries.push(-1 - number);
      if (open.has(group.problem)) for (let at = group.from; at < group.to; at++) entries.push(at);
    }
  }

  // Computes the list anew if the state or the data changed. Throws QueryError.
  async function update() {
    const wanted = JSON.stringify([state, store.runs.map((run) => [run.version, run.rows])]);
    if (wanted === shownFor) return;
    const mine = ++generation;
    const began = performance.now();
    const chosen = await order.rows(state);
    if (mine !== generation) return; // another one has overtaken it
    found = chosen;
    regroup();
    shownFor = wanted;
    document.getElementById("count").dataset.ms = (performance.now() - began).toFixed(1);
  }

  function cell(run, row, field) {
    if (field === "run") return run.name;
    const value = run.columns[field] ? run.value(field, row) : null;
    if (field === "correct") return value === null ? "–" : value ? "✓ yes" : "✗ no";
    return typeof value === "string" ? value : shown.number(value, 3);
  }

  function drawRow(at, place) {
    const [run, row] = found[at];
    const chosen = current && current[0] === run && current[1] === row;
    const right = run.number_("correct", row);
    const cells = columnsShown().map(([field, , narrow]) => {
      const text = shown.safe(cell(run, row, field));
      const inside = field === "problem_id" ? shown.el(
        "a",
        { href: run.link(row), tabindex: chosen ? 0 : -1 },
        [text],
      ) : text;
      const kind = run.columns[field] instanceof Float64Array && field !== "correct" ? "number" : "";
      return shown.el(
        "td",
        {
          class: `${kind}${narrow ? "" : " wide"}${field === "correct" ? (right ? " yes" : " no") : ""}`,
        },
        [inside],
      );
    });
    const onclick = (event) => {
      if (!event.target.closest("a")) location.hash = run.link(row);
    };
    const state_ = chosen ? { class: "current", "aria-current": "true" } : {};
    return shown.el("tr", { ...state_, "aria-rowindex": place + 2, onclick }, cells);
  }

  function drawGroup(number, place) {
    const { problem, from, to } = groups[number];
    const rows = found.slice(from, to);
    const mean = (field) => {
      const values = rows.map(([run, row]) => run.number_(field, row)).filter((value) => value !== null);
      return values.length ? shown.number(values.reduce((a, b) => a + b) / values.length, 3) : "–";
    };
    const unfolded = open.has(problem);
    const toggle = shown.el("button", { type: "button", class: "fold", "aria-expanded": String(unfolded), onclick: () => {
      if (!open.delete(problem)) open.add(problem);
      unfold();
      draw();
    } }, [`${unfolded ? "▾" : "▸"} ${shown.safe(problem)}`]);
    const words = ` ${to - from} trajectories, accuracy ${mean("correct")}, reward ${mean("reward")} `;
    return shown.el("tr", { class: "group", "aria-rowindex": place + 2 }, [
      shown.el(
        "td",
        { colspan: columnsShown().length },
        [toggle, words, shown.link(links.to("p", problem), "compare")],
      ),
    ]);
  }

  function draw() {
    const body = document.querySelector("#rows");
    const box = document.getElementById("scroller");
    if (!body) return;
    const first = Math.max(0, Math.floor(box.scrollTop / HEIGHT) - BEYOND);
    const last = Math.min(entries.length, Math.ceil((box.scrollTop + box.clientHeight) / HEIGHT) + BEYOND);
    const space = (rows) => {
      const row = shown.el(
        "tr",
        { class: "space", "aria-hidden": "true" },
        [shown.el("td", { colspan: columnsShown().length })],
      );
      row.firstChild.style.height = `${rows * HEIGHT}px`;
      return row;
    };
    const rows = [];
    for (let at = first; at < last; at++) rows.push(
      entries[at] < 0 ? drawGroup(-1 - entries[at], at) : drawRow(entries[at], at),
    );
    const focused = document.activeElement && body.contains(document.activeElement);
    body.replaceChildren(
      ...(first ? [space(first)] : []),
      ...rows,
      ...(last < entries.length ? [space(entries.length - last)] : []),
    );
    if (focused) (body.querySelector("tr.current a") || box).focus({ preventScroll: true });
    document.querySelector("#table").setAttribute("aria-rowcount", entries.length + 1);
  }

  function heading([field, title, narrow]) {
    const direction = state.sort === field ? "ascending" : state.sort === `-${field}` ? "descending" : null;
    const mark = { ascending: " ▲", descending: " ▼" }[direction] || "";
    const next = direction === "descending" ? field : direction === "ascending" ? "" : `-${field}`;
    return shown.el("th", {
      scope: "col",
      class: `f-${field}${narrow ? "" : " wide"}`,
      "aria-sort": direction || "none",
    }, [
      shown.el(
        "button",
        { type: "button", onclick: () => main.go({ ...state, sort: next }) },
        [title + mark],
      ),
    ]);
  }

  // Draws the whole view; the filter is in the page's head.
  async function show(main_) {
    let fault = "";
    try {
      await update();
    } catch (error) {
      if (!(error instanceof query.QueryError)) throw error;
      fault = error.message;
    }
    tell(fault);
    const head = shown.el("thead", {}, [shown.el("tr", { "aria-rowindex": 1 }, columnsShown().map(heading))]);
    const table = shown.el(
      "table",
      { id: "table", "aria-label": "Trajectories" },
      [head, shown.el("tbody", { id: "rows" })],
    );
    const box = shown.el(
      "div",
      { id: "scroller", tabindex: 0, role: "region", "aria-label": "List of trajectories" },
      [table],
    );
    const focused = document.activeElement?.id === "scroller";
    main_.replaceChildren(box);
    if (focused) box.focus({ preventScroll: true });
    draw(); // so that there is something to scroll
    if (topOf === JSON.stringify(state)) box.scrollTop = top;
    else top = 0;
    topOf = JSON.stringify(state);
    let due = false;
    box.addEventListener("scroll", () => {
      top = box.scrollTop;
      if (due) return;
      due = true;
      requestAnimationFrame(() => {
        due = false;
        draw();
      });
    });
    reveal();
    draw();
  }

  function tell(fault) {
    const all = store.runs.reduce((sum, run) => sum + run.rows, 0);
    const problems = groups.length ? `, ${shown.count(groups.length)} problems` : "";
    const words = `${shown.count(found.length)} of ${shown.count(all)} trajectories${problems}`;
    document.getElementById("count").textContent = fault ? "" : words;
    document.getElementById("fault").textContent = fault ? shown.safe(fault) : "";
  }

  const place = () => (
    current ? found.findIndex(([run, row]) => run === current[0] && row === current[1]) : -1
  );

  // Scrolls to the chosen row.
  function reveal() {
    const at = place();
    const box = document.getElementById("scroller");
    if (at < 0 || !box) return;
    const top = entries.indexOf(at) * HEIGHT;
    if (top >= 0 && (
      top < box.scrollTop || top > box.scrollTop + box.clientHeight - 3 * HEIGHT
    )) box.scrollTop = Math.max(0, top - box.clientHeight / 2);
  }

  // Chooses the next (1) or previous (-1) trajectory and returns it; null: there is none.
  function move(by) {
    const at = place();
    const next = at < 0 ? (by > 0 ? 0 : found.length - 1) : at + by;
    if (!found[next]) return null;
    choose(...found[next]);
    if (state.group && document.getElementById("rows")) {
      open.add(current[0].text("problem_id", current[1]));
      unfold();
    }
    reveal();
    draw();
    return current;
  }

  function choose(run, row) {
    current = run && [run, row];
  }

  addEventListener("resize", draw);

  return {
    state,
    update,
    show,
    move,
    choose,
    current: () => current,
    position: () => [place() + 1, found.length],
  };
})();
