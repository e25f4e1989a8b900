// By which value tokens are coloured: classes of style.css, their legend, and what a value says in words.
"use strict";

const colours = (() => {
  // Upper bounds of all steps of a scale but the last, in the value's unit.
  const SURPRISE = [0.01, 0.05, 0.1, 0.3, 0.7, 1.5, 3, 6];
  const ENTROPY = [0.01, 0.05, 0.1, 0.3, 0.5, 1, 1.5, 2.5];
  const DIFFERENCE = [0.001, 0.01, 0.1, 1];
  const ADVANTAGE = [0.01, 0.5, 1, 2];

  const step = (bounds, size) => {
    let found = 0;
    while (found < bounds.length && size >= bounds[found]) found++;
    return found;
  };
  const sequential = (bounds, size) => `q${step(bounds, size)}`;
  const diverging = (bounds, value) => `d${4 + Math.sign(value) * step(bounds, Math.abs(value))}`;

  const sequentialLegend = (bounds, unit) => [
    ...bounds.map(
      (bound, at) => [`q${at}`, `${at ? "" : "below "}${at ? `${bounds[at - 1]} to ` : ""}${bound}`],
    ),
    [`q${bounds.length}`, `${bounds[bounds.length - 1]} ${unit} or more`],
  ];
  const divergingLegend = (bounds) => [
    ...[3, 2, 1, 0].map(
      (at) => [`d${3 - at}`, `${at === 3 ? "" : "to "}-${bounds[at]}${at === 3 ? " or less" : ""}`],
    ),
    ["d4", "about 0"],
    ...[0, 1, 2, 3].map((at) => [`d${5 + at}`, `${bounds[at]}${at === 3 ? " or more" : " and more"}`]),
  ];

  const AUTHORS = { prompt: "a-prompt", policy: "a-policy", tool: "a-tool" };
  const REASONS = {
    trained: ["m-trained", "counts in the loss"],
    prompt: ["m-prompt", "prompt: not in the loss"],
    feedback: ["m-feedback", "feedback of a tool: not in the loss"],
    excluded: ["m-excluded", "left out by trainer.exclude"],
    infrastructure: ["m-excluded", "lost to a failure of the infrastructure"],
    replaced: ["m-excluded", "replaced by dynamic sampling"],
  };
  const CLIPS = {
    no: ["k-no", "not clipped"],
    low: ["k-low", "clipped: the ratio is below the lower bound"],
    high: ["k-high", "clipped: the ratio is above the upper bound"],
    dual: ["k-dual", "clipped by the dual clip"],
  };

  const finite = (value, colour) => (value === null ? "none" : Number.isNaN(value) ? "nan" : colour(value));

  // name -> {label, of(tokens, index): class, legend: [[class, words]]}
  const scales = {
    author: {
      label: "author",
      of: (all, i) => AUTHORS[all.author(i)] || "none",
      legend: [["a-policy", "policy"], ["a-tool", "tool"], ["a-prompt", "prompt"]],
    },
    mask: {
      label: "loss mask",
      of: (all, i) => (REASONS[all.reason(i)] || ["none"])[0],
      legend: [
        REASONS.trained,
        REASONS.feedback,
        REASONS.prompt,
        ["m-excluded", "left out: see the token for why"],
      ],
    },
    logprob: {
      label: "logprob in the trainer",
      of: (all, i) => finite(all.number("logprob", i), (value) => sequential(SURPRISE, -value)),
      legend: sequentialLegend(SURPRISE, "nats below 0"),
    },
    difference: {
      label: "logprob, trainer minus engine",
      of: (all, i) => finite(all.number("difference", i), (value) => diverging(DIFFERENCE, value)),
      legend: divergingLegend(DIFFERENCE),
    },
    entropy: {
      label: "entropy",
      of: (all, i) => finite(all.number("entropy", i), (value) => sequential(ENTROPY, value)),
      legend: sequentialLegend(ENTROPY, "nats"),
    },
    advantage: {
      label: "advantage",
      of: (all, i) => finite(all.number("advantage", i), (value) => diverging(ADVANTAGE, value)),
      legend: divergingLegend(ADVANTAGE),
    },
    clip: {
      label: "clipping",
      of: (all, i) => (CLIPS[all.clip(i)] || ["none"])[0],
      legend: [CLIPS.no, CLIPS.low, CLIPS.high, CLIPS.dual],
    },
  };

  const reason = (name) => (REASONS[name] ? REASONS[name][1] : name);
  const clip = (name) => (CLIPS[name] ? CLIPS[name][1] : "unknown");

  function legend(name) {
    const numeric = !["author", "mask", "clip"].includes(name);
    const items = [...scales[name].legend, ...(name === "author" ? [] : [["none", "no value"]])];
    return shown.el("ul", { class: "legend", "aria-label": `Legend: ${scales[name].label}` }, [
      ...items.map(
        ([colour, words]) => shown.el(
          "li",
          {},
          [shown.el("span", { class: `t ${colour}` }, ["abc"]), ` ${words}`],
        ),
      ),
      ...(numeric ? [shown.el("li", { class: "dim" }, ["values have three significant digits"])] : []),
    ]);
  }

  return { scales, legend, reason, clip };
})();
