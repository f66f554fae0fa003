"""`python -m synthetic compare …`: schedules against each other, for a user's own law, dimension and number of steps."""

from __future__ import annotations

from pathlib import Path

import click
import matplotlib as mpl
from matplotlib import pyplot as plt

from synthetic import compare, user_input
from theory import record
from theory.sampler import STEPS


@click.group()
def main() -> None:
    """Experiments on laws with exact answers."""


@main.command("compare")
@click.option("--schedules", default="", help="names, separated by commas; told about the law where the atlas adapts them")
@click.option("--sigmas", multiple=True, help="noise levels, noise first: a comma list or a file; may be repeated")
@click.option("--entry", multiple=True, help="module:object, a Schedule or a callable that returns levels; may be repeated")
@click.option("--dim", default="1e6", show_default=True, help="dimension d")
@click.option("--steps", default=16, show_default=True, type=int, help=f"number of steps N, 1 to {user_input.MOST_STEPS}")
@click.option("--step", "step_name", default="DDIM", show_default=True, help=", ".join(STEPS))
@click.option("--law", default="gm", show_default=True, help="gm, or a YAML or JSON file (see synthetic/user_input.py)")
@click.option(
    "--window",
    default=0.02,
    show_default=True,
    type=click.FloatRange(1e-12, 0.5, max_open=True),
    help="ε of the noise window of adapted schedules: about the error that no number of steps removes",
)
@click.option("--kappa", default=3.0, show_default=True, type=click.FloatRange(0, min_open=True), help="κ of paper A's clocks")
@click.option("--epsilon", type=click.FloatRange(0, 1, min_open=True), help="also find the least N with every error ≤ ε")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results/compare"),
    show_default=True,
    help="folder for compare.svg and compare.csv",
)
def compare_command(
    schedules: str,
    sigmas: tuple[str, ...],
    entry: tuple[str, ...],
    dim: str,
    steps: int,
    step_name: str,
    law: str,
    window: float,
    kappa: float,
    epsilon: float | None,
    out: Path,
) -> None:
    """Print the errors of each schedule, best first, and draw them.

    Names, lists of levels and entries may be mixed; a list brings its own number of steps.
    """  # fmt: skip
    mpl.use("Agg")  # no display
    user_input.number_of_steps(steps)
    for name, value in (("window", window), ("kappa", kappa), ("epsilon", 1.0 if epsilon is None else epsilon)):
        user_input.finite(value, f"--{name}")
    target = user_input.read_law(law, user_input.dimension(dim))
    scales = target.scales(window)
    candidates = user_input.named_schedules(schedules, scales, window, kappa) if schedules else []
    candidates += [user_input.read_levels(text) for text in sigmas]
    candidates += [user_input.read_entry(text, steps, target.dim) for text in entry]
    if not candidates:
        raise user_input.InputError(
            "nothing to compare; allowed: --schedules, --sigmas, --entry; remedy: --schedules 'linear, geodesic'"
        )
    names = [candidate.name for candidate in candidates]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise user_input.InputError(
            f"{', '.join(twice)} is given twice; allowed: each once; remedy: rename the file, or leave one out"
        )
    step = user_input.named_step(step_name)
    results = compare.compare(target, candidates, step, steps, epsilon)
    click.echo(compare.as_text(compare.table(results, epsilon)))
    try:
        with record.style():
            figure = compare.draw(target, candidates, results, step, step_name)
            record.save_figure(figure, out / "compare.svg")
            plt.close(figure)
        record.atomic_text(out / "compare.csv", compare.as_csv(results))
    except OSError as error:
        raise user_input.InputError(
            f"--out {out}: {error}; allowed: a folder that can be written, on a disk with room; remedy: another --out"
        ) from error
    click.echo(f"{out / 'compare.svg'}, {out / 'compare.csv'}")


if __name__ == "__main__":
    main()
