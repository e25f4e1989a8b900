// A trajectory from prompt to end: segments token by token, and executions, drawn in parts.
"use strict";

const flow = (() => {
  let tip = null;

  function execution(one, number, of) {
    const failed = one.status !== "ok";
    const program = shown.el("pre", { class: "code", tabindex: 0, "aria-label": `Program ${number}` });
    if (one.code === null) program.append(shown.el("em", {}, ["not recorded"]));
    else shown.long(program, one.code, one.tool === "python" ? highlight.python : shown.append);
    const output = shown.el("pre", { class: "output", tabindex: 0, "aria-label": `Output ${number}` });
    if (one.output === null) output.append(
      shown.el("em", {}, ["not recorded (an older run): see what the policy read"]),
    );
    else if (one.output === "") output.append(shown.el("em", {}, ["nothing"]));
    else shown.long(output, one.output);
    return shown.el("section", {
      class: `execution${failed ? " failed" : ""}`,
      "aria-label": `Execution ${number} of ${of}`,
    }, [
      shown.el("h3", {}, [
        `Execution ${number} of ${of}: `, shown.el(
          "span",
          { class: failed ? "no" : "yes" },
          [`${failed ? "✗" : "✓"} ${shown.safe(one.status)}`],
        ),
        ` · ${shown.safe(one.tool)} · ${shown.number(one.seconds, 3)} s`,
      ]),
      shown.el("div", { class: "beside" }, [
        shown.el("div", {}, [shown.el("h4", {}, ["program"]), program]),
        shown.el("div", {}, [shown.el("h4", {}, ["output"]), output]),
      ]),
      ...(one.error ? [shown.el("p", { class: "error" }, ["error: ", shown.inline(one.error)])] : []),
    ]);
  }

  // Puts each execution before the segment of its result.
  function blocks(text) {
    const found = [];
    let ran = 0;
    for (const [at, one] of text.segments.entries()) {
      if (one.author !== "policy" && ran < text.executions.length) found.push(
        { execution: text.executions[ran++] },
      );
      found.push({ segment: one, at });
    }
    while (ran < text.executions.length) found.push({ execution: text.executions[ran++] });
    let number = 0;
    for (const one of found) if (one.execution) one.number = ++number;
    return found;
  }

  class Flow {
    // all: Tokens or null; colour: name of a scale; part: number of the token, or of the character of the
    // segments' texts, at which another trajectory parts from this one.
    constructor(text, all, { colour = "author", part = null, prompt = true, executions = true } = {}) {
      this.text = text;
      this.all = all;
      this.colour = colour;
      this.part = part;
      this.segments = all ? all.segments(text.segments) : null;
      this.byToken = this.segments !== null;
      this.elements = new Map(); // number of a token -> its element
      this.pieces = new Map(); // number of a token -> its text
      this.root = shown.el("div", { class: "flow" });
      this.queue = blocks(text).filter((one) => executions || one.segment);
      if (this.byToken && prompt) this.queue.unshift({ prompt: true });
      this.characters = 0; // of the segments before the present one
      this.more_ = shown.el("div", { class: "more-tokens" });
      this.root.append(this.more_);
      if (this.byToken) this.listen();
      this.more(tokens.PART);
    }

    tokensLeft() {
      const rest = this.queue.reduce(
        (sum, one) => sum + (one.segment ? one.segment.tokens : one.prompt ? this.all.promptTokens : 0),
        0,
      );
      return rest - (this.queue[0]?.done || 0);
    }

    // Draws so many tokens more.
    more(budget) {
      while (this.queue.length && budget > 0) {
        const block = this.queue[0];
        if (block.execution) this.add(execution(block.execution, block.number, this.text.executions.length));
        else if (this.byToken) budget -= this.drawTokens(block, budget);
        else this.drawText(block);
        if (block.done === undefined || block.done === block.size) this.queue.shift();
      }
      this.offer();
    }

    add(element) {
      this.more_.before(element);
    }

    offer() {
      const left = this.byToken ? this.tokensLeft() : 0;
      this.more_.replaceChildren();
      if (!left) return;
      const button = (count, words) => shown.el(
        "button",
        { type: "button", class: "more", onclick: () => this.more(count) },
        [words],
      );
      this.more_.append(
        button(
          tokens.PART,
          `show ${shown.count(Math.min(tokens.PART, left))} more tokens (${shown.count(left)} left)`,
        ), " ",
        button(Infinity, "show all"),
      );
    }

    section(block) {
      const of = this.text.segments.length;
      const one = block.segment;
      const count = block.prompt ? this.all.promptTokens : one.tokens;
      const who = block.prompt ? "prompt" : one.author === "policy" ? "policy" : `tool${one.tool ? ` ${one.tool}` : ""}`;
      const number = block.prompt ? "" : `segment ${block.at + 1} of ${of}: `;
      const words = `${number}${who}, ${shown.count(count)} tokens`;
      const body = shown.el("div", { class: "text" });
      const hint = one && one.author !== "policy" ? " (what the policy read)" : "";
      const kind = block.prompt ? "prompt" : one.author === "policy" ? "policy" : "tool";
      this.add(
        shown.el(
          "section",
          { class: `segment ${kind}`, "aria-label": shown.safe(words) },
          [shown.el("h3", {}, [shown.safe(words) + hint]), body],
        ),
      );
      return body;
    }

    drawTokens(block, budget) {
      if (!block.body) {
        block.body = this.section(block);
        const range = block.prompt ? {
          from: 0,
          to: this.all.promptTokens,
          pieces: this.all.texts(0, this.all.promptTokens),
        } : this.segments[block.at];
        Object.assign(block, range, { done: 0, size: range.to - range.from });
      }
      const end = Math.min(block.size, block.done + budget);
      const count = end - block.done;
      const drawn = document.createDocumentFragment();
      for (let at = block.done; at < end; at++) {
        const i = block.from + at;
        const token = tokens.draw(this.all, i, block.pieces[at], this.colour);
        if (i === this.part) drawn.append(partMark());
        if (!this.elements.size) token.tabIndex = 0;
        this.elements.set(i, token);
        this.pieces.set(i, block.pieces[at]);
        drawn.append(token);
      }
      block.body.append(drawn);
      block.done = end;
      return count;
    }

    drawText(block) {
      const body = this.section(block);
      const text = block.segment.text;
      const at = this.part === null ? -1 : this.part - this.characters;
      if (at >= 0 && at < text.length) {
        shown.long(body, text.slice(0, at));
        body.append(partMark());
        shown.long(body, text.slice(at));
      } else shown.long(body, text);
      this.characters += text.length;
    }

    recolour(colour) {
      this.colour = colour;
      for (const [i, token] of this.elements) token.className = `t ${colours.scales[colour].of(this.all, i)}`;
    }

    // Makes sure that a token is drawn, and focuses it.
    reveal(i) {
      const last = Math.max(-1, ...this.elements.keys());
      if (i > last && this.byToken) this.more(i - last + 200);
      const token = this.elements.get(i);
      if (!token) return;
      this.focus(token);
      token.scrollIntoView({ block: "center" });
    }

    focus(token) {
      for (const other of this.root.querySelectorAll(".t[tabindex='0']")) other.removeAttribute("tabindex");
      token.tabIndex = 0;
      token.focus();
    }

    listen() {
      const of = (event) => event.target.closest(".t[data-i]");
      const seen = (event) => {
        const token = of(event);
        if (token) this.explain(token);
      };
      this.root.addEventListener("pointerover", seen);
      this.root.addEventListener("focusin", seen);
      this.root.addEventListener("click", seen);
      this.root.addEventListener("pointerout", hide);
      this.root.addEventListener("focusout", hide);
      this.root.addEventListener("keydown", (event) => {
        const token = of(event);
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!token || !step || event.ctrlKey || event.altKey || event.metaKey) return;
        const next = this.elements.get(Number(token.dataset.i) + step);
        if (!next) return;
        event.preventDefault();
        this.focus(next);
      });
    }

    explain(token) {
      const i = Number(token.dataset.i);
      hide();
      tip = shown.el(
        "div",
        { id: "tip", role: "tooltip" },
        [shown.facts(tokens.facts(this.all, i, this.pieces.get(i)))],
      );
      document.body.append(tip);
      token.setAttribute("aria-describedby", "tip");
      const box = token.getClientRects()[0] || token.getBoundingClientRect();
      const left = Math.max(4, Math.min(box.left, innerWidth - tip.offsetWidth - 8));
      const below = box.bottom + 6;
      const top = below + tip.offsetHeight < innerHeight ? below : Math.max(
        4,
        box.top - tip.offsetHeight - 6,
      );
      tip.style.left = `${left}px`;
      tip.style.top = `${top}px`;
    }
  }

  const partMark = () => shown.el("span", { class: "part", role: "note", "aria-label": "they part here" });

  function hide() {
    if (!tip) return;
    tip.remove();
    for (const token of document.querySelectorAll("[aria-describedby='tip']")) token.removeAttribute("aria-describedby");
    tip = null;
  }

  return { Flow, hide };
})();
