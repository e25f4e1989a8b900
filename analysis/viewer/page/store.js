// The runs: their index, read at once, and chunks of texts and tokens, read when they are needed.
"use strict";

const store = (() => {
  const KEPT = 24; // chunks of tokens and, from a server, of texts that are kept
  const page = document.documentElement;
  const every = Number(page.dataset.every || 0); // seconds between two looks at the server; 0: no server
  const runs = [];

  async function fetched(path) {
    const answer = await fetch(path, { cache: "no-store" });
    if (!answer.ok) throw new Error(`the server says: ${(await answer.text()).trim()}`);
    return answer;
  }

  async function frame(run, name) {
    if (every) {
      const [kind, chunk] = name.split("-");
      const path = chunk === undefined ? kind : `${kind}/${chunk}?epoch=${run.epoch}`;
      return frames.inflate(await (await fetched(`data/${run.number}/${path}`)).arrayBuffer());
    }
    return frames.inflate(
      frames.fromBase64(document.getElementById(`run-${run.number}-${name}`).textContent),
    );
  }

  class Run {
    constructor(number) {
      this.number = number;
      this.epoch = 0;
      this.version = -1;
      this.chunks = new Map();
      this.searched = null; // lower-case text of each row, once a word was searched
    }

    async load() {
      const index = await frame(this, "index");
      this.chunks.clear(); // the last one grows, and tokens come after the texts
      this.name = index.name;
      this.epoch = index.epoch;
      this.version = index.version;
      this.starts = index.starts;
      this.rows = index.starts[index.starts.length - 1];
      this.surprising = index.surprising;
      this.note = index.note;
      this.columns = Object.create(null);
      for (const [name, names] of Object.entries(index.texts)) this.columns[name] = {
        names,
        codes: index.columns[name],
      };
      for (const name of index.numbers) this.columns[name] = index.columns[name];
      this.searched = null;
      this.places = null;
    }

    text(name, row) {
      const column = this.columns[name];
      const code = column.codes[row];
      return code ? column.names[code - 1] : null;
    }

    number_(name, row) {
      const column = this.columns[name];
      const value = column === undefined ? NaN : column[row];
      return Number.isNaN(value) ? null : value;
    }

    value(name, row) {
      return this.columns[name] instanceof Float64Array ? this.number_(name, row) : this.text(name, row);
    }

    chunk(row) {
      let low = 0;
      let high = this.starts.length - 1;
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (this.starts[middle] <= row) low = middle;
        else high = middle;
      }
      return low;
    }

    async piece(kind, chunk) {
      const name = `${kind}-${chunk}`;
      if (!this.chunks.has(name)) {
        this.chunks.set(name, frame(this, name).catch((error) => {
          this.chunks.delete(name);
          throw error;
        }));
        const limited = [...this.chunks.keys()].filter((one) => every || one.startsWith("tokens"));
        for (const old of limited.slice(0, -KEPT)) this.chunks.delete(old);
      }
      return this.chunks.get(name);
    }

    // Problem, prompt, segments, executions, rewards of a trajectory.
    async texts(row) {
      const chunk = this.chunk(row);
      return (await this.piece("texts", chunk)).rows[row - this.starts[chunk]];
    }

    // Its tokens, see tokens.js; null: there are none.
    async tokens(row) {
      if (!this.columns.token_columns[row]) return null;
      const chunk = this.chunk(row);
      return new tokens.Tokens(await this.piece("tokens", chunk), row - this.starts[chunk]);
    }

    about() {
      return frame(this, "about");
    }

    // Returns which rows contain all words, as a Uint8Array or a function of the row.
    async search(words) {
      if (every) {
        const given = words.map((word) => `&word=${encodeURIComponent(word)}`).join("");
        const found = new Set(
          await (await fetched(`data/${this.number}/search?epoch=${this.epoch}${given}`)).json(),
        );
        return (row) => found.has(row);
      }
      const texts = await this.searchable();
      return (row) => words.every((word) => texts[row].includes(word));
    }

    async searchable() {
      if (this.searched) return this.searched;
      const found = [];
      for (let chunk = 0; chunk < this.starts.length - 1; chunk++) {
        for (const row of (await this.piece("texts", chunk)).rows) found.push(
          searchedText(row).toLowerCase(),
        );
      }
      this.searched = found;
      return found;
    }

    // Rows by what a permalink names.
    row(key) {
      if (!this.places) {
        this.places = new Map();
        for (let row = 0; row < this.rows; row++) this.places.set(this.key(row).join("\u0000"), row);
      }
      const padded = key.length === 5 ? [...key, "0"] : key;
      const found = this.places.get(padded.join("\u0000"));
      return found === undefined ? null : found;
    }

    key(row) {
      const parts = [this.text("phase", row), this.columns.step[row], this.text("mode", row)];
      return [
        ...parts,
        this.text("problem_id", row),
        this.columns.sample[row],
        this.columns.number[row],
      ].map(String);
    }

    link(row) {
      const key = this.key(row);
      if (key[5] === "0") key.pop();
      return links.to("t", this.name, ...key);
    }
  }

  // The same as analysis/viewer/run_data.py.
  function searchedText(text) {
    const parts = [text.problem, ...text.segments.map((one) => one.text)];
    for (const one of text.executions) parts.push(one.code, one.output, one.error);
    return parts.filter(Boolean).join("\n");
  }

  async function open() {
    const count = every
      ? (await (await fetched("data/runs")).json()).length
      : document.querySelectorAll('script[id$="-index"]').length;
    for (let number = 0; number < count; number++) runs.push(new Run(number));
    await Promise.all(runs.map((run) => run.load()));
  }

  // Looks for new steps; calls changed(renumbered) if there were some.
  function follow(changed, failed) {
    if (!every) return;
    const look = async () => {
      try {
        const states = await (await fetched("data/runs")).json();
        let news = false;
        let renumbered = false; // after a resumption rows have other numbers
        for (const [number, state] of states.entries()) {
          const run = runs[number];
          if (run.version === state.version) continue;
          const { epoch } = run;
          await run.load();
          renumbered ||= run.epoch !== epoch;
          news = true;
        }
        failed("");
        if (news) changed(renumbered);
      } catch (error) {
        failed(`The server does not answer (${error.message}); what is shown may be old.`);
      }
      setTimeout(look, every * 1000);
    };
    look();
  }

  // Reads all texts while nothing else is to be done, so that the first search is fast.
  function warm() {
    if (every) return;
    const rest = runs.flatMap((run) => run.starts.slice(0, -1).map((_, chunk) => [run, chunk]));
    const next = async () => {
      const one = rest.shift();
      if (!one) {
        for (const run of runs) await run.searchable();
        return;
      }
      await one[0].piece("texts", one[1]);
      setTimeout(next, 0);
    };
    setTimeout(next, 300);
  }

  const byName = (name) => runs.find((run) => run.name === name) || null;

  return { runs, open, follow, warm, byName };
})();
