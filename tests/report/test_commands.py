"""`reid-lab compare` and `reid-lab verify`: what they print, and one line for each mistake."""

import errno
import io
import json
import resource
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from reid_lab import cli
from tests.report.made import ablated, make


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.delenv("REID_LAB_RUNS", raising=False)
    ablated(tmp_path / "runs")
    return tmp_path / "runs"


def call(runs, *arguments):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main([*arguments, "--runs", str(runs)])
        except SystemExit as exited:
            code = int(exited.code or 0)
    return code, out.getvalue().splitlines(), err.getvalue().splitlines()


def test_compare_prints_a_table(runs):
    code, out, err = call(runs, "compare", "ablation", "--metrics", "mAP")
    assert (code, err) == (0, [])
    assert out[0].split()[:4] == ["group", "seeds", "mAP", "Δ"]
    assert [line.split()[0] for line in out[1:4]] == ["full", "no_mer", "mlm=deep"]


def test_what_is_printed_in_a_format_can_be_verified(runs, tmp_path):
    _, out, _ = call(runs, "compare", "ablation", "--format", "latex")
    (tmp_path / "t.tex").write_text("\n".join(out) + "\n")
    assert call(runs, "verify", str(tmp_path / "t.tex"))[0] == 0


def test_compare_writes_and_verify_reads(runs, tmp_path):
    path = tmp_path / "t.md"
    code, out, _ = call(runs, "compare", "ablation", "--out", str(path))
    assert (code, out) == (0, [f"wrote {path}; `reid-lab verify {path}` checks it against the runs"])
    assert call(runs, "verify", str(path))[0] == 0
    path.write_text(path.read_text().replace("61", "16", 1))
    code, out, err = call(runs, "verify", str(path))
    assert (code, out) == (2, [])
    assert err[0].startswith(f"reid-lab: {path}:2: row 'full', column 'time, s': the file says")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nobody"], "no study, experiment or run 'nobody'"),
        (
            ["ablation", "--format", "latx"],
            "unknown format 'latx'; allowed: csv, html, latex, markdown, table; did you mean",
        ),
        (
            ["ablation", "--correction", "hol"],
            "unknown correction 'hol'; allowed: bh, holm, none; did you mean 'holm'?",
        ),
        (["ablation", "--out", "t.pdf"], "--out t.pdf: a file that ends so has no format here; allowed: .txt, .md"),
        (["ablation", "--metrics", "mPA"], "has no metric 'mPA'; it has test/R1, test/R5, test/mAP, val/mAP"),
        (
            ["ablation", "--baseline", "ful"],
            "unknown baseline 'ful'; allowed: full, mlm=deep, no_mer; did you mean 'full'?",
        ),
        (["irra", "--ablation"], "--ablation: these groups have no components"),
    ],
)
def test_a_mistake_is_one_line(runs, arguments, line):
    code, out, err = call(runs, "compare", *arguments)
    assert (code, out) == (2, [])
    assert line in err[0]
    assert all(told.startswith("reid-lab: ") for told in err)


def test_no_folder_of_runs(tmp_path):
    code, _, err = call(tmp_path / "none", "compare", "irra")
    assert (code, err) == (2, [f"reid-lab: {tmp_path / 'none'}: no such folder of runs"])


def test_mixed_protocols_are_one_line(runs):
    make(runs, 0, name="other", spec={"eval.protocol": "image_to_image"})
    code, _, err = call(runs, "compare", "ablation", "other")
    assert code == 2
    assert len(err) == 1
    assert err[0].startswith("reid-lab: protocols differ in eval.protocol: text_to_image in ")


@pytest.mark.parametrize("what", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_takes_no_file_is_one_line(runs, tmp_path, monkeypatch, what):
    def refuse(*_):
        raise OSError(what, "it is so")

    monkeypatch.setattr("reid_lab.report.document.write_atomic", refuse)
    code, _, err = call(runs, "compare", "ablation", "--out", str(tmp_path / "t.md"))
    assert (code, err) == (2, [f"reid-lab: {tmp_path / 't.md'}: cannot be written: it is so"])


def test_neither_command_imports_torch(runs, tmp_path):
    """Nor what takes as long."""
    path = tmp_path / "t.csv"
    code = (
        "import sys\nfrom reid_lab import cli\n"
        "for arguments in (['compare', 'ablation', '--out', sys.argv[2]], ['verify', sys.argv[2]], ['list', 'runs']):\n"
        "    try:\n        cli.main([*arguments, '--runs', sys.argv[1]])\n"
        "    except SystemExit as exited:\n        assert not exited.code\n"
        "print([m for m in ('torch', 'pandas', 'mlflow', 'optuna', 'scipy.stats') if m in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, str(runs), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout
    facts = "".join(
        line[2:] for line in path.read_text().splitlines() if line.startswith("# ") and "reid-lab " not in line[:14]
    )
    assert json.loads(facts[facts.index("{") :])["metrics_version"] == 1


@pytest.mark.slow
def test_three_hundred_runs_are_compared_in_three_seconds(tmp_path):
    """Of processor time, the start of Python and scipy among it."""
    for seed in range(10):
        for rank in range(30):
            folder = make(tmp_path, seed, noise=rank, spec={"model.mer.rank": rank})
            lines = folder.journal.read_text().splitlines(keepends=True)
            losses = [line for line in lines if '"kind":"loss"' in line]
            folder.journal.write_text("".join([*lines[:30], *(100 * losses), *lines[30:]]))
    code = "import sys\nfrom reid_lab import cli\ncli.main(sys.argv[1:])"
    arguments = ["compare", "architecture=irra", "--by", "model.mer.rank", "--runs", str(tmp_path)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert len(done.stdout.splitlines()) > 30
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3.0
