// The view of one trajectory, and its neighbours: in the list, and in other steps of its problem.
"use strict";

const trajectory = (() => {
  let present = null; // {run, row, flow}
  let colour = "author";

  // Evaluations before training come first and those after it last; within a step training comes first.
  function order(run, row) {
    const phase = run.text("phase", row);
    const step = run.columns.step[row];
    return [phase === "before" ? -1 : step, phase === "train" ? 0 : 1];
  }

  const compare = (a, b) => a[0] - b[0] || a[1] - b[1];

  // The trajectories of a problem in a run, by occasion.
  function ofProblem(run, problem) {
    const { names, codes } = run.columns.problem_id;
    const code = names.indexOf(problem) + 1;
    const rows = [];
    if (code) for (let row = 0; row < run.rows; row++) if (codes[row] === code) rows.push(row);
    return rows.sort(
      (a, b) => compare(order(run, a), order(run, b)) || run.columns.sample[a] - run.columns.sample[b] || a - b,
    );
  }

  // The same problem at the next (1) or previous (-1) step: in the same mode and with the same sample if it can be.
  function otherStep(run, row, by) {
    const here = order(run, row);
    const rows = ofProblem(run, run.text("problem_id", row)).filter(
      (one) => compare(order(run, one), here) * by > 0,
    );
    if (!rows.length) return null;
    const nearest = order(run, by > 0 ? rows[0] : rows.at(-1));
    const there = rows.filter((one) => compare(order(run, one), nearest) === 0);
    const like = (one) => (run.text("mode", one) === run.text("mode", row) ? 2 : 0) + (
      run.columns.sample[one] === run.columns.sample[row] ? 1 : 0
    );
    return there.reduce((best, one) => (like(one) > like(best) ? one : best));
  }

  function details(run, row, text) {
    const number = (name) => shown.number(run.number_(name, row));
    const truth = (name) => shown.truth(run.number_(name, row));
    const rewards = Object.entries(text.rewards || {}).map(
      ([name, value]) => `${name} ${shown.number(value)}`,
    ).join(", ");
    const lenient = run.number_("correct_lenient", row);
    return shown.facts([
      ["correct", run.number_("correct", row) ? "✓ yes" : "✗ no"],
      lenient === null ? null : ["correct, lenient", shown.truth(lenient)],
      ["answer", run.text("answer", row) ?? "none"],
      ["gold answer", run.text("gold", row) ?? ""],
      ["reward", rewards || "none"],
      ["advantage", number("advantage")],
      ["stop reason", run.text("stop_reason", row)],
      [
        "executions",
        `${number("executions")} of ${number("budget")}, ${number("failed")} failed, ${number("seconds")} s`,
      ],
      [
        "tokens",
        `prompt ${number("prompt_tokens")}, policy ${number("policy_tokens")}, ` +
          `tool ${number("feedback_tokens")}, dropped ${number("dropped_tokens")}`,
      ],
      [
        "subject",
        `${run.text("subject", row) ?? "unknown"}, level ${number("level")}, from ${run.text("source", row)}`,
      ],
      ["group", number("group")],
      ["policy version", number("policy_version")],
      run.text("grading_failure", row) ? ["grading failed", run.text("grading_failure", row)] : null,
      run.number_("straggler", row) ? ["straggler", truth("straggler")] : null,
      run.number_("fabricated_output", row) ? ["fabricated output", truth("fabricated_output")] : null,
      ["seed", text.seed ?? "none"],
    ]);
  }

  function toolbar(run, row) {
    const [place, of] = list.position();
    const step = (words, key, target) => shown.el(
      "button",
      { type: "button", disabled: !target, onclick: () => keys.press(key) },
      [words, " ", shown.el("kbd", {}, [key])],
    );
    return shown.el("nav", { class: "toolbar", "aria-label": "Neighbours" }, [
      step("previous", "k", place > 1),
      step("next", "j", !place || place < of),
      shown.el(
        "span",
        { class: "dim" },
        [place ? `${shown.count(place)} of ${shown.count(of)} in the list` : "not in the list"],
      ),
      step("earlier step", "p", otherStep(run, row, -1) !== null),
      step("later step", "n", otherStep(run, row, 1) !== null),
    ]);
  }

  function chooser(flow_) {
    const legend = shown.el("div", {}, [colours.legend(colour)]);
    const select = shown.el("select", { id: "colour", onchange: () => {
      colour = select.value;
      flow_.recolour(colour);
      legend.replaceChildren(colours.legend(colour));
    } }, Object.entries(colours.scales).map(
      ([name, one]) => shown.el("option", { value: name, selected: name === colour }, [one.label]),
    ));
    return shown.el(
      "div",
      { class: "chooser" },
      [shown.el("label", { for: "colour" }, ["Tokens by "]), select, legend],
    );
  }

  function head(run, row) {
    const [phase, step, mode, problem] = run.key(row);
    return shown.el("header", {}, [
      shown.el("h1", {}, [shown.link(links.to("p", problem), problem)]),
      shown.el("p", {}, [
        shown.link(links.to("r", run.name), run.name), " · ",
        shown.link(links.to("s", run.name, phase, step), `${phase}, step ${step}`),
        ` · mode ${shown.safe(mode)} · sample ${run.columns.sample[row]} · attempt ${run.columns.attempt[row]}`,
      ]),
    ]);
  }

  async function show(main_, run, row, options) {
    const [text, all] = await Promise.all([run.texts(row), run.tokens(row)]);
    if (options.stale()) return;
    list.choose(run, row);
    if (options.colour && Object.hasOwn(colours.scales, options.colour)) colour = options.colour;
    const drawn = new flow.Flow(text, all, { colour });
    present = { run, row, flow: drawn };
    const why = drawn.byToken ? "" : run.note || (
      all
        ? "Its tokens do not decode to its texts, so it is shown by segment."
        : "It has no token columns, so it is shown by segment."
    );
    main_.replaceChildren(shown.el("article", { class: "page" }, [
      head(run, row),
      toolbar(run, row),
      details(run, row, text),
      shown.el(
        "section",
        { class: "problem", "aria-label": "Problem" },
        [shown.el("h2", {}, ["Problem"]), shown.long(shown.el("div", { class: "text" }), text.problem)],
      ),
      shown.el("details", { class: "prompt", open: !drawn.byToken }, [
        shown.el(
          "summary",
          {},
          [
            text.prompt === null ? "Prompt: its text is not recorded (an older run)" : "Prompt, as the policy read it",
          ],
        ),
        ...(text.prompt === null ? [] : [shown.long(shown.el("div", { class: "text" }), text.prompt)]),
      ]),
      timeline.draw(text),
      ...(why ? [shown.el("p", { class: "note", role: "note" }, [shown.safe(why)])] : []),
      ...(drawn.byToken ? [chooser(drawn)] : []),
      drawn.root,
    ]));
    if (options.token !== null && drawn.byToken) drawn.reveal(options.token);
    else main_.scrollTop = 0;
  }

  return { show, ofProblem, otherStep, order, present: () => present, leave: () => { present = null; } };
})();
