// A step of a run, or an evaluation: rewards, groups without a difference, stop reasons, surprising tokens.
"use strict";

const step = (() => {
  const BARS = 20;

  function steps(run) {
    const found = new Map();
    for (let row = 0; row < run.rows; row++) {
      const key = `${run.text("phase", row)}\u0000${run.columns.step[row]}`;
      if (!found.has(key)) found.set(key, row);
    }
    return [...found.values()].sort((a, b) => {
      const [one, other] = [trajectory.order(run, a), trajectory.order(run, b)];
      return one[0] - other[0] || one[1] - other[1];
    }).map((row) => [run.text("phase", row), run.columns.step[row]]);
  }

  const link = (run, phase, number) => links.to("s", run.name, phase, number);

  function histogram(run, rows) {
    const values = rows.map((row) => run.number_("reward", row)).filter(
      (value) => value !== null && Number.isFinite(value),
    );
    if (!values.length) return null;
    let low = values.reduce((a, b) => Math.min(a, b));
    let high = values.reduce((a, b) => Math.max(a, b));
    if (low === high) [low, high] = [low - 0.5, high + 0.5];
    const width = (high - low) / BARS;
    const bars = Array.from(
      { length: BARS },
      (_, at) => ({ low: low + at * width, high: low + (at + 1) * width, count: 0 }),
    );
    for (const value of values) bars[Math.min(BARS - 1, Math.floor((value - low) / width))].count++;
    return chart.histogram("Rewards", bars, { x: "reward" });
  }

  // Groups by their number; in older records by problem.
  function groups(run, rows) {
    const by = new Map();
    for (const row of rows) {
      const group = run.number_("group", row);
      const key = group === null ? run.text("problem_id", row) : group;
      if (!by.has(key)) by.set(key, []);
      by.get(key).push(row);
    }
    return [...by.values()];
  }

  function equal(run, rows) {
    const several = groups(run, rows).filter((group) => group.length > 1);
    const same = several.filter(
      (group) => group.every((row) => run.number_("reward", row) === run.number_("reward", group[0])),
    );
    if (!several.length) return [
      shown.el("p", { class: "dim" }, ["Each problem has one trajectory here, so there are no groups."]),
    ];
    const entry = (group) => shown.el("li", {}, [
      shown.link(links.to("p", run.text("problem_id", group[0])), run.text("problem_id", group[0])),
      `: all ${group.length} have ${shown.number(run.number_("reward", group[0]))} `,
      ...group.flatMap(
        (row) => [
          shown.el(
            "a",
            { href: run.link(row), "aria-label": `sample ${run.columns.sample[row]}` },
            [String(run.columns.sample[row])],
          ),
          " ",
        ],
      ),
    ]);
    return [
      shown.el(
        "p",
        {},
        [
          `${same.length} of ${several.length} groups have equal rewards: `,
          "none of their trajectories is better than its group.",
        ],
      ),
      shown.el(
        "details",
        {},
        [shown.el("summary", {}, ["List them"]), shown.el("ul", { class: "groups" }, same.map(entry))],
      ),
    ];
  }

  function stops(run, rows) {
    const counts = new Map();
    for (const row of rows) {
      const why = run.text("stop_reason", row);
      const cell = counts.get(why) || [0, 0];
      counts.set(why, [cell[0] + 1, cell[1] + run.columns.correct[row]]);
    }
    const line = ([why, [count, right]]) => shown.el("tr", {}, [
      shown.el("th", { scope: "row" }, [shown.safe(why)]),
      shown.el("td", { class: "number" }, [shown.count(count)]),
      shown.el("td", { class: "number" }, [`${shown.number((100 * count) / rows.length, 3)} %`]),
      shown.el("td", { class: "number" }, [shown.number(right / count, 3)]),
    ]);
    return shown.el("table", { class: "plain" }, [
      shown.el(
        "thead",
        {},
        [
          shown.el(
            "tr",
            {},
            [
              "stop reason",
              "trajectories",
              "share",
              "accuracy",
            ].map((name) => shown.el("th", { scope: "col" }, [name])),
          ),
        ],
      ),
      shown.el("tbody", {}, [...counts].sort((a, b) => b[1][0] - a[1][0]).map(line)),
    ]);
  }

  function surprising(run, phase, number) {
    const found = phase === "train" ? run.surprising[number] : undefined;
    if (!found || !found.length) return shown.el(
      "p",
      { class: "dim" },
      ["There are no token columns of this step."],
    );
    const line = (one) => shown.el("tr", {}, [
      shown.el(
        "td",
        {},
        [shown.el("code", { class: "t" }, [shown.safe(one.text ?? `id ${one.id}`) || "\u25ab"])],
      ),
      shown.el("td", { class: "number" }, [shown.number(one.logprob, 3)]),
      shown.el("td", { class: "number" }, [shown.number(100 * Math.exp(one.logprob), 2), " %"]),
      shown.el(
        "td",
        {},
        [
          shown.link(
            `${run.link(one.row)}?c=logprob&t=${one.at}`,
            `${run.text("problem_id", one.row)}, sample ${run.columns.sample[one.row]}, token ${one.at}`,
          ),
        ],
      ),
    ]);
    return shown.el("div", { class: "scroll" }, [shown.el("table", { class: "plain" }, [
      shown.el("caption", {}, ["Of the policy's tokens in the loss, by their logprob in the trainer"]),
      shown.el(
        "thead",
        {},
        [
          shown.el(
            "tr",
            {},
            ["token", "logprob", "probability", "trajectory"].map(
              (name) => shown.el("th", { scope: "col" }, [name]),
            ),
          ),
        ],
      ),
      shown.el("tbody", {}, found.map(line)),
    ])]);
  }

  function show(main_, run, phase, number) {
    const rows = [];
    for (let row = 0; row < run.rows; row++) {
      if (run.columns.step[row] === number && run.text("phase", row) === phase) rows.push(row);
    }
    if (!rows.length) return main.missing(`${run.name} has no trajectories of ${phase}, step ${number}.`);
    const all = steps(run);
    const at = all.findIndex(([one, other]) => one === phase && other === number);
    const neighbour = (by, words) => (
      all[at + by] ? shown.el("a", { class: "button", href: link(run, ...all[at + by]) }, [words]) : ""
    );
    const mean = (name) => {
      const values = rows.map((row) => run.number_(name, row)).filter((value) => value !== null);
      return values.length ? shown.number(values.reduce((a, b) => a + b, 0) / values.length) : "–";
    };
    const filter = new URLSearchParams(
      {
        q: `step=${number} phase=${phase}${store.runs.length > 1 ? ` run=${JSON.stringify(run.name)}` : ""}`,
      },
    );
    main_.replaceChildren(shown.el("article", { class: "page" }, [
      shown.el("h1", {}, [`${shown.safe(phase)}, step ${number}`]),
      shown.el(
        "p",
        {},
        [
          shown.link(links.to("r", run.name), run.name),
          " · ",
          shown.link(`#/?${filter}`, `its ${shown.count(rows.length)} trajectories in the list`),
        ],
      ),
      shown.el(
        "nav",
        { class: "toolbar", "aria-label": "Steps" },
        [neighbour(-1, "earlier step"), neighbour(1, "later step")],
      ),
      shown.facts(
        [
          ["trajectories", shown.count(rows.length)],
          ["accuracy", mean("correct")],
          ["mean reward", mean("reward")],
          ["executions", mean("executions")],
          ["policy tokens", mean("policy_tokens")],
          ["entropy", mean("entropy")],
        ],
      ),
      shown.el("div", { class: "charts" }, [histogram(run, rows)].filter(Boolean)),
      shown.el("h2", {}, ["Groups"]), ...equal(run, rows),
      shown.el("h2", {}, ["Stop reasons"]), stops(run, rows),
      shown.el("h2", {}, ["Most surprising tokens"]), surprising(run, phase, number),
    ]));
    main_.scrollTop = 0;
    return undefined;
  }

  return { show, steps, link };
})();
