"""Runs as rows."""

import time

from reid_lab.report.listing import run_rows
from tests.report.made import make


def test_a_thousand_runs_are_listed_in_a_moment(tmp_path):
    text = make(tmp_path, 0)
    for number in range(1, 1000):
        folder = tmp_path / f"{number:012x}-1"
        folder.mkdir()
        for name in ("journal.jsonl", "summary.json", "identity.json"):
            (folder / name).write_bytes((text.path / name).read_bytes())
    began = time.process_time()
    assert len(list(run_rows(tmp_path))) == 1000
    assert time.process_time() - began < 0.8
