"""The ledger: a verdict follows from error, error bar and margin alone, and rows survive their files."""

import csv
import io
import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from theory import ledger, table
from theory.ledger import COLUMNS, Claim, Row, Verdict, decide, largest_score, student_k

NUMBERS = st.floats(0, 1e6)


def _row(name="A1", error=0.1, margin=0.2, verdict=Verdict.HOLDS, statement="one is one"):
    return Row(Claim(name, "paper, §1", statement, "always"), "1", "1.1", error, margin, verdict)


@pytest.mark.parametrize(
    ("error", "margin", "standard_error", "verdict"),
    [
        (0.1, 0.2, 0.0, Verdict.HOLDS),
        (0.2, 0.2, 0.0, Verdict.HOLDS),  # on the margin, exactly known: within
        (0.3, 0.2, 0.0, Verdict.FAILS),
        (0.1, 0.2, 0.06, Verdict.UNDECIDED),  # BITE: judged by error ≤ margin alone, this would be rounded to a yes
        (0.3, 0.2, 0.06, Verdict.UNDECIDED),
        (0.3, 0.2, 0.04, Verdict.FAILS),
        (0.1, 0.2, 0.04, Verdict.HOLDS),
        (math.nan, 0.2, 0.0, Verdict.UNDECIDED),
        (0.1, 0.2, math.nan, Verdict.UNDECIDED),
        (0.1, 0.2, math.inf, Verdict.UNDECIDED),
        (math.inf, 0.2, 0.0, Verdict.FAILS),
    ],
)
def test_one_case(error, margin, standard_error, verdict):
    found = decide(error, margin, standard_error)
    assert (found.verdict, found.at, found.margin) == (verdict, (), margin)
    row = found.row(Claim("A1", "a", "b", "c"), "0", "1")
    assert (row.predicted, row.measured, row.verdict) == ("0", "1", verdict)
    assert [repr(v) for v in (row.error, row.margin)] == [repr(v) for v in (error, margin)]


@given(NUMBERS, NUMBERS, NUMBERS, st.floats(0, 10), st.floats(1, 10))
def test_a_wider_error_bar_never_makes_a_verdict(error, margin, standard_error, k, factor):
    """Widening the bar, by its size or by k, leaves a verdict or makes it undecided; it never turns it round."""
    sharp = decide(error, margin, standard_error, k=k).verdict
    wide = decide(error, margin, standard_error * factor, k=k).verdict
    assert wide in (sharp, Verdict.UNDECIDED)
    assert decide(error, margin, 0.0).verdict == (Verdict.HOLDS if error <= margin else Verdict.FAILS)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6), st.floats(0, 1), st.floats(0, 4))
def test_the_decisive_case_is_the_verdict_on_all(cases, margin, k):
    """BITE: the largest error without its bar, or with it alone where another case fails outright, judges another way."""
    errors, bars = zip(*cases, strict=True)
    verdicts = {decide(error, margin, bar, k=k).verdict for error, bar in cases}
    found = decide(errors, margin, bars, k=k)
    assert found.verdict is decide(found.error, margin, found.bar, k=k).verdict
    assert (found.error, found.bar) == cases[found.at[0]]
    if Verdict.FAILS in verdicts:
        assert found.verdict is Verdict.FAILS
    else:
        assert (found.verdict is Verdict.HOLDS) == (verdicts == {Verdict.HOLDS})


def test_the_decisive_case_has_an_index_per_axis_and_is_the_unknown_one():
    assert decide([[0.1, 0.4], [0.2, 0.3]], 1.0).at == (0, 1)
    assert decide([[0.1, 0.4], [0.2, 0.3]], 1.0, [[0.0], [0.2]]).at == (1, 1)
    assert decide([0.4, math.nan, 0.5], 1.0).at == (1,)
    assert decide([0.4, math.nan, 0.5], 1.0).verdict is Verdict.UNDECIDED
    assert decide([0.4, math.nan, 5.0], 1.0).at == (2,)
    with pytest.raises(ValueError, match="no case to judge; allowed: one error or more; remedy: "):
        decide([], 1.0)
    with pytest.raises(ValueError, match=r"error = -0\.1; allowed"):  # not the one that decides
        decide([0.4, -0.1], 1.0)
    with pytest.raises(ValueError, match=r"error = -0\.1; allowed"):  # nor hidden by what is unknown
        decide([math.nan, -0.1], 1.0)
    with pytest.raises(ValueError, match=r"standard_error = -0\.1; allowed"):
        decide([0.4, 0.5], 1.0, [math.nan, -0.1])
    with pytest.raises(ValueError, match=r"k = -5\.0; allowed: ≥ 0"):
        decide([0.1], 1.0, 0.1, k=[-5.0])


def test_each_case_may_have_its_own_k():
    """The first of two bars holds more of its law: it decides, and without freedom nothing is known."""
    assert decide([0.5, 0.5], 0.8, 0.1, k=[4.0, 2.0]).at == (0,)
    assert decide([0.5, 0.5], 0.8, 0.1, k=[4.0, 2.0]).verdict is Verdict.UNDECIDED
    assert decide([0.5, 0.5], 0.8, 0.1, k=[2.0, 2.0]).verdict is Verdict.HOLDS
    found = decide([0.0, 0.1], 0.8, 0.01, k=student_k(np.array([0, 3])))
    assert (found.at, found.verdict) == ((0,), Verdict.UNDECIDED)


def test_the_largest_of_many_scores():
    """Of Monte Carlo: 5 % of the maxima of 20 normal scores are above, within four standard errors of 4000 draws."""
    maxima = np.abs(np.random.default_rng(0).standard_normal((4000, 20))).max(1)
    assert abs((maxima > largest_score(20)).mean() - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 4000)
    assert largest_score(1) == pytest.approx(1.959964, abs=1e-6)


def test_students_k():
    """Tables of Student's law: 97.5 % at 2 and at 10 degrees; 99.5 % at 10, which five rows side by side need."""
    assert student_k(2) == pytest.approx(4.302653, abs=1e-6)
    assert student_k(10) == pytest.approx(2.228139, abs=1e-6)
    assert student_k(10, rows=5) == pytest.approx(3.169273, abs=1e-6)
    assert student_k([2, 10]) == pytest.approx([4.302653, 2.228139], abs=1e-6)
    assert math.isnan(student_k(0))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((-0.1, 0.2), r"error = -0\.1; allowed: a distance ≥ 0"),
        ((0.1, -0.2), r"margin = -0\.2; allowed: finite and ≥ 0"),
        ((0.1, math.nan), r"margin = nan; allowed"),
        ((0.1, math.inf), r"margin = inf; allowed"),
        ((0.1, 0.2, -1.0), r"standard_error = -1\.0; allowed"),
    ],
)
def test_decide_refuses(arguments, expected):
    with pytest.raises(ValueError, match=expected + r".*; remedy: "):
        decide(*arguments)
    if len(arguments) == 2:
        with pytest.raises(ValueError, match="claim 'A1': " + expected):
            _row(error=arguments[0], margin=arguments[1])


def test_claim_refuses_an_empty_text_and_row_an_unknown_verdict():
    with pytest.raises(ValueError, match=r"claim 'A1': source = ' '; allowed: .*; remedy: "):
        Claim("A1", " ", "s", "c")
    with pytest.raises(ValueError, match="perhaps"):
        _row(verdict="perhaps")


@pytest.mark.parametrize("error", [0.1, 1 / 3, math.nan, math.inf, 0.0])
@pytest.mark.parametrize("verdict", list(Verdict))
def test_round_trip(tmp_path, error, verdict):
    row = _row(error=error, verdict=verdict, statement='σ̂ → 0, "lost" | a, b')
    path = tmp_path / "verdict.json"
    ledger.write([row], path)
    (back,) = ledger.read(path)
    assert repr(back) == repr(row)
    strict = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)  # NaN is not JSON
    assert tuple(strict[0]) == COLUMNS


def test_gather_sorts_naturally(tmp_path):
    for name in ("A10", "B1", "A2", "A2-gm", "A2-cw", "S1", "A2-10", "A2-9"):
        ledger.write([_row(name)], tmp_path / f"{name}.json")
    ids = [row.claim.id for row in ledger.gather(sorted(tmp_path.iterdir()))]
    assert ids == ["A2", "A2-9", "A2-10", "A2-cw", "A2-gm", "A10", "B1", "S1"]


def test_an_id_judged_twice_names_both_files(tmp_path):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    ledger.write([_row("A1")], first)
    ledger.write([_row("A1")], second)
    with pytest.raises(ValueError, match=r"'A1' is judged twice, in .*first\.json and in .*second\.json; .*remedy: "):
        ledger.gather([first, second])
    with pytest.raises(ValueError, match="judged twice"):
        ledger.write([_row("A1"), _row("A1")], first)


@pytest.mark.parametrize("text", ["{", "[1]", '[{"id": "A1"}]', "3", '{"id": "A1"}'])
def test_a_broken_file_is_named(tmp_path, text):
    path = tmp_path / "verdict.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"verdict\.json is not a list of ledger rows .*; allowed: .*; remedy: "):
        ledger.read(path)


def test_csv_reads_back(tmp_path):
    rows = [_row("A1", error=1 / 3, statement='a, "b"\nc'), _row("A2", error=math.nan)]
    header, first, second = csv.reader(io.StringIO(table.to_csv(rows)))
    assert tuple(header) == COLUMNS
    assert first[:4] == ["A1", "paper, §1", 'a, "b"\nc', "always"]
    assert float(first[6]) == 1 / 3
    assert first[8] == "holds"
    assert math.isnan(float(second[6]))


def test_markdown_keeps_one_line_per_row():
    lines = table.to_markdown([_row(statement="P(a | b)\nis 1")]).splitlines()
    assert len(lines) == 3
    assert lines[2] == r"| A1 | paper, §1 | P(a \| b) is 1 | always | 1 | 1.1 | 0.1 | 0.2 | holds |"


def test_command(tmp_path):
    ledger.write([_row("A2")], tmp_path / "a.json")
    ledger.write([_row("A1")], tmp_path / "b.json")
    out = [str(tmp_path / name) for name in ("out/claims.csv", "out/claims.md")]
    result = CliRunner().invoke(table.main, ["gather", *out, str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "out" / "claims.csv").read_text(encoding="utf-8").splitlines()
    assert [line.partition(",")[0] for line in lines] == ["id", "A1", "A2"]
    assert (tmp_path / "out" / "claims.md").read_text(encoding="utf-8").startswith("| id | source |")


def test_readme_gets_the_short_table_between_its_markers(tmp_path):
    rows = [_row(name, statement=f"statement {name} | bar") for name in ("A10", "A2")]
    ledger.write(rows, tmp_path / "verdict.json")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nstale\n{table.END}\nafter\n", encoding="utf-8")
    for _ in range(2):  # a second time changes nothing
        result = CliRunner().invoke(table.main, ["readme", str(readme), str(tmp_path / "verdict.json")])
        assert result.exit_code == 0, result.output
        text = readme.read_text(encoding="utf-8")
        assert text.startswith("before\n")
        assert text.endswith("after\n")
        assert "stale" not in text
        assert "2 claims: 2 holds." in text
        assert text.index("| A2 | statement A2 \\| bar") < text.index("| A10 |")
    readme.write_text("no markers", encoding="utf-8")
    assert "lacks the markers" in CliRunner().invoke(table.main, ["readme", str(readme), str(tmp_path / "verdict.json")]).output
