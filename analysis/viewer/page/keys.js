// Keys of the page, and the help that lists them.
"use strict";

const keys = (() => {
  const HELP = [
    ["j", "next trajectory in the list"],
    ["k", "previous trajectory in the list"],
    ["n", "the same problem at the next step"],
    ["p", "the same problem at the previous step"],
    ["Enter", "open the chosen trajectory"],
    ["/", "write a filter"],
    ["← →", "next and previous token, once a token has the focus"],
    ["Escape", "close what is open; leave the filter; back to the list"],
    ["?", "this help"],
  ];

  function neighbour(by) {
    const next = list.move(by);
    if (next && trajectory.present()) location.hash = next[0].link(next[1]);
  }

  function otherStep(by) {
    const here = trajectory.present() || (
      list.current() && { run: list.current()[0], row: list.current()[1] }
    );
    if (!here) return;
    const row = trajectory.otherStep(here.run, here.row, by);
    if (row === null) main.say(
      by > 0 ? "This is the last step of this problem." : "This is the first step of this problem.",
    );
    else location.hash = here.run.link(row);
  }

  function help() {
    const dialog = document.getElementById("help");
    if (dialog.open) {
      dialog.close();
      return;
    }
    const rows = HELP.map(
      ([key, words]) => shown.el(
        "tr",
        {},
        [shown.el("th", { scope: "row" }, [shown.el("kbd", {}, [key])]), shown.el("td", {}, [words])],
      ),
    );
    const fields = [...new Set(store.runs.flatMap((run) => Object.keys(run.columns)))].sort().join(", ");
    dialog.replaceChildren(
      shown.el("h2", {}, ["Keys"]), shown.el("table", { class: "plain" }, [shown.el("tbody", {}, rows)]),
      shown.el("h2", {}, ["Filter"]),
      shown.el(
        "p",
        {},
        [
          "Terms that must all hold: ",
          shown.el("code", {}, ['correct=0 executions>2 subject="Geometry" step>=40 answer~12 recurrence']),
          ". Operators are = != < <= > >= and ~ (contains); a word alone is searched in the texts; null is unknown.",
        ],
      ),
      shown.el("p", {}, ["Fields: ", shown.el("code", {}, [shown.safe(`run, ${fields}`)])]),
      shown.el("button", { type: "button", onclick: () => dialog.close() }, ["close"]),
    );
    dialog.showModal();
  }

  function escape() {
    const dialog = document.getElementById("help");
    if (dialog.open) dialog.close();
    else if (document.querySelector("#tip")) flow.hide();
    else if (document.activeElement?.id === "filter") (
      document.getElementById("scroller") || document.getElementById("main")
    ).focus();
    else if (!document.getElementById("scroller")) main.toList();
  }

  function press(key) {
    switch (key) {
      case "j": neighbour(1); return true;
      case "k": neighbour(-1); return true;
      case "n": otherStep(1); return true;
      case "p": otherStep(-1); return true;
      case "/": main.toFilter(); return true;
      case "?": help(); return true;
      case "Enter": {
        const chosen = list.current();
        if (!document.getElementById("scroller") || !chosen) return false;
        location.hash = chosen[0].link(chosen[1]);
        return true;
      }
      default: return false;
    }
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (event.key === "Escape") {
      escape();
      event.preventDefault();
      return;
    }
    const dialog = document.getElementById("help").open;
    if (event.target.closest("input, select, textarea") || (dialog && event.key !== "?")) return;
    if (event.key === "Enter" && event.target.closest("a, button, summary")) return;
    if (press(event.key)) event.preventDefault();
  });

  return { press, help };
})();
