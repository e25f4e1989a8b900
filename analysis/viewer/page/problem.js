// A problem over the steps of a run and over runs: accuracy, all its trajectories, and two of them side by side.
"use strict";

const problem = (() => {
  const LISTED = 400; // trajectories that the table lists at first

  const label = (run, row) => {
    const [phase, step, mode, , sample] = run.key(row);
    const name = store.runs.length > 1 ? `${run.name}: ` : "";
    const right = run.number_("correct", row) ? "correct" : "wrong";
    return `${name}${phase} ${step}, ${mode}, sample ${sample}, ${right}`;
  };

  // Where two trajectories part: a number of a token of each, or of a character, or null if they are equal.
  function part(a, b) {
    if (a.flow.byToken && b.flow.byToken) {
      const [left, right] = [a.all, b.all];
      const same = (i, j) => {
        const [one, other] = [left.bytes(i), right.bytes(j)];
        return one.length === other.length && one.every(
          (byte, at) => byte === other[at],
        ) && left.silent(i) === right.silent(j);
      };
      let at = 0;
      while (left.promptTokens + at < left.length && right.promptTokens + at < right.length && same(
        left.promptTokens + at,
        right.promptTokens + at,
      )) at++;
      if (left.promptTokens + at === left.length && right.promptTokens + at === right.length) return null;
      return { unit: "token", at, left: left.promptTokens + at, right: right.promptTokens + at };
    }
    const [one, other] = [a.text, b.text].map(
      (text) => text.segments.map((segment) => segment.text).join(""),
    );
    if (one === other) return null;
    let at = 0;
    while (at < one.length && one[at] === other[at]) at++;
    return { unit: "character", at, left: at, right: at };
  }

  async function loaded([run, row]) {
    const [text, all] = await Promise.all([run.texts(row), run.tokens(row)]);
    return { run, row, text, all, flow: new flow.Flow(text, all) };
  }

  function column(one, at, name) {
    const byToken = one.flow.byToken && at && at.unit === "token";
    const drawn = new flow.Flow(
      one.text,
      byToken || !at ? one.all : null,
      { part: at ? at[name] : null, prompt: false },
    );
    if (at && byToken && at[name] < one.all.length) drawn.more(at[name] - one.all.promptTokens);
    return shown.el("section", { class: "arm", "aria-label": shown.safe(label(one.run, one.row)) }, [
      shown.el("h3", {}, [shown.link(one.run.link(one.row), label(one.run, one.row))]),
      drawn.root,
    ]);
  }

  async function beside(box, a, b) {
    const [left, right] = await Promise.all([loaded(a), loaded(b)]);
    const at = part(left, right);
    const words = at ? `They part at ${at.unit} ${at.at + 1} after the prompt, marked in both.` : "They are the same.";
    box.replaceChildren(
      shown.el("p", { id: "parting", role: "status" }, [words]),
      shown.el("div", { class: "arms" }, [column(left, at, "left"), column(right, at, "right")]),
    );
  }

  // Accuracy by step, one curve for each run and mode, evaluations apart from training.
  function accuracy(all) {
    const curves = new Map();
    for (const [run, row] of all) {
      const kind = run.text("phase", row) === "train" ? "training" : "evaluation";
      const name = `${store.runs.length > 1 ? `${run.name}, ` : ""}${kind}, ${run.text("mode", row)}`;
      if (!curves.has(name)) curves.set(name, new Map());
      const step = run.columns.step[row];
      const cell = curves.get(name).get(step) || [0, 0];
      curves.get(name).set(step, [cell[0] + run.columns.correct[row], cell[1] + 1]);
    }
    const series = [...curves].map(([name, steps]) => ({
      name,
      points: [...steps].sort((x, y) => x[0] - y[0]).map(([step, [right, of]]) => [step, right / of]),
    }));
    return chart.lines("Accuracy of this problem", series, { low: 0, high: 1 });
  }

  function table(all) {
    const fields = [
      "run",
      "phase",
      "step",
      "mode",
      "sample",
      "correct",
      "reward",
      "executions",
      "policy_tokens",
      "stop_reason",
      "answer",
    ];
    const body = shown.el("tbody");
    const add = (from, to) => {
      for (const [run, row] of all.slice(from, to)) {
        body.append(shown.el("tr", {}, fields.map((field) => {
          const value = field === "run" ? run.name : run.value(field, row);
          let text = typeof value === "string" ? shown.safe(value) : shown.number(value, 3);
          if (field === "correct") text = value ? "✓ yes" : "✗ no";
          return shown.el(
            "td",
            {},
            [field === "step" ? shown.el("a", { href: run.link(row) }, [text]) : text],
          );
        })));
      }
    };
    add(0, LISTED);
    const more = all.length > LISTED ? [shown.el("button", { type: "button", class: "more", onclick: (event) => {
      add(LISTED, all.length);
      event.target.remove();
    } }, [`show ${shown.count(all.length - LISTED)} more`])] : [];
    return shown.el("div", { class: "scroll" }, [
      shown.el("table", { class: "plain" }, [
        shown.el("caption", {}, [`${shown.count(all.length)} trajectories`]),
        shown.el(
          "thead",
          {},
          [
            shown.el(
              "tr",
              {},
              fields.map((field) => shown.el("th", { scope: "col" }, [field.replace("_", " ")])),
            ),
          ],
        ),
        body,
      ]),
      ...more,
    ]);
  }

  // The last trajectory in the mode of the first one.
  function lastLike(all) {
    const mode = ([run, row]) => run.text("mode", row);
    return all.findLastIndex((one) => mode(one) === mode(all[0]));
  }

  async function show(main_, name, options) {
    const all = store.runs.flatMap((run) => trajectory.ofProblem(run, name).map((row) => [run, row]));
    if (!all.length) return main.missing(`There is no problem ${name}.`);
    const find = (link) => all.findIndex(([run, row]) => run.link(row) === link);
    const chosen = [find(options.a), find(options.b)].map(
      (at, side) => (at >= 0 ? at : side ? lastLike(all) : 0),
    );
    const text = await all[0][0].texts(all[0][1]);
    if (options.stale()) return undefined;
    const box = shown.el("div", { class: "comparison" });
    const menu = (side, words) => {
      const select = shown.el("select", { id: `side-${side}`, onchange: () => {
        chosen[side] = Number(select.value);
        const [a, b] = chosen.map((at) => all[at][0].link(all[at][1]));
        history.replaceState(null, "", `${links.to("p", name)}?${new URLSearchParams({ a, b })}`);
        beside(box, all[chosen[0]], all[chosen[1]]);
      } }, all.map(
        ([run, row], at) => shown.el(
          "option",
          { value: at, selected: at === chosen[side] },
          [shown.safe(label(run, row))],
        ),
      ));
      return shown.el("p", {}, [shown.el("label", { for: `side-${side}` }, [`${words} `]), select]);
    };
    const [run, row] = all[0];
    main_.replaceChildren(shown.el("article", { class: "page" }, [
      shown.append(shown.el("h1"), name),
      shown.long(shown.el("div", { class: "text problem" }), text.problem),
      shown.facts(
        [
          ["gold answer", run.text("gold", row) ?? ""],
          ["subject", run.text("subject", row) ?? "unknown"],
          ["level", shown.number(run.number_("level", row))],
        ],
      ),
      shown.el("div", { class: "charts" }, [accuracy(all)].filter(Boolean)),
      shown.el("h2", {}, ["Two side by side"]),
      menu(0, "left"), menu(1, "right"), box,
      shown.el("h2", {}, ["All of them"]),
      table(all),
    ]));
    main_.scrollTop = 0;
    return beside(box, all[chosen[0]], all[chosen[1]]);
  }

  return { show };
})();
