// The turns of a trajectory: tokens of each segment, and seconds of sampling, waiting and running.
"use strict";

const timeline = (() => {
  const WIDTH = 720;

  function bar(parts, y, label) {
    const total = parts.reduce((sum, one) => sum + one.size, 0) || 1;
    let at = 0;
    const drawn = parts.flatMap((one) => {
      const width = (one.size / total) * (WIDTH - 90);
      const left = 90 + at;
      at += width;
      const box = chart.svg(
        "rect",
        { class: `turn ${one.kind}`, x: left, y, width: Math.max(1.5, width - 1), height: 18 },
        [chart.svg("title", {}, [one.words])],
      );
      const fits = width > 8 * one.short.length;
      return fits ? [
        box,
        chart.svg("text", { class: `turn-text ${one.kind}`, x: left + 4, y: y + 13 }, [one.short]),
      ] : [box];
    });
    return [chart.svg("text", { class: "label", x: 0, y: y + 13 }, [label]), ...drawn];
  }

  // What was sampled, waited for and run, in order; null: the records are older than these times.
  function times(text) {
    if (text.segments.some((one) => one.seconds == null)) return null;
    let execution = 0;
    return text.segments.flatMap((one, at) => {
      const spent = (kind, seconds, what) => ({
        size: seconds,
        kind,
        short: `${shown.number(seconds, 2)} s`,
        words: `${what}, ${shown.number(seconds, 3)} s`,
      });
      if (one.author === "policy") return [spent("policy", one.seconds, `segment ${at + 1}: sampling`)];
      if (!one.tool || execution >= text.executions.length) return [];
      const ran = text.executions[execution++];
      return [
        spent("waiting", Math.max(0, one.seconds - ran.seconds), `execution ${execution}: waiting`),
        spent(ran.status === "ok" ? "ok" : "failed", ran.seconds, `execution ${execution}: ${ran.status}`),
      ];
    });
  }

  function draw(text) {
    const segments = text.segments.map((one, at) => ({
      size: one.tokens,
      kind: one.author === "policy" ? "policy" : "tool",
      short: String(one.tokens),
      words: `segment ${at + 1}: ${one.author}, ${one.tokens} tokens`,
    }));
    const timed = times(text);
    const ran = timed || text.executions.map((one, at) => ({
      size: one.seconds,
      kind: one.status === "ok" ? "ok" : "failed",
      short: `${shown.number(one.seconds, 2)} s`,
      words: `execution ${at + 1}: ${one.status}, ${shown.number(one.seconds, 3)} s`,
    }));
    const words = [...segments, ...ran].map((one) => one.words).join("; ");
    const height = ran.length ? 48 : 22;
    const drawing = chart.svg("svg", {
      viewBox: `0 0 ${WIDTH} ${height}`,
      role: "img",
      "aria-label": words,
    }, [
      ...bar(segments, 2, "tokens"),
      ...(ran.length ? bar(ran, 26, timed ? "seconds" : "running") : []),
    ]);
    const note = timed
      ? "Each row has its own scale. Sampling includes waiting for the engine; waiting is from a call to its " +
        "result, without the execution itself: for a worker or, in lockstep, for other trajectories."
      : "Each row has its own scale. This older run has no times of sampling and waiting.";
    const kinds = [
      ["policy", timed ? "policy: tokens, and seconds of sampling" : "policy"],
      ["tool", "tool"],
      ["waiting", "waiting"],
      ["ok", "execution, ok"],
      ["failed", "execution, failed"],
    ];
    const legend = kinds.filter(
      ([kind]) => [...segments, ...ran].some((one) => one.kind === kind),
    ).map(([kind, words_]) =>
      shown.el(
        "li",
        {},
        [
          chart.svg(
            "svg",
            { width: 18, height: 14, "aria-hidden": "true" },
            [chart.svg("rect", { class: `turn ${kind}`, x: 1, y: 1, width: 16, height: 12 })],
          ),
          ` ${words_}`,
        ],
      ));
    return shown.el(
      "figure",
      { class: "timeline" },
      [
        drawing,
        shown.el("ul", { class: "legend" }, legend),
        shown.el("figcaption", { class: "dim" }, [note]),
      ],
    );
  }

  return { draw };
})();
