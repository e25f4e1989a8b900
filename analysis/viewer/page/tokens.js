// The tokens of a trajectory: their texts and values, and how they are drawn.
"use strict";

const tokens = (() => {
  const PART = 3000; // tokens that are drawn at once
  const NONE = 255;

  // The vocabulary of a chunk: the bytes of each token, and their text where they are whole characters.
  function vocabulary(chunk) {
    if (chunk.vocabulary) return chunk.vocabulary;
    const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    const { said, said_lengths: lengths } = chunk.columns;
    let at = 0;
    chunk.vocabulary = Array.from(lengths, (length) => {
      const bytes = said.subarray(at, at + length);
      at += length;
      let text = null;
      try {
        text = strict.decode(bytes);
      } catch {
        // part of a character
      }
      return { bytes, text };
    });
    return chunk.vocabulary;
  }

  class Tokens {
    constructor(chunk, place) {
      this.chunk = chunk;
      this.start = chunk.columns.starts[place];
      this.length = chunk.columns.starts[place + 1] - this.start;
      this.promptTokens = chunk.columns.prompt_tokens[place];
      this.hasTexts = chunk.texts;
    }

    number(name, i) {
      const column = this.chunk.columns[name];
      return column === undefined ? null : column.get(this.start + i);
    }

    code(name, i) {
      const code = this.chunk.columns[name][this.start + i];
      return code === NONE ? null : this.chunk.codes[name][code];
    }

    author = (i) => this.code("author", i);
    reason = (i) => this.code("reason", i);
    clip = (i) => this.code("clipped", i);
    mask = (i) => this.chunk.columns.mask[this.start + i] === 1;
    place = (i) => this.chunk.columns.token[this.start + i];
    id = (i) => this.chunk.columns.vocabulary[this.place(i)];
    bytes = (i) => vocabulary(this.chunk)[this.place(i)].bytes;
    silent = (i) => this.chunk.silent[this.place(i)];

    // Texts of the tokens from..to-1. A character that is spread over several belongs to the one that ends it.
    texts(from, to) {
      const known = vocabulary(this.chunk);
      const found = [];
      let decoder = null;
      for (let i = from; i < to; i++) {
        const { bytes, text } = known[this.place(i)];
        if (text !== null) {
          if (decoder) found[found.length - 1] += decoder.decode();
          decoder = null;
          found.push(text);
        } else {
          decoder = decoder || new TextDecoder("utf-8", { ignoreBOM: true });
          found.push(decoder.decode(bytes, { stream: true }));
        }
      }
      if (decoder) found[found.length - 1] += decoder.decode();
      return found;
    }

    // Segments as [from, to, text]; null: the tokens are not those of the texts.
    segments(texts) {
      if (!this.hasTexts) return null;
      let at = this.promptTokens;
      const found = [];
      for (const one of texts) {
        if (at + one.tokens > this.length) return null;
        const pieces = this.texts(at, at + one.tokens);
        if (pieces.join("") !== one.text) return null;
        found.push({ from: at, to: at + one.tokens, pieces });
        at += one.tokens;
      }
      return at === this.length ? found : null;
    }
  }

  const hexadecimal = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");

  // One token as an element.
  function draw(all, i, text, colour) {
    const token = shown.append(
      shown.el("span", { class: `t ${colours.scales[colour].of(all, i)}`, "data-i": i }),
      text,
    );
    const name = all.silent(i);
    if (text === "") token.dataset.mark = name === undefined ? "\u25ab" : shown.safe(name) || "\u25ab";
    return token;
  }

  // What is known of a token, as pairs of name and value.
  function facts(all, i, text) {
    const name = all.silent(i);
    const value = (column) => shown.number(all.number(column, i), 3);
    return [
      ["token", name === undefined ? JSON.stringify(shown.safe(text)) : `${shown.safe(name)} (no text)`],
      ["number", `${i} of ${all.length}, id ${all.id(i)}`],
      [
        "bytes",
        hexadecimal(all.bytes(i)) + (
          name === undefined && vocabulary(all.chunk)[all.place(i)].text === null ? " (part of a character)" : ""
        ),
      ],
      ["author", all.author(i) || "unknown"],
      ["mask", `${all.mask(i) ? 1 : 0}: ${colours.reason(all.reason(i))}`],
      ["logprob, engine", value("sampled_logprob")],
      ["logprob, trainer", value("logprob")],
      all.chunk.columns.old_logprob ? ["before the step", value("old_logprob")] : null,
      ["trainer - engine", value("difference")],
      ["entropy", value("entropy")],
      ["ratio", value("ratio")],
      ["engine weight", value("engine_weight")],
      ["advantage", value("advantage")],
      ["clipping", all.clip(i) === null ? "–" : colours.clip(all.clip(i))],
    ].filter(Boolean);
  }

  return { Tokens, draw, facts, PART };
})();
