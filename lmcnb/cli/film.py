"""The film of two trainings that leave one point, and its strip for print."""

from __future__ import annotations

from pathlib import Path

import click

from lmcnb import places

NAME = "basins"
ALT = ("Two trainings leave one point: the dense network's end in two basins, with a ridge between them; those of its "
       "pruned subnetwork end in one")


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to write.  [default: figures]")
def film(out: Path | None) -> None:
    """Draw two trainings that leave one point, as basins.gif, and side by side for print, as basins.png.

    Trains notebook 0's dense network and its IMP ticket twice each, in under a minute. The same kind of machine and
    the same versions give the same bytes.
    """
    import matplotlib

    matplotlib.use("Agg")
    from lmcnb.figures import departures as drawn
    from lmcnb.figures import png

    folder = out or places.figures_dir("laptop").parent
    folder.mkdir(parents=True, exist_ok=True)
    table, names = drawn.quickstart()
    for suffix, content in (("gif", drawn.gif(drawn.film(table, names))), ("png", png(drawn.strip(table, names)))):
        path = folder / f"{NAME}.{suffix}"
        path.write_bytes(content)
        click.echo(f"{path}: {len(content) / 1000:.0f} kB")
