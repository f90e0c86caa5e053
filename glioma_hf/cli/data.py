"""The command line's `data` commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glioma_hf.cli.console import err, say, tell
from glioma_hf.errors import InputError
from glioma_hf.progress import to_lines

data_app = typer.Typer(no_args_is_help=True, help="Make and prepare data sets.")
SOURCE_HELP = "glioma_c6, neurips22, livecell, tissuenet or dynamicnuclearnet."


@data_app.command()
def synthesize(
    out: Annotated[Path, typer.Option(help="The zip to write.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    train: Annotated[int, typer.Option(min=0)] = 4,
    valid: Annotated[int, typer.Option(min=0)] = 2,
    test: Annotated[int, typer.Option(min=0)] = 2,
    gen: Annotated[int, typer.Option(min=0)] = 2,
    width: Annotated[int, typer.Option(min=64, max=8192)] = 512,
    height: Annotated[int, typer.Option(min=64, max=8192)] = 384,
) -> None:
    """An archive in the Glioma C6 layout, of synthetic images."""
    from glioma_hf.synthetic.archive import SyntheticArchiveConfig
    from glioma_hf.synthetic.archive import synthesize as run
    from glioma_hf.synthetic.scenes import SceneConfig

    scene = SceneConfig(width=width, height=height)
    config = SyntheticArchiveConfig(train=train, valid=valid, test=test, gen=gen, scene=scene)
    run(out, seed, config, to_lines(say))
    tell(f"wrote {out}")


@data_app.command()
def compose(
    folder: Annotated[Path, typer.Argument(help="Folder made by data prepare.")],
    out: Annotated[Path, typer.Option(help="The zip to write.")],
    split: Annotated[str, typer.Option(help="train, validation or test; cells of no other are laid.")] = "test",
    cells: Annotated[int, typer.Option(min=1, max=10**4, help="Laid over an image, at most.")] = 30,
    covered: Annotated[
        tuple[float, float], typer.Option(help="Least and most share of a laid cell that lies over others.")
    ] = (0.1, 0.6),
    copies: Annotated[int, typer.Option(min=1, max=1000, help="Of each image, with other cells each.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same images.")] = 0,
) -> None:
    """An archive of a data set's own images with more overlap: its cells, cut out and laid over one another."""
    from glioma_hf.synthetic.compose import OverlapConfig
    from glioma_hf.workflows.composing import compose as run

    if not 0 <= covered[0] <= covered[1] <= 1:
        raise InputError("--covered takes two shares, the lesser first, within 0 and 1: --covered 0.3 0.7")
    laid = run(folder, out, split, copies, seed, OverlapConfig(cells=cells, covered=covered), to_lines(say))
    tell(f"wrote {out}; {laid} cells were laid over others")


@data_app.command()
def prepare(
    out: Annotated[Path, typer.Option(help="Folder that load_dataset will open.")],
    archive: Annotated[Path | None, typer.Option(help="Zip or folder in the Glioma C6 layout.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch it from Zenodo (947 MB), resumed if broken.")
    ] = False,
    keep: Annotated[Path, typer.Option(help="Where --download puts the archive.")] = Path("dataset.zip"),
    source: Annotated[str, typer.Option(help=SOURCE_HELP)] = "glioma_c6",
    strict: Annotated[bool, typer.Option("--strict", help="What would be repaired becomes an error.")] = False,
) -> None:
    """An archive -> a folder that load_dataset opens. Run again, it goes on where it was broken off."""
    from glioma_hf.data.prepare import prepare as run
    from glioma_hf.data.sources import get_source

    if (archive is None) != download:
        raise InputError("give either --archive PATH or --download")
    if archive is None:
        if source != "glioma_c6":
            raise InputError(f"--download fetches Glioma C6 alone; get {source} yourself and give --archive PATH")
        archive = fetch(keep)
    prepared = run(archive, out, source, strict, to_lines(say))
    for split in prepared.splits:
        counts = ", ".join(f"{count} {name}" for name, count in split.objects.items() if count)
        crowds = f"; {split.ignored} crowd regions (iscrowd) kept as ignored, not as cells" if split.ignored else ""
        tell(f"{split.subset}/{split.split}: {split.images} images, {counts or 'no objects'}{crowds}")
    if differences := get_source(source).differences(prepared.splits):
        tell(f"against {get_source(source).title} as published: {'; '.join(differences)}")
    tell("repaired: " + (", ".join(f"{n} {kind}" for kind, n in prepared.repairs.items()) or "nothing"))


@data_app.command()
def publish(
    folder: Annotated[Path, typer.Argument(help="Folder made by data prepare.")],
    repo: Annotated[str, typer.Option(help="USER/NAME on the Hub.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write to --out what would be pushed; no network.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for that tree; with --dry-run.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
) -> None:
    """A prepared data set to the Hub: Parquet, card and figures. What arrives is compared with what was sent."""
    import tempfile

    from glioma_hf import hub
    from glioma_hf.data.publish import build_tree
    from glioma_hf.files import new_folder

    hub.check_repo(repo)
    if dry_run != (out is not None):
        raise InputError("give --dry-run and --out FOLDER together, or neither to push")
    if out is not None:
        with new_folder(out, "published tree", [folder]) as tree:
            names = build_tree(folder, tree, repo, to_lines(say))
        tell(f"wrote {len(names)} files to {out}; nothing was pushed")
        return
    with tempfile.TemporaryDirectory() as work:
        names = build_tree(folder, Path(work), repo, to_lines(say))
        say(f"pushing {len(names)} files to {repo}")
        tell(f"pushed and checked {len(names)} files: {hub.push(Path(work), names, repo, private)}")


@data_app.command()
def stats(
    folders: Annotated[list[Path], typer.Argument(help="Folders made by data prepare; several are compared.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables and figures.")],
) -> None:
    """Table 1 and the shape figures of the paper: overview.json, objects.csv and plots."""
    import json

    from glioma_hf.data import statistics
    from glioma_hf.files import new_folder
    from glioma_hf.plots import pyplot

    folders = [folder.resolve() for folder in folders]
    if len({folder.name for folder in folders}) < len(folders):
        raise InputError("data sets are told apart by their folders' names: give folders of different names")
    pyplot()  # without matplotlib nothing is begun
    with new_folder(out, "statistics", folders) as work:
        sets = {folder.name: statistics.measure_objects(folder, to_lines(say)) for folder in folders}
        tables = {folder.name: statistics.overview(folder) for folder in folders}
        (work / "overview.json").write_text(json.dumps(tables, indent=2))
        for name, objects in sets.items():
            (work / name).mkdir()
            objects.to_csv(work / name / "objects.csv", index=False, float_format="%.6g")
            statistics.plot_figures(objects, work / name, name)
        if len(sets) > 1:
            statistics.plot_comparison(sets, work)
    for name, parts in tables.items():
        for part in parts:
            tell(f"{name}: " + ", ".join(f"{key} {value}" for key, value in part.items() if value))


def fetch(target: Path) -> Path:
    """The archive from Zenodo, with a progress bar."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from glioma_hf.data.sources.download import download, find_remote

    remote = find_remote()
    with Progress(BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), console=err) as bar:
        task = bar.add_task(target.name, total=remote.size)
        return download(remote, target, lambda news: bar.update(task, completed=news.done))
