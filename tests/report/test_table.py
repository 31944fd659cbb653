"""The formats: the same numbers in all of them."""

import csv
import html
import io
import re
import shutil
import subprocess

import pytest

from reid_lab.errors import UserError
from reid_lab.report import document
from reid_lab.report.comparison import compare
from reid_lab.report.latex import escaped, latex
from reid_lab.report.selection import select
from reid_lab.report.table import FORMATS, Cell, Column, Grid, comma_separated, grid, number, plain, webpage
from tests.report.made import ablated, make

NUMBERS = re.compile(r"-?\d+\.?\d*")


@pytest.fixture
def runs(tmp_path):
    ablated(tmp_path / "runs")
    return tmp_path / "runs"


def numbers(text):
    return NUMBERS.findall(text)


def test_every_format_shows_the_same_numbers(runs):
    found = grid(compare(select(["ablation"], runs)[0], queries=True))
    # what stands in front of a digit in LaTeX, `$-$`, is a minus
    texts = {name: form(found) for name, form in {**FORMATS, "latex": latex}.items()}
    cells = [part for row in found.rows for cell in row for part in cell.parts]
    expected = sorted(n for part in cells for n in numbers(part))
    assert len(expected) >= 60
    table = {
        "table": "\n".join(texts["table"].splitlines()[1:4]),
        "markdown": "\n".join(texts["markdown"].splitlines()[2:5]),
        "csv": "\n".join(" ".join(row) for row in list(csv.reader(io.StringIO(texts["csv"])))[1:4]),
        "html": html.unescape(re.sub(r"<[^>]*>", " ", texts["html"].partition("<tbody>")[2].partition("</tbody>")[0])),
        "latex": texts["latex"].partition(r"\midrule" + "\n")[2].partition(r"\bottomrule")[0].replace("$-$", "-"),
    }
    for name, text in table.items():
        assert sorted(numbers(text)) == expected, name


def test_csv_has_a_column_for_each_number(runs):
    found = grid(compare(select(["ablation"], runs)[0], metrics=["mAP"]))
    lines = [line for line in comma_separated(found).splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(lines))
    assert [row["group"] for row in rows] == ["full", "no_mer", "mlm=deep"]
    for row in rows[1:]:
        assert float(row["Δ mAP low"]) < float(row["Δ mAP difference"]) < float(row["Δ mAP high"])
    assert set(rows[0]) >= {"mAP mean", "mAP deviation", "g mAP", "p mAP", "time, s"}


def test_the_table_tells_cost_and_what_differs(runs):
    found = grid(compare(select(["ablation"], runs)[0]))
    titles = [column.title for column in found.columns]
    row = dict(zip(titles, (cell.text for cell in found.rows[1]), strict=True))
    assert row["differs"] == "model.mer: null"
    assert (row["seeds"], row["time, s"], row["trained, M"], row["parameters, M"]) == ("3", "61", "1.50", "2.00")
    assert row["memory, MiB"] == "512"
    assert "GFLOPs, image" not in titles


def test_costs_are_shown_where_recorded(tmp_path):
    make(tmp_path, 0, summary={"gflops_image": 1.25, "latency": 0.0031})
    make(tmp_path, 0, name="b", spec={"model.mer.rank": 8})
    found = grid(compare(select(["irra", "b"], tmp_path)[0]))
    shown = {c.title: [row[k].text for row in found.rows] for k, c in enumerate(found.columns)}
    assert shown["GFLOPs, image"] == ["1.25", ""]
    assert shown["latency, ms"] == ["3.10", ""]


def test_an_ablation_has_a_tick_for_each_component(runs):
    groups = select(["ablation"], runs)[0]
    found = grid(compare(groups), ablation=True)
    assert [column.title for column in found.columns][:3] == ["group", "mer", "mlm"]
    assert [[cell.text for cell in row[1:3]] for row in found.rows] == [["✓", "✓"], ["–", "✓"], ["✓", "deep"]]
    assert found.notes[0] == "seeds 0, 1, 2"
    assert [column.title for column in found.columns][3:] == ["R1", "Δ R1 [95%]", "p", "mAP", "Δ mAP [95%]", "p"]


def test_an_ablation_needs_components(runs):
    with pytest.raises(UserError, match="these groups have no components"):
        grid(compare(select(["irra"], runs)[0]), ablation=True)


def test_latex_bolds_underlines_and_marks(runs):
    text = latex(grid(compare(select(["ablation"], runs)[0], metrics=["mAP"])))
    rows = {line.split(" & ")[0]: line.split(" & ") for line in text.splitlines() if line.endswith(r"\\")}
    means = {name: row[2] for name, row in rows.items()}
    best, second = sorted(("full", "mlm=deep"), key=lambda name: "underline" in means[name])
    assert means[best].startswith(r"\textbf{")
    assert means[second].startswith(r"\underline{")
    assert "$" not in means["no\\_mer"].replace(r"$\pm$", "")
    assert r"$^{\mathrm{ns}}$" in rows["mlm=deep"][3]
    assert r"\mathrm{ns}" not in rows["no\\_mer"][3]
    assert rows["no\\_mer"][3].startswith("$-$")


def test_latex_escapes_what_it_must():
    assert escaped(r"50% & a_b #1 {x} ~ ^ \ <0.001") == (
        r"50\% \& a\_b \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} $<$0.001"
    )


def test_numbers_are_never_minus_zero():
    assert [number(value) for value in (-0.001, 0.0, -0.005001, 1.005)] == ["0.00", "0.00", "-0.01", "1.00"]


def test_html_and_markdown_escape_names():
    odd = Grid((Column("group", numeric=False), Column("a")), ((Cell(("a|<b>",)), Cell(("1",))),), ("x < y",))
    assert "a|&lt;b&gt;" in webpage(odd)
    assert r"a\|<b>" in FORMATS["markdown"](odd)
    assert "x &lt; y" in webpage(odd)
    assert plain(odd).splitlines()[1] == "a|<b>  1"


ODD = r"""x_1 & 50% #2 {~^\}"""


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
@pytest.mark.parametrize("packages", ["", r"\usepackage{booktabs,amssymb,graphicx}"])
def test_latex_compiles(runs, tmp_path, packages):
    """Without packages and with the usual ones, where they are installed."""
    if (
        packages
        and subprocess.run(["kpsewhich", "booktabs.sty", "amssymb.sty", "graphicx.sty"], capture_output=True).returncode
    ):
        pytest.skip("no booktabs, amssymb or graphicx here")
    text = document.document(document.chosen(["ablation"], runs, form="latex", queries=True))
    text += document.document(document.chosen(["ablation"], runs, form="latex", ablation=True))
    lines = [r"\documentclass{article}", packages, r"\begin{document}", text, escaped(ODD), r"\end{document}"]
    (tmp_path / "t.tex").write_text("\n".join(lines))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").is_file()
    if packages:
        assert "Overfull" not in done.stdout


def test_latex_is_well_formed(runs):
    """Where no LaTeX is installed: environments nest, braces and mathematics close, every row has all columns."""
    text = document.document(document.chosen(["ablation"], runs, form="latex", ablation=True, queries=True))
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    bare = re.sub(r"\\[\\{}$&%#_]", "", "\n".join(lines))
    assert bare.count("{") == bare.count("}")
    assert all(re.sub(r"\\[\\{}$&%#_]", "", line).count("$") % 2 == 0 for line in lines)
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", bare):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert stack == []
    width = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", text)[1])
    rows = [line for line in lines if line.endswith(r"\\")]
    assert len(rows) == 4
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {width}
