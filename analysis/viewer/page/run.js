// A run: its curves, its steps, its settings and its prompts. Several runs share a figure.
"use strict";

const run = (() => {
  // Shown first, if the run has them; all others follow on demand.
  const FIRST = [
    "reward", "accuracy", "executions_per_trajectory", "execution_failure_rate", "tool_use_rate", "tokens/policy", "entropy",
    "grad_norm", "sampling/sampling_logp_difference/mean", "frac_reward_zero_std", "budget", "seconds/step",
  ];

  function curves(box, abouts, names) {
    for (const name of names) {
      const series = abouts.map(
        ([one, about]) => (
          { name: one.name, points: about.metrics.map((row) => [row.step, row[name] ?? null]) }
        ),
      )
        .filter((one) => one.points.some(([, value]) => typeof value === "number"));
      const drawn = series.length ? chart.lines(name, series) : null;
      if (drawn) box.append(drawn);
    }
  }

  function metrics(abouts) {
    const all = new Set(
      abouts.flatMap(
        ([, about]) => about.metrics.flatMap(
          (row) => Object.keys(row).filter((name) => typeof row[name] === "number"),
        ),
      ),
    );
    for (const name of ["step", "attempt"]) all.delete(name);
    if (!all.size) return [shown.el("p", { class: "dim" }, ["There are no metrics of steps here."])];
    const first = FIRST.filter((name) => all.has(name));
    const rest = [...all].filter((name) => !first.includes(name)).sort();
    const box = shown.el("div", { class: "charts" });
    curves(box, abouts, first);
    const more = shown.el("div", { class: "charts" });
    const button = shown.el("button", { type: "button", class: "more", onclick: () => {
      curves(more, abouts, rest);
      button.remove();
    } }, [`show ${rest.length} more metrics`]);
    return [box, ...(rest.length ? [button] : []), more];
  }

  // Settings as rows of dotted names and values.
  function flat(value, name = "") {
    if (value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length) {
      return Object.entries(value).flatMap(([key, one]) => flat(one, name ? `${name}.${key}` : key));
    }
    return [[name, typeof value === "string" ? value : JSON.stringify(value)]];
  }

  function settings(config) {
    if (!config) return shown.el("p", { class: "dim" }, ["The folder has no config.json."]);
    const rows = flat(config);
    const body = shown.el(
      "tbody",
      {},
      rows.map(
        ([name, value]) => shown.el(
          "tr",
          {},
          [shown.el("th", { scope: "row" }, [shown.safe(name)]), shown.long(shown.el("td"), value)],
        ),
      ),
    );
    const search = shown.el("input", { type: "search", id: "settings", oninput: () => {
      const wanted = search.value.toLowerCase();
      for (const row of body.children) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    } });
    return shown.el("details", {}, [
      shown.el("summary", {}, [`${rows.length} settings, as used`]),
      shown.el("p", {}, [shown.el("label", { for: "settings" }, ["Find a setting "]), search]),
      shown.el(
        "div",
        { class: "scroll" },
        [shown.el("table", { class: "plain" }, [shown.el("caption", {}, ["Settings"]), body])],
      ),
    ]);
  }

  async function prompts(one, about) {
    const found = [];
    const of = (words, text) => found.push(
      shown.el(
        "details",
        {},
        [shown.el("summary", {}, [words]), shown.long(shown.el("div", { class: "text" }), text)],
      ),
    );
    const recorded = about.summary?.prompt;
    if (recorded && typeof recorded.text === "string") of(
      `First prompt of the run (mode ${shown.safe(recorded.mode)}, ${shown.number(recorded.tokens)} tokens)`,
      recorded.text
    );
    const seen = new Set();
    for (let row = 0; row < one.rows; row++) {
      const kind = `${one.text("phase", row) === "train" ? "training" : "evaluation"}, mode ${one.text("mode", row)}`;
      if (seen.has(kind)) continue;
      seen.add(kind);
      const text = await one.texts(row);
      if (text.prompt !== null) of(`First prompt in ${shown.safe(kind)}`, text.prompt);
    }
    return found.length ? found : [shown.el("p", { class: "dim" }, ["No prompts are recorded."])];
  }

  function stepsOf(one) {
    const all = step.steps(one).map(
      ([phase, number]) => shown.el(
        "a",
        { href: step.link(one, phase, number) },
        [phase === "train" ? String(number) : `${shown.safe(phase)} ${number}`],
      ),
    );
    return shown.el("p", { class: "steps" }, all.flatMap((link) => [link, " "]));
  }

  async function show(main_, one, options) {
    const abouts = await Promise.all(store.runs.map(async (each) => [each, await each.about()]));
    const about = abouts.find(([each]) => each === one)[1];
    const texts = await prompts(one, about);
    if (options.stale()) return;
    main_.replaceChildren(shown.el("article", { class: "page" }, [
      shown.append(shown.el("h1"), one.name),
      shown.facts(
        [
          ["state", about.state],
          ["folder", about.folder],
          ["trajectories", shown.count(one.rows)],
          ["steps with metrics", shown.count(about.metrics.length)],
        ],
      ),
      ...(one.note ? [shown.el("p", { class: "note", role: "note" }, [shown.safe(one.note)])] : []),
      store.runs.length > 1 ? shown.el(
        "p",
        {},
        ["Runs: ", ...store.runs.flatMap((each) => [shown.link(links.to("r", each.name), each.name), " "])],
      ) : "",
      shown.el("h2", {}, ["Steps"]), stepsOf(one),
      shown.el("h2", {}, ["Curves"]), ...metrics(abouts),
      shown.el("h2", {}, ["Prompts"]), ...texts,
      shown.el("h2", {}, ["Settings"]), settings(about.config),
    ]));
    main_.scrollTop = 0;
  }

  return { show };
})();
