// Which trajectories a query leaves, and in which order.
"use strict";

const order = (() => {
  // The columns of a run by name, with those that only other runs have as null.
  function columnsOf(run) {
    const all = { run: { names: [run.name], codes: new Uint8Array(run.rows).fill(1) } };
    for (const other of store.runs) {
      for (const name of Object.keys(other.columns)) {
        all[name] = run.columns[name] || new Float64Array(run.rows).fill(NaN);
      }
    }
    return all;
  }

  async function filter(q) {
    const terms = query.parse(q);
    const words = terms.filter((term) => term.word !== undefined).map((term) => term.word);
    const chosen = [];
    for (const run of store.runs) {
      const columns = columnsOf(run);
      const tests = terms.filter((term) => term.field).map((term) => query.test(term, columns));
      if (words.length) tests.push(await run.search(words));
      for (let row = 0; row < run.rows; row++) if (tests.every((test) => test(row))) chosen.push([run, row]);
    }
    return chosen;
  }

  function sort(rows, by) {
    if (!by) return rows;
    const sign = by.startsWith("-") ? -1 : 1;
    const field = by.replace(/^-/, "");
    const value = ([run, row]) => (
      field === "run" ? run.name : run.columns[field] ? run.value(field, row) : null
    );
    const keyed = rows.map((one) => [value(one), one]);
    keyed.sort(
      ([a], [b]) => (a === null ? (b === null ? 0 : 1) : b === null ? -1 : a < b ? -sign : a > b ? sign : 0),
    );
    return keyed.map(([, one]) => one);
  }

  // Returns [run, row] of each. Throws QueryError.
  const rows = async ({ q, sort: by }) => sort(await filter(q), by);

  return { rows };
})();
