"""`python -m theory verify [ID …]`: run the claims, print their table, and with --out write what the report shows."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from tqdm import tqdm

from theory import ledger, mutate, record, verify


@click.group()
def main() -> None:
    """The claims of theory/claims."""


def _chosen(ids: tuple[str, ...]) -> list[str]:
    known = list(verify.claim_modules())
    unknown = [name for name in ids if name not in known]
    if unknown:
        raise click.BadParameter(
            f"unknown claim {', '.join(unknown)}; allowed: {', '.join(known)}; remedy: name none for all of them"
        )
    return list(ids) or known


@main.command("verify")
@click.argument("ids", nargs=-1)
@click.option("--processes", default=2, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="write verdict.json, steps.json, witness.json, claims.md",
)
def verify_command(ids: tuple[str, ...], processes: int, folder: Path | None) -> None:
    """Prove, certify and witness the claims (all, or those named), and print the table."""
    names = _chosen(ids)
    outcomes = []
    bar = tqdm(total=len(names), desc="claims", disable=not sys.stderr.isatty())
    for outcome in verify.verify_all(names, processes):
        outcomes.append(outcome)
        bar.update()
        failed = "".join(f"\n    ✗ {s.says}: {s.remainder}" for s in outcome.steps if not s.passed)
        bar.write(
            f"{outcome.claim.id:8} {outcome.verdict.value:10} {outcome.seconds:6.1f} s  {outcome.claim.statement}{failed}"
        )
    bar.close()
    if folder is not None:
        ledger.write([outcome.row() for outcome in outcomes], folder / "verdict.json")
        record.atomic_text(folder / "steps.json", verify.as_json(outcomes) + "\n")
        record.atomic_text(folder / "claims.md", verify.as_markdown(outcomes))
        record.atomic_text(folder / "witness.json", verify.as_witnesses(outcomes) + "\n")
    elif any(outcome.verdict is ledger.Verdict.FAILS for outcome in outcomes):
        sys.exit(1)  # with --out, the ledger says so


@main.command("mutate")
@click.argument("ids", nargs=-1)
@click.option("--processes", default=2, show_default=True, type=click.IntRange(min=1))
@click.option("--out", "path", type=click.Path(dir_okay=False, path_type=Path), help="write the list of mutations as CSV")
@click.option(
    "--verified",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="the witness.json that `verify --out` of the same code left: its measurements and proofs are not made again",
)
def mutate_command(ids: tuple[str, ...], processes: int, path: Path | None, verified: Path | None) -> None:
    """Change every sign of every formula, one at a time: each row must turn red."""
    names = _chosen(ids)
    try:
        measured = verify.read_witnesses(verified, names) if verified else None
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    everything = []
    bar = tqdm(total=len(names), desc="mutations", disable=not sys.stderr.isatty())
    for batch in mutate.mutate_all(names, processes, measured):
        everything += batch
        bar.update()
        bar.write(f"{batch[0].claim:8} {sum(m.caught for m in batch)}/{len(batch)} caught")
        for mutant in batch:
            if not mutant.caught:
                bar.write(f"    MISSED {mutant.formula}: {mutant.change}")
    bar.close()
    if path is not None:
        record.atomic_text(path, mutate.as_csv(everything))
    elif not all(mutant.caught for mutant in everything):
        sys.exit(1)


@main.command("figures")
@click.argument("ids", nargs=-1)
@click.option("--out", "folder", required=True, type=click.Path(file_okay=False, path_type=Path))
def figures_command(ids: tuple[str, ...], folder: Path) -> None:
    """Draw the figures of the claims (all, or those named) that have one, as FOLDER/ID.svg."""
    import matplotlib as mpl  # the other commands draw nothing

    mpl.use("Agg")  # no display
    known = verify.claim_modules()
    for path in verify.write_figures([known[name] for name in _chosen(ids)], folder):
        click.echo(path)


if __name__ == "__main__":
    main()
