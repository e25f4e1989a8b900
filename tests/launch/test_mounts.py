"""``sandbox.packages`` and ``sandbox.files``: what programs cannot use is refused at once."""

from __future__ import annotations

import copy
import os
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from src.config import Config, EvaluationConfig, SandboxConfig
from src.config.mounts import find
from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.launch.checks import check, load
from tests.compositions import composed
from tests.launch.test_resumption import made, refused, resumed
from tests.shop import Shop, one_message


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: some modules and data."""
    folder = tmp_path / "here"
    for name in ("tools.py", "json.py", "numpy.py", "class.py", "a-b.py", "package/__init__.py", "table.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name in ("other/tools.py", "other/table.csv", "sympy/__init__.py", "loose/module.py", "runs/r/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    os.mkfifo(folder / "pipe")
    monkeypatch.chdir(folder)
    return folder


def faults(**settings: Any) -> list[str]:
    return check(SandboxConfig(**settings), "sandbox.")


@pytest.mark.parametrize(
    ("packages", "says"),
    [
        (
            ["./tool"],
            "[0]={here}/tool: there is no such file or folder on this machine; did you mean {here}/tool",
        ),
        (
            ["nowhere/tools.py"],
            "[0]={here}/nowhere/tools.py: there is no such file or folder on this machine",
        ),
        (["loose/"], "[0]={here}/loose: this folder has no __init__.py, so it is not a package; add one"),
        (["./table.csv"], "[0]={here}/table.csv: this is not a module; give a file NAME.py or the folder of"),
        (["class.py"], "[0]={here}/class.py: nothing can be imported as 'class'; rename it"),
        (["a-b.py"], "[0]={here}/a-b.py: nothing can be imported as 'a-b'; rename it"),
        (["package/__init__.py"], "nothing can be imported as '__init__'; give the folder that contains it"),
        (["json.py"], "[0]={here}/json.py: it has the name of Python's own module json; rename it"),
        (["numpy.py"], "[0]={here}/numpy.py: programs already have a package numpy; rename yours"),
        (["./sympy"], "[0]={here}/sympy: programs already have a package sympy; rename yours"),
        (["tools.py", "other/tools.py"], "[1]={here}/other/tools.py: sandbox.packages[0]={here}/tools.py is"),
        (["tools.py", "./tools.py"], "[1]={here}/tools.py: it is listed twice; remove one"),
        (["sympy"], "[0]=sympy: programs already have sympy; remove it"),
        (["random"], "[0]=random: random is part of Python, so programs already have it; remove it"),
        (["networkxx"], "[0]=networkxx: no such package is installed for"),
        (["networkxx"], "did you mean networkx?"),
        (["tools"], "for tools.py in this folder, give it as a path: ./tools.py"),
        (["networkx>=3"], "[0]=networkx>=3: this is neither a package name nor a path"),
        ([""], "[0]='': this is neither a package name nor a path"),
        (["."], "[0]={here}: "),
        (["/"], "[0]=/: "),
    ],
)
def test_an_invalid_package_is_refused(here: Path, packages: list[str], says: str) -> None:
    (fault,) = faults(packages=packages)
    assert fault.startswith("sandbox.packages[")
    assert says.replace("{here}", str(here)) in fault
    assert "; " in fault, "a remedy"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            ["table.cs"],
            "[0]={here}/table.cs: there is no such file or folder on this machine; did you mean {here}",
        ),
        (
            ["table.csv", "other/table.csv"],
            "[1]={here}/other/table.csv: {here}/table.csv is also called table.csv",
        ),
        ({"t": "nowhere"}, ".t={here}/nowhere: there is no such file or folder on this machine"),
        ({"a/b": "table.csv"}, ".a/b={here}/table.csv: a/b cannot be a file's name; give one without '/'"),
        ({"..": "table.csv"}, "cannot be a file's name"),
        ({"a\nb": "table.csv"}, "cannot be a file's name"),
        (["pipe"], "[0]={here}/pipe: this is neither a file nor a folder; give one"),
        (["/"], "[0]=/: programs would see the whole machine; list only what they need, or put it in a"),
        (["/proc/self"], "programs would see the kernel's view of the machine"),
        (["/sys"], "programs would see the kernel's view of the machine"),
        (["/dev/zero"], "programs would see the kernel's view of the machine"),
        (["/dev/shm"], "programs would see everything in /dev/shm, including one another's folders"),
        (["/tmp"], "programs would see everything in /tmp, including one another's folders"),
        (["."], "[0]={here}: programs would see the working directory, which contains the runs; list"),
        ([".."], "programs would see the working directory, which contains the runs"),
        ([""], "[0]='': there is no such file"),
    ],
)
def test_an_invalid_file_is_refused(here: Path, files: Any, says: str) -> None:
    (fault,) = faults(files=files)
    assert fault.startswith("sandbox.files")
    assert "\n" not in fault
    assert says.replace("{here}", str(here)) in fault
    assert "; " in fault, "a remedy"


@pytest.mark.parametrize("files", [["runs"], ["runs/r"], ["runs/r/x"]])
def test_the_folder_of_the_run_is_refused(
    here: Path, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faults(files=files) == []  # of another run
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    hydra = OmegaConf.create({"runtime": {"output_dir": str(here / "runs" / "r")}})
    monkeypatch.setattr(HydraConfig, "get", lambda: hydra)
    assert f"programs would see the folder of this run, {here}/runs/r; list" in faults(files=files)[0]
    assert faults(files=["table.csv"]) == []


def test_a_link_is_what_it_leads_to(here: Path) -> None:
    (here / "all").symlink_to("/")
    (here / "named").symlink_to(here / "other" / "table.csv")
    assert "the whole machine" in faults(files=["all"])[0]
    mounts, found = find(SandboxConfig(files=["named"]))
    assert (mounts.files, found) == ({"named": str(here / "other" / "table.csv")}, [])


def test_what_programs_may_not_read_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root too, since programs have none of its capabilities; a container is another user's."""
    (here / "table.csv").chmod(0o000)
    assert "this user cannot read it; remedy: chmod -R u+rX" in faults(files=["table.csv"])[0]
    (here / "table.csv").chmod(0o600)
    (here / "other").chmod(0o700)
    assert faults(files=["table.csv", "other"]) == []
    refusals = faults(files=["table.csv", "other"], jail="docker")
    assert [("(nobody) cannot read it; remedy: chmod -R o+rX" in one) for one in refusals] == [True, True]
    (here / "table.csv").chmod(0o604)
    (here / "other").chmod(0o705)
    assert faults(files=["table.csv", "other"], jail="docker") == []


def test_an_image_has_its_own_packages(here: Path) -> None:
    (fault,) = faults(packages=["networkx", "tools.py"], jail="docker")
    assert fault.startswith(
        "sandbox.packages[0]=networkx: with sandbox.jail=docker programs run in the image's Python"
    )


def distribution(folder: Path, name: str, files: list[str], requires: list[str], top: str = "") -> None:
    """Install ``name`` into ``folder`` as pip would."""
    info = folder / f"{name.replace('-', '_')}-1.dist-info"
    info.mkdir(parents=True)
    lines = [f"Name: {name}", "Version: 1", *(f"Requires-Dist: {one}" for one in requires)]
    (info / "METADATA").write_text("\n".join(lines))
    (info / "top_level.txt").write_text(top)
    for one in files:
        (folder / one).parent.mkdir(parents=True, exist_ok=True)
        (folder / one).touch()
    (info / "RECORD").write_text("\n".join(f"{one},," for one in [*files, f"{info.name}/METADATA"]))


def test_a_distribution_is_all_that_it_installed_and_requires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    parts = ["mine/__init__.py", "mine/a.py", "_mine.abi3.so", "mine.libs/x.so", "../../bin/mine", "mine.pth"]
    requires = ["needed >= 1", "numpy", "elsewhere; sys_platform == 'win32'", "extra; extra == 'more'"]
    distribution(tmp_path, "mine", parts, requires)
    distribution(tmp_path, "needed", ["needed.py"], ["mine"])
    distribution(tmp_path, "extra", ["extra.py"], [])
    mounts, found = find(SandboxConfig(packages=["mine"]))
    assert found == []
    numpys = {name for name in mounts.modules if name.startswith("numpy")}
    assert all(name.endswith("-info") for name in numpys), "programs have the package already"
    own = {"mine", "_mine.abi3.so", "mine.libs", "mine-1.dist-info", "needed.py", "needed-1.dist-info"}
    assert mounts.modules.keys() - numpys == own
    assert mounts.modules["mine"] == str(tmp_path / "mine")
    assert set(mounts.imports) == {"mine", "needed"}


def test_a_distribution_installed_in_place_is_where_it_is_imported_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path / "site", "my-own", ["__editable__.my-own.pth"], [], "my_own")
    (tmp_path / "source" / "my_own").mkdir(parents=True)
    (tmp_path / "source" / "my_own" / "__init__.py").touch()
    for folder in ("site", "source"):
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    for name in ("my-own", "my_own"):
        mounts, found = find(SandboxConfig(packages=[name]))
        assert (mounts.modules["my_own"], found) == (str(tmp_path / "source" / "my_own"), [])


def test_a_package_is_found_by_the_name_it_is_imported_by() -> None:
    (name,) = {one.lower() for one in metadata.packages_distributions()["yaml"]}
    mounts, found = find(SandboxConfig(packages=["yaml"]))
    assert found == []
    assert name == "pyyaml"
    assert "yaml" in mounts.modules


def test_relative_paths_start_at_the_working_directory_and_are_recorded_whole(here: Path) -> None:
    cfg = SandboxConfig(packages=["tools.py", "networkx", "~/own"], files=["table.csv", "/x"])
    assert cfg.packages == [f"{here}/tools.py", "networkx", f"{Path.home()}/own"]
    assert cfg.files == [f"{here}/table.csv", "/x"]
    assert SandboxConfig(files={"t": "other/../table.csv"}).files == {"t": f"{here}/table.csv"}
    assert SandboxConfig(files=[]) == SandboxConfig(files={}) == SandboxConfig()
    assert asdict(SandboxConfig(**asdict(cfg) | {"docker": cfg.docker})) | {"docker": {}} == asdict(cfg) | {
        "docker": {}
    }


class TestARun:
    @pytest.fixture(autouse=True)
    def from_the_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(ROOT)

    def test_records_and_keeps_its_mounts(self, tmp_path: Path) -> None:
        settings = ("sandbox.packages=[networkx]", "sandbox.files={t.csv: README.md}")
        run = made(tmp_path / "run", *settings)
        assert resumed(run).sandbox.files == {"t.csv": str(ROOT / "README.md")}
        assert resumed(run, *settings).sandbox.packages == ["networkx"]
        assert "sandbox.packages=[]: the resumed run has [networkx]" in refused(run, "sandbox.packages=[]")
        message = refused(run, "sandbox.files={t.csv: LICENSE}")
        assert f"sandbox.files.t.csv={ROOT}/LICENSE: the resumed run has {ROOT}/README.md" in message
        forced = resumed(run, "sandbox.packages=[]", "trainer.resume_force=true")
        assert forced.sandbox.packages == []

    def test_without_any_may_not_get_some(self, tmp_path: Path) -> None:
        message = refused(made(tmp_path / "run"), "sandbox.files=[README.md]")
        assert "the resumed run has null" in message

    def test_by_default_programs_have_none(self) -> None:
        cfg = load(Config, composed("train")).sandbox
        assert (cfg.packages, cfg.files) == ([], None)


@pytest.mark.parametrize("setting", ["data.train_path", "data.heldout_path", "benchmark.path"])
@pytest.mark.parametrize("mounted", ["files", "packages"])
def test_programs_cannot_have_the_answers(tmp_path: Path, setting: str, mounted: str) -> None:
    folder = tmp_path / "stuff"
    folder.mkdir()
    for name in ("problems.jsonl", "other.jsonl", "__init__.py"):
        (folder / name).touch()
    kind = setting.split(".")[0]
    cfg = copy.deepcopy(composed("evaluate" if kind == "benchmark" else "train"))
    OmegaConf.update(cfg, f"{kind}.kind", "file")
    if kind == "data":
        cfg.data.train_path = cfg.data.heldout_path = str(ROOT / "README.md")
    OmegaConf.update(cfg, setting, str(folder / "problems.jsonl"))
    OmegaConf.update(cfg, f"sandbox.{mounted}", [str(folder)], force_add=True)
    schema = EvaluationConfig if kind == "benchmark" else Config
    with pytest.raises(ConfigError, match=rf"{setting}={folder}/problems.jsonl: programs would see this"):
        load(schema, cfg)
    if mounted == "files":
        OmegaConf.update(cfg, "sandbox.files", [str(folder / "other.jsonl")])
        load(schema, cfg)


@pytest.mark.parametrize("text", ["{}", "math500@{}"])
def test_nor_those_of_benchmarks_to_decontaminate_against(tmp_path: Path, text: str) -> None:
    (tmp_path / "test.jsonl").touch()
    cfg = copy.deepcopy(composed("train"))
    cfg.data.clean.against = [text.format(tmp_path / "test.jsonl")]
    OmegaConf.update(cfg, "sandbox.files", [str(tmp_path)], force_add=True)
    with pytest.raises(ConfigError, match=r"data\.clean\.against\[0\]=.*: programs would see this file"):
        load(Config, cfg)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("sandbox.files=[nowhere.csv]", "/nowhere.csv: there is no such file or folder on this machine"),
        ("sandbox.packages=[nowhere]", "sandbox.packages[0]=nowhere: no such package is installed for"),
        ("sandbox.files=[.]", "programs would see the working directory, which contains the runs"),
        ("sandbox.files=table.csv", "sandbox.files=table.csv: expected names with values, such as"),
        (
            "sandbox.packages=tools.py",
            "sandbox.packages=tools.py: expected a list, such as sandbox.packages=",
        ),
    ],
)
def test_a_command_ends_with_one_line(tmp_path: Path, override: str, says: str) -> None:
    shop = Shop(tmp_path)
    assert says in one_message(shop.run("+experiment=mini_debug", "model.path=model", override))
    assert not (tmp_path / "runs").exists()
