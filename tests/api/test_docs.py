"""The examples of docs/api.md, then those of the README, run in order, on a world of 36 people."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
STUDY = """\
base: ../experiments/irra.yaml
design: leave_one_out
components: {mlm: {off: {model.mlm: null}}}
seeds: [0, 1]
"""


def test_the_examples_run_in_order(lab, monkeypatch):
    from reid_lab.architectures import ARCHITECTURES

    monkeypatch.setitem(ARCHITECTURES, "dual_encoder", None)  # taken out again afterwards
    del ARCHITECTURES["dual_encoder"]
    for name in ("experiments", "studies"):
        (lab.folder / name).mkdir()
    (lab.folder / "experiments" / "irra.yaml").write_text(lab.file.read_text().replace("name: tiny", "name: irra"))
    (lab.folder / "studies" / "irra_ablation.yaml").write_text(STUDY)
    shutil.copy(ROOT / "notebooks" / "dual_encoder.py", lab.folder)
    names: dict[str, object] = {}
    for page, count in (("docs/api.md", 17), ("README.md", 1)):
        text = (ROOT / page).read_text(encoding="utf-8")
        blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        assert len(blocks) >= count
        for block in blocks:
            line = text[: text.index(block)].count("\n")
            exec(compile("\n" * line + block, page, "exec"), names)
    assert len(lab.folders()) == 5
    assert (lab.folder / "mlm.tex").is_file()
    assert (lab.folder / "figures" / "forest.csv").is_file()
