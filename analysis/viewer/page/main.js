// Starts the page and shows the view that its address names: #/ the list, #/t a trajectory, #/p a problem,
// #/s a step, #/r a run.
"use strict";

const main = (() => {
  const box = document.getElementById("main");
  const filter = document.getElementById("filter");
  const group = document.getElementById("group");
  let drawn = 0; // number of the view that is being drawn; an older one gives way
  let timer = null;

  function address(state) {
    const given = new URLSearchParams();
    if (state.q) given.set("q", state.q);
    if (state.sort) given.set("sort", state.sort);
    if (state.group) given.set("group", "problem");
    const text = given.toString();
    return text ? `#/?${text}` : "#/";
  }

  // Goes to the list in another state; what is typed into the filter there makes no history.
  function go(state, typed = false) {
    Object.assign(list.state, state);
    const wanted = address(list.state);
    if (typed && document.body.classList.contains("listed")) history.replaceState(null, "", wanted);
    else if (location.hash !== wanted) {
      location.hash = wanted;
      return;
    }
    route();
  }

  const toList = () => go({});

  function toFilter() {
    filter.focus();
    filter.select();
  }

  function say(words) {
    document.getElementById("said").textContent = words;
  }

  function missing(words) {
    box.replaceChildren(
      shown.el(
        "article",
        { class: "page" },
        [
          shown.el("h1", {}, ["Not found"]),
          shown.el("p", {}, [shown.safe(words)]),
          shown.el("p", {}, [shown.el("a", { href: address(list.state) }, ["to the list"])]),
        ],
      ),
    );
  }

  async function view(path, given, stale) {
    const [kind, ...rest] = path;
    if (kind === "t" || kind === "s" || kind === "r") {
      const run_ = store.byName(rest[0]);
      if (!run_) return missing(`There is no run ${rest[0] ?? ""}.`);
      if (kind === "r") return run.show(box, run_, { stale });
      if (kind === "s") return step.show(box, run_, rest[1], Number(rest[2]));
      await list.update().catch(() => {}); // neighbours; a wrong query is told in the list
      const row = run_.row(rest.slice(1));
      if (row === null) return missing(
        "There is no such trajectory; a later attempt may have superseded it.",
      );
      const token = given.get("t");
      return trajectory.show(
        box,
        run_,
        row,
        { colour: given.get("c"), token: token === null ? null : Number(token), stale },
      );
    }
    if (kind === "p") return problem.show(box, rest[0], { a: given.get("a"), b: given.get("b"), stale });
    Object.assign(
      list.state,
      { q: given.get("q") || "", sort: given.get("sort") || "", group: given.get("group") === "problem" },
    );
    return list.show(box);
  }

  async function route() {
    const mine = ++drawn;
    const place = location.hash;
    flow.hide();
    trajectory.leave();
    say("");
    const [path, search] = place.replace(/^#\/?/, "").split(/\?(.*)/s);
    const parts = path.split("/").filter((part, at, all) => part || (at && all.length > 1)).map(links.decode);
    const listed = !["t", "p", "s", "r"].includes(parts[0]);
    document.body.classList.toggle("listed", listed);
    try {
      if (parts.includes(null)) missing("The address is damaged.");
      else await view(parts, new URLSearchParams(search || ""), () => mine !== drawn);
    } catch (error) {
      missing(`This cannot be shown: ${error.message}`);
      console.error(error);
    }
    if (mine !== drawn) return;
    if (document.activeElement !== filter) filter.value = list.state.q;
    group.checked = list.state.group;
    document.title = `${listed ? "trajectories" : parts.slice(1).map(shown.safe).join(" ")} - viewer`;
    Object.assign(document.documentElement.dataset, { drawn: String(mine), place });
    const focused = document.activeElement;
    if (!listed && focused !== filter && !box.contains(focused)) box.focus({ preventScroll: true });
  }

  function themes() {
    const button = document.getElementById("theme");
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const set = (name) => {
      document.documentElement.dataset.theme = name;
      button.setAttribute("aria-pressed", String(name === "dark"));
    };
    set(dark.matches ? "dark" : "light");
    dark.addEventListener("change", () => set(dark.matches ? "dark" : "light"));
    button.addEventListener(
      "click",
      () => set(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
    );
  }

  function head() {
    const names = store.runs.map((one) => shown.link(links.to("r", one.name), one.name));
    document.getElementById("runs").replaceChildren(...names.flatMap((link) => [link, " "]));
    filter.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => go({ q: filter.value }, true), 120);
    });
    filter.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      clearTimeout(timer);
      go({ q: filter.value });
    });
    group.addEventListener("change", () => go({ group: group.checked }));
    document.getElementById("open-help").addEventListener("click", keys.help);
    document.getElementById("to-list").addEventListener("click", toList);
  }

  async function start() {
    themes();
    try {
      await store.open();
    } catch (error) {
      missing(`The data cannot be read: ${error.message}`);
      throw error;
    }
    head();
    addEventListener("hashchange", () => {
      clearTimeout(timer); // a filter that was just written would lead back to the list
      route();
    });
    await route();
    document.documentElement.dataset.ready = "1";
    store.follow((renumbered) => {
      if (renumbered) list.choose(null);
      if (renumbered || document.body.classList.contains("listed")) route();
      say("New trajectories have arrived.");
    }, (fault) => {
      document.getElementById("server").textContent = fault;
    });
    store.warm();
  }

  return { go, toList, toFilter, say, missing, start };
})();

main.start();
