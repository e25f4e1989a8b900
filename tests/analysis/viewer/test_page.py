"""The page as one file: nothing in it runs but its own scripts, and nothing is asked of others."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path

from analysis.viewer import page
from analysis.viewer.run_data import CHUNK_ROWS
from tests.analysis.viewer import run_files as made
from tests.analysis.viewer.reading import Embedded, loaded, unpack


class TestPage:
    HOSTILE = "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>-->\u202e\x00\x1b"

    def test_only_its_own_scripts_and_no_address(self, tmp_path: Path) -> None:
        hostile = made.record(self.HOSTILE, policy=self.HOSTILE, problem=self.HOSTILE, subject=self.HOSTILE)
        made.write_records(tmp_path, [hostile])
        made.write_tokens(tmp_path, [made.row(hostile)])
        file = tmp_path / "view.html"
        page.write(file, [loaded(tmp_path, self.HOSTILE)])
        text = file.read_text(encoding="utf-8")
        assert "window.hit" not in text
        assert re.findall(r"\b(?:https?|wss?|ftp):|//\w+\.\w", text) == []
        inside = Embedded(text)
        (policy,) = [one["content"] or "" for tag, one in inside.tags if one.get("http-equiv")]
        digests = {
            f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'"
            for one in inside.scripts
        }
        allowed = dict(part.split(" ", 1) for part in policy.split("; "))
        assert set(allowed["script-src"].split()) == digests
        assert len(digests) == len(page.SCRIPTS)
        assert (allowed["default-src"], allowed["connect-src"]) == ("'none'", "'none'")
        for tag, attributes in inside.tags:
            assert not {name for name in attributes if name.startswith("on") or name == "style"}
            assert not {"src", "href"} & set(attributes) or tag == "link"
        assert self.HOSTILE in [row["problem"] for row in unpack(inside.data["run-0-texts-0"])["rows"]]
        assert unpack(inside.data["run-0-index"])["name"] == self.HOSTILE

    def test_scripts_take_no_markup_from_data(self) -> None:
        for name in page.SCRIPTS:
            script = (page.PAGE / f"{name}.js").read_text()
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", script
            ), name
            assert len(script.splitlines()) <= 300, name

    def test_every_script_is_in_the_page(self) -> None:
        assert sorted(path.stem for path in page.PAGE.glob("*.js")) == sorted(page.SCRIPTS)

    def test_several_runs(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            made.write(tmp_path / name, steps=1, seed=len(name))
        page.write(tmp_path / "view.html", [loaded(tmp_path / name, name) for name in ("a", "b")])
        inside = Embedded((tmp_path / "view.html").read_text())
        assert [unpack(inside.data[f"run-{at}-index"])["name"] for at in (0, 1)] == ["a", "b"]
        assert {f"run-{at}-{kind}" for at in (0, 1) for kind in ("about", "texts-0", "tokens-0")} <= set(
            inside.data
        )
        about = unpack(inside.data["run-1-about"])
        assert about["config"]["trainer"] == {"steps": 1}
        assert [row["reward"] for row in about["metrics"]] == [0.0]

    def test_half_a_surrogate_pair_is_kept(self, tmp_path: Path) -> None:
        one = asdict(made.record())
        one["segments"][0]["text"] = "a\ud800b"
        (tmp_path / "trajectories.jsonl").write_text(json.dumps(one) + "\n")
        page.write(tmp_path / "view.html", [loaded(tmp_path)])
        inside = Embedded((tmp_path / "view.html").read_text())
        assert unpack(inside.data["run-0-texts-0"])["rows"][0]["segments"][0]["text"] == "a\ud800b"

    def test_bytes_per_trajectory(self, tmp_path: Path) -> None:
        """With values that hardly compress, since they are random, and 150 tokens each."""
        records = [made.record(f"p/{at}", policy=f"{at} word " * 12) for at in range(4 * CHUNK_ROWS)]
        made.write_records(tmp_path, records)
        made.write_tokens(tmp_path, [made.row(one) for one in records])
        assert sum(len(made.ids_of(one)[0]) for one in records) / len(records) > 120
        page.write(tmp_path / "view.html", [loaded(tmp_path)])
        before, after = page.parts()
        size = (tmp_path / "view.html").stat().st_size - len(before + after)
        assert size / len(records) < 3000
