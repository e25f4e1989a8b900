"""The frame of the project: one list of pins, who may import whom, and what README promises."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
import yaml

from src.config.paths import ROOT

CODE = ("src", "analysis", "experiments", "tests")
# A folder imports from those before it.
LAYERS = (
    *({"config"}, {"run"}, {"launch"}),
    *({"problems"}, {"sandbox"}, {"tools"}, {"formats"}, {"rewards", "policy"}),
    *(
        {"rollout"},
        {"trainer"},
        {"experiment"},
        {"replay", "estimate", "smollm2", "warm_start"},
        {"doctor"},
    ),
    {"train", "evaluate", "regrade", "merge", "merge_adapter", "dashboard"},
)


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@cache
def imported(path: Path) -> tuple[str, ...]:
    """Return the dotted names that the module at ``path`` imports, wherever in it."""

    def names(tree: ast.AST) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (one.name for one in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports are absolute"
                yield from (f"{node.module}.{one.name}" for one in node.names)

    return tuple(names(ast.parse(path.read_text())))


def distribution(name: str) -> str:
    """Return the name of a distribution as pip compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(name: str = "requirements.txt") -> dict[str, str]:
    result = {}
    for line in (ROOT / name).read_text().splitlines():
        line = line.partition("#")[0].strip()
        if line:
            match = re.fullmatch(r"([A-Za-z0-9_.-]+)==([A-Za-z0-9_.]+)", line)
            assert match, f"{name}: {line} is not an exact pin"
            assert distribution(match[1]) not in result, f"{name}: {match[1]} is listed twice"
            result[distribution(match[1])] = match[2]
    return result


class TestDependencies:
    def test_environment_yml_refers_to_the_one_list(self) -> None:
        environment = yaml.safe_load((ROOT / "environment.yml").read_text())
        assert environment["dependencies"] == ["python=3.11", "make", "pip", {"pip": ["-r requirements.txt"]}]

    def test_no_other_file_lists_packages(self) -> None:
        assert "[project]" not in (ROOT / "pyproject.toml").read_text()
        others = {path.name for path in ROOT.glob("*requirements*")} | {
            path.name for path in ROOT.glob("setup.*")
        }
        assert others == {"requirements.txt", "requirements-vllm.txt"}

    def test_vllm_adds_to_the_list_and_changes_nothing_in_it(self) -> None:
        assert not set(pins("requirements-vllm.txt")) & set(pins())

    @pytest.mark.parametrize("name", pins())
    def test_what_is_installed_is_what_is_pinned(self, name: str) -> None:
        assert version(name).partition("+")[0] == pins()[name], "run `make setup`"

    def test_every_import_is_pinned(self) -> None:
        first_party = {"src", "analysis", "experiments", "tests"}
        owners = packages_distributions()
        missing = set()
        for path in modules(*CODE):
            for name in imported(path):
                top = name.partition(".")[0]
                if top in sys.stdlib_module_names or top in first_party or top == "vllm":
                    continue  # vLLM is pinned in its own list, and need not be installed
                if not {distribution(owner) for owner in owners.get(top, [])} & set(pins()):
                    missing.add(f"{path.relative_to(ROOT)} imports {top}")
        assert not missing, "pin them in requirements.txt"


class TestImports:
    @staticmethod
    def units(path: Path) -> set[str]:
        """Return the modules and packages directly under src that the module at ``path`` imports."""
        found = set()
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "src" and len(parts) > 1:
                found.add(parts[1])
        return found

    @staticmethod
    def unit(path: Path) -> str:
        return path.relative_to(ROOT / "src").parts[0].removesuffix(".py")

    def sources(self) -> list[Path]:
        return [path for path in modules("src") if path != ROOT / "src" / "__init__.py"]

    def test_every_module_has_a_layer(self) -> None:
        assert {self.unit(path) for path in self.sources()} <= set().union(*LAYERS)

    def test_imports_run_one_way(self) -> None:
        layer = {unit: number for number, units in enumerate(LAYERS) for unit in units}
        wrong = [
            f"{path.relative_to(ROOT)} imports src.{other}"
            for path in self.sources()
            for other in self.units(path)
            if layer[other] > layer[self.unit(path)]
        ]
        assert wrong == []

    def test_no_imports_in_a_circle(self) -> None:
        graph: dict[str, set[str]] = {}
        for path in self.sources():
            unit = self.unit(path)
            graph.setdefault(unit, set()).update(self.units(path) - {unit})
        TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle

    def test_analysis_reads_records_only(self) -> None:
        """And is configured and shown as all else is; programs have one grammar, tokens one text."""
        units = {one for path in modules("analysis") for one in self.units(path)}
        assert units <= {"run", "launch", "config", "formats", "policy"}
        of_formats = {name for path in modules("analysis") for name in imported(path) if ".formats" in name}
        assert of_formats == {"src.formats.fence_grammar"}
        of_policy = {name for path in modules("analysis") for name in imported(path) if ".policy" in name}
        assert of_policy == {"src.policy.loading.load_codec", "src.policy.codec.TokenCodec"}

    def test_nothing_imports_tests_or_analysis(self) -> None:
        tops = {name.partition(".")[0] for path in modules("src") for name in imported(path)}
        assert not tops & {"tests", "analysis", "experiments"}

    @pytest.mark.parametrize(
        "name",
        [
            *(
                "config/__init__",
                "config/schema",
                "config/validation",
                "config/command_line",
                "launch/checks/__init__",
            ),
            *(
                "launch/checks/problems",
                "launch/checks/policy",
                "launch/checks/sampling",
                "launch/resumption",
            ),
            *("launch/entry", "run/folder_lock", "run/interrupts", "run/processes", "run/checkpoints"),
            *("run/provenance", "train"),
        ],
    )
    def test_what_runs_before_the_check_imports_nothing_heavy(self, name: str) -> None:
        tree = ast.parse((ROOT / "src" / f"{name}.py").read_text())
        at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {
            one.partition(".")[0]
            for node in at_import
            for one in ([node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
        }
        assert names <= set(sys.stdlib_module_names) | {"src", "hydra", "omegaconf", "pydantic", "yaml"}


class TestLayout:
    @pytest.mark.parametrize("path", modules("src", "analysis"), ids=lambda path: str(path.relative_to(ROOT)))
    def test_a_file_has_one_job(self, path: Path) -> None:
        assert len(path.read_text().splitlines()) <= 320

    def test_a_class_name_means_one_thing(self) -> None:
        places: dict[str, list[str]] = {}
        for path in modules("src", "analysis", "experiments"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
        assert {name: found for name, found in places.items() if len(found) > 1} == {}

    def test_tests_mirror_what_they_test(self) -> None:
        folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
        assert [
            str(one) for one in folders if not ((ROOT / "src" / one).is_dir() or (ROOT / one).is_dir())
        ] == []

    def test_the_license_is_apache_2(self) -> None:
        text = (ROOT / "LICENSE").read_text()
        assert "Apache License" in text
        assert "Version 2.0, January 2004" in text

    def test_readme_names_every_config_group_and_option(self) -> None:
        readme = (ROOT / "README.md").read_text()
        rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", readme, flags=re.MULTILINE))
        groups: dict[str, set[str]] = {}
        for path in (ROOT / "conf").glob("*/*.yaml"):
            groups.setdefault(path.parent.name, set()).add(path.stem)
        assert {group: set(re.findall(r"`([\w.]+)`", rows.get(group, ""))) for group in groups} == groups


class TestDesign:
    """docs/design.md: what it names is there, and nothing that belongs into it is missing."""

    TEXT = (ROOT / "docs" / "design.md").read_text()

    def test_few_files_lie_between_prompt_and_gradient(self) -> None:
        rows = re.findall(r"^\| (\d+) \| `([^`]+)` \|", self.TEXT, flags=re.MULTILINE)
        assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
        assert 5 <= len(rows) <= 10

    def test_every_file_and_test_that_it_names_exists(self) -> None:
        names = re.findall(r"`((?:src|tests|analysis)/[\w/.]+)(?:::([\w:]+))?`", self.TEXT)
        assert len(names) > 40
        for file, test in names:
            assert (ROOT / file).exists(), file
            if test:
                *scope, name = test.split("::")
                body: list[ast.stmt] = ast.parse((ROOT / file).read_text()).body
                for one in scope:
                    (found,) = [node for node in body if isinstance(node, ast.ClassDef) and node.name == one]
                    body = found.body
                assert name in {node.name for node in body if isinstance(node, ast.FunctionDef)}, test

    def test_it_lists_every_private_name_of_a_package(self) -> None:
        """That is read or set in src/ and defined nowhere in it; sandbox and entry use Python's own."""
        ours: set[str] = set()
        used: set[tuple[Path, str]] = set()
        for path in modules("src"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    ours.add(node.name)
                elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    ours.add(node.target.id)
                elif isinstance(node, ast.Attribute):
                    own = isinstance(node.value, ast.Name) and node.value.id == "self"
                    if own and isinstance(node.ctx, ast.Store):
                        ours.add(node.attr)
                    else:
                        used.add((path, node.attr))
                elif isinstance(node, ast.keyword) and node.arg:
                    used.add((path, node.arg))
                elif isinstance(node, ast.ImportFrom):
                    used |= {(path, name) for name in (node.module or "").split(".")}
        packages = ("trainer", "rollout", "policy", "experiment", "replay", "estimate")
        foreign = {
            name
            for path, name in used
            if path.relative_to(ROOT / "src").parts[0] in packages
            and re.match("_[^_]", name)
            and name not in ours
        }
        assert {"_llm_weights_sleeping", "_dist"} <= foreign
        assert [name for name in sorted(foreign) if f"`{name}`" not in self.TEXT] == []

    def test_invariants_are_cited_by_their_names(self) -> None:
        names = re.findall(r"^\| \d+ \| ([A-Z][\w ]+) \|", self.TEXT, flags=re.MULTILINE)
        assert len(names) == 10
        cited = [
            (str(path.relative_to(ROOT)), found)
            for path in modules(*CODE)
            for found in re.findall(r"docs/design\.md,\s+invariant ([A-Z]\w*(?: [a-z]+)?)", path.read_text())
        ]
        assert len(cited) >= 5
        assert [one for one in cited if not any(one[1].startswith(name) for name in names)] == []

    def test_a_prompt_is_built_in_one_place(self) -> None:
        """The warm start's corpus is text to learn from, not prompts for a policy."""
        callers = [
            str(path.relative_to(ROOT / "src"))
            for path in modules("src")
            if "src.problems.prompt_text.build_prompt" in imported(path)
        ]
        assert callers == ["policy/prompt_encoder.py", "warm_start/corpus.py"]
