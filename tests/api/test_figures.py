"""`rl.figure`: the kinds of the command, shown by a notebook."""

from __future__ import annotations

import pytest

import reid_lab as rl
from reid_lab.report.verify import verified
from tests.report import made


def test_a_figure_is_shown_and_written_and_verified(tmp_path):
    runs = tmp_path / "runs"
    made.ablated(runs)
    found = rl.figure("forest", "ablation", metrics="mAP", runs=runs)
    assert found._repr_png_().startswith(b"\x89PNG")
    table = rl.compare("ablation", runs=runs).frame.set_index("group")
    shown = found.frame.set_index("group")
    assert shown.loc["no_mer", "difference"] == table.loc["no_mer", "mAP difference"]
    assert found.caption in repr(found)
    files = found.write(tmp_path / "f" / "mine.png")
    assert sorted(file.name for file in files) == ["mine.csv", "mine.pdf", "mine.png"]
    assert verified(tmp_path / "f" / "mine.csv", runs)[1] == []
    assert "reid_lab.figure('forest', 'ablation'" in (tmp_path / "f" / "mine.csv").read_text()
    assert {file.name for file in found.write(tmp_path / "g")} == {"forest.csv", "forest.pdf", "forest.png"}


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("forrest", {}, "did you mean 'forest'"),
        ("forest", {"bins": 3}, "unknown option 'bins'"),
        ("parallel", {}, "no finished trials"),
    ],
)
def test_what_cannot_be_drawn_is_told(tmp_path, kind, options, told):
    runs = tmp_path / "runs"
    made.ablated(runs)
    with pytest.raises(rl.UserError, match=told):
        rl.figure(kind, "ablation", runs=runs, **options)
