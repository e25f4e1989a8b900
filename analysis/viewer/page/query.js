// The query language of the list: FIELD OPERATOR VALUE, and words that are searched in the texts.
"use strict";

const query = (() => {
  const OPERATORS = ["!=", "<=", ">=", "=", "<", ">", "~"];
  const TERM = /\s*(?:([A-Za-z_][\w/.-]*)\s*(!=|<=|>=|=|<|>|~)\s*)?("(?:[^"\\]|\\.)*"|[^\s"]+)/y;
  // Headings of the list that are not the field's name.
  const ALIASES = { problem: "problem_id", calls: "executions", tokens: "policy_tokens", stop: "stop_reason" };

  class QueryError extends Error {}

  function unquote(text) {
    return text.startsWith('"') ? text.slice(1, -1).replace(/\\(.)/g, "$1") : text;
  }

  // Returns the terms of a query: {field, operator, value} or {word}.
  function parse(text) {
    const terms = [];
    let at = 0;
    while (at < text.length && text.slice(at).trim()) {
      TERM.lastIndex = at;
      const match = TERM.exec(text);
      if (!match) {
        const rest = text.slice(at).trim();
        throw new QueryError(
          rest.startsWith('"') ? `A quotation mark is not closed: ${rest}` : `Not understood: ${rest}`,
        );
      }
      at = TERM.lastIndex;
      if (text[at] === '"') throw new QueryError(`A quotation mark is not closed: ${text.slice(at)}`);
      if (match[1] === undefined) {
        const word = unquote(match[3]);
        if (OPERATORS.some((one) => match[3].startsWith(one))) throw new QueryError(
          `There is no field before ${match[3]}`,
        );
        if (/[=<>~]$/.test(match[3]) && !match[3].startsWith('"')) throw new QueryError(
          `There is no value after ${match[3]}`,
        );
        if (word) terms.push({ word: word.toLowerCase() });
      } else {
        terms.push(
          { field: match[1], operator: match[2], value: unquote(match[3]), quoted: match[3].startsWith('"') },
        );
      }
    }
    return terms;
  }

  function number(term) {
    const named = { true: 1, false: 0, yes: 1, no: 0 };
    const value = Object.hasOwn(named, term.value) ? named[term.value] : term.value.trim() === "" ? NaN : Number(term.value);
    if (Number.isNaN(value)) throw new QueryError(
      `${term.field} is a number, and ${term.value} is none (null: unknown)`,
    );
    return value;
  }

  function comparison(operator, value) {
    switch (operator) {
      case "=": return (one) => one === value;
      case "!=": return (one) => one !== value;
      case "<": return (one) => one < value;
      case "<=": return (one) => one <= value;
      case ">": return (one) => one > value;
      default: return (one) => one >= value;
    }
  }

  function numeric(term, column) {
    if (term.operator === "~") throw new QueryError(`${term.field} is a number: use = != < <= > >=`);
    if (term.value === "null" && !term.quoted) {
      if (!["=", "!="].includes(term.operator)) throw new QueryError("null has no order: use = or !=");
      const wanted = term.operator === "=";
      return (row) => Number.isNaN(column[row]) === wanted;
    }
    const holds = comparison(term.operator, number(term));
    return (row) => holds(column[row]);
  }

  function textual(term, { names, codes }) {
    if (!["=", "!=", "~"].includes(term.operator)) throw new QueryError(
      `${term.field} is a text: use = != or ~ (contains)`,
    );
    const known = [null, ...names];
    const none = term.value === "null" && !term.quoted;
    const low = term.value.toLowerCase();
    const same = (name) => (none ? name === null : name !== null && name.toLowerCase() === low);
    const holds = known.map((name) => {
      if (term.operator === "~") return name !== null && name.toLowerCase().includes(low);
      return same(name) === (term.operator === "=");
    });
    return (row) => holds[codes[row]];
  }

  // Returns a test of rows for a term with a field.
  // columns: name -> Float64Array (NaN: null), or {names, codes} for texts.
  function test(term, columns) {
    const name = Object.hasOwn(ALIASES, term.field) ? ALIASES[term.field] : term.field;
    const column = Object.hasOwn(columns, name) ? columns[name] : undefined;
    if (column === undefined) {
      throw new QueryError(
        `There is no field ${term.field}. The fields are ${Object.keys(columns).sort().join(", ")}.`,
      );
    }
    return column instanceof Float64Array ? numeric(term, column) : textual(term, column);
  }

  return { parse, test, QueryError };
})();
