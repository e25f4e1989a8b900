// The turns of a trajectory: tokens of each segment, and the seconds that each execution took.
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

  function draw(text) {
    const segments = text.segments.map((one, at) => ({
      size: one.tokens,
      kind: one.author === "policy" ? "policy" : "tool",
      short: String(one.tokens),
      words: `segment ${at + 1}: ${one.author}, ${one.tokens} tokens`,
    }));
    const ran = text.executions.map((one, at) => ({
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
      ...(ran.length ? bar(ran, 26, "running") : []),
    ]);
    const note = ran.length
      ? "Measured: tokens, and seconds of each execution; each row has its own scale. " +
        "Sampling and waiting times are not recorded by trajectory."
      : "Measured: tokens. Nothing was executed; sampling and waiting times are not recorded by trajectory.";
    const kinds = [
      ["policy", "policy"],
      ["tool", "tool"],
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
