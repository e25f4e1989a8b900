// Figures as inline SVG with axes: lines over steps, and bars.
"use strict";

const chart = (() => {
  const SPACE = document.getElementById("drawing").namespaceURI; // so that the page contains no address
  const LEFT = 52;
  const BOTTOM = 34;
  const TOP = 10;
  const RIGHT = 12;

  function svg(tag, attributes = {}, children = []) {
    const element = document.createElementNS(SPACE, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  // About five round numbers from low to high.
  function ticks(low, high) {
    const span = high - low || 1;
    const power = 10 ** Math.floor(Math.log10(span / 4));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => span / one <= 5);
    const found = [];
    const first = Math.ceil(low / step - 1e-9) * step;
    for (let at = first; at <= high + step * 1e-9; at += step) found.push(Number(at.toPrecision(12)));
    return found;
  }

  function axes(size, x, y, labels) {
    const { width, height } = size;
    const parts = [];
    for (const tick of y.ticks) {
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y.at(tick), y2: y.at(tick) }));
      parts.push(
        svg(
          "text",
          { class: "tick", x: LEFT - 6, y: y.at(tick) + 4, "text-anchor": "end" },
          [shown.number(tick, 3)],
        ),
      );
    }
    for (const tick of x.ticks) {
      parts.push(
        svg(
          "line",
          { class: "axis", x1: x.at(tick), x2: x.at(tick), y1: height - BOTTOM, y2: height - BOTTOM + 4 },
        ),
      );
      parts.push(
        svg(
          "text",
          { class: "tick", x: x.at(tick), y: height - BOTTOM + 16, "text-anchor": "middle" },
          [shown.number(tick, 3)],
        ),
      );
    }
    parts.push(
      svg("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: height - BOTTOM, y2: height - BOTTOM }),
    );
    parts.push(svg("line", { class: "axis", x1: LEFT, x2: LEFT, y1: TOP, y2: height - BOTTOM }));
    parts.push(
      svg(
        "text",
        { class: "label", x: (LEFT + width - RIGHT) / 2, y: height - 3, "text-anchor": "middle" },
        [labels.x],
      ),
    );
    if (labels.y) {
      const middle = (TOP + height - BOTTOM) / 2;
      parts.push(
        svg(
          "text",
          { class: "label", transform: `translate(12 ${middle}) rotate(-90)`, "text-anchor": "middle" },
          [labels.y],
        ),
      );
    }
    return parts;
  }

  function scale(low, high, from, to) {
    const span = high - low || 1;
    return { at: (value) => from + ((value - low) / span) * (to - from), ticks: ticks(low, high) };
  }

  function figure(title, drawing, names) {
    const caption = shown.el("figcaption", {}, [title]);
    const items = names.map((name, at) => shown.el("li", {}, [sample(at), " ", shown.inline(name)]));
    return shown.el(
      "figure",
      { class: "chart" },
      [caption, drawing, ...(names.length > 1 ? [shown.el("ul", { class: "legend" }, items)] : [])],
    );
  }

  const sample = (at) => svg(
    "svg",
    { width: 28, height: 10, "aria-hidden": "true" },
    [svg("line", { class: `series s${at % 8}`, x1: 0, x2: 28, y1: 5, y2: 5 })],
  );

  // series: [{name, points: [[x, y]]}], where y is null in a gap.
  function lines(
    title,
    series,
    { width = 360, height = 190, x = "step", y = "", low = null, high = null } = {},
  ) {
    const points = series.flatMap((one) => one.points).filter(
      ([, value]) => value !== null && Number.isFinite(value),
    );
    if (!points.length) return null;
    const xs = points.map(([value]) => value);
    const ys = points.map(([, value]) => value);
    let bottom = low ?? ys.reduce((a, b) => Math.min(a, b));
    let top = high ?? ys.reduce((a, b) => Math.max(a, b));
    if (bottom === top) [bottom, top] = [
      bottom - Math.abs(bottom || 1) * 0.1,
      top + Math.abs(top || 1) * 0.1,
    ];
    const across = scale(
      xs.reduce((a, b) => Math.min(a, b)),
      xs.reduce((a, b) => Math.max(a, b)),
      LEFT + 4,
      width - RIGHT,
    );
    const up = scale(bottom, top, height - BOTTOM, TOP);
    const drawn = series.flatMap((one, at) => {
      let path = "";
      let pen = "M";
      const marks = [];
      for (const [px, py] of one.points) {
        if (py === null || !Number.isFinite(py)) {
          pen = "M";
          continue;
        }
        path += `${pen}${across.at(px).toFixed(1)} ${up.at(py).toFixed(1)}`;
        pen = "L";
        if (one.points.length <= 30) marks.push(
          svg(
            "circle",
            { class: `mark m${at % 8}`, cx: across.at(px), cy: up.at(py), r: 3 },
            [svg("title", {}, [`${one.name}: ${shown.number(py)} at ${x} ${px}`])],
          ),
        );
      }
      return [svg("path", { class: `series s${at % 8}`, d: path }), ...marks];
    });
    const last = series.map(
      (one) => `${shown.safe(one.name)} ${shown.number(one.points.at(-1)?.[1] ?? null)}`,
    ).join(", ");
    const words = `${title} over ${x}; at the end: ${last}`;
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words }, [
      ...axes({ width, height }, across, up, { x, y }),
      ...drawn,
    ]);
    return figure(title, drawing, series.map((one) => one.name));
  }

  // bars: [{low, high, count}] of equal width.
  function histogram(title, bars, { width = 360, height = 190, x = "", y = "trajectories" } = {}) {
    const across = scale(bars[0].low, bars.at(-1).high, LEFT + 4, width - RIGHT);
    const up = scale(0, Math.max(1, ...bars.map((bar) => bar.count)), height - BOTTOM, TOP);
    const drawn = bars.map((bar) => {
      const words = `${bar.count} from ${shown.number(bar.low)} to ${shown.number(bar.high)}`;
      const left = across.at(bar.low);
      return svg(
        "rect",
        {
          class: "bar",
          x: left + 0.5,
          y: up.at(bar.count),
          width: Math.max(1, across.at(bar.high) - left - 1),
          height: up.at(0) - up.at(bar.count),
        },
        [svg("title", {}, [words])],
      );
    });
    const words = bars.filter((bar) => bar.count).map(
      (bar) => `${bar.count} at ${shown.number((bar.low + bar.high) / 2)}`,
    ).join(", ");
    return figure(
      title,
      svg(
        "svg",
        { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}: ${words}` },
        [...axes({ width, height }, across, up, { x, y }), ...drawn],
      ),
      [],
    );
  }

  return { svg, lines, histogram };
})();
