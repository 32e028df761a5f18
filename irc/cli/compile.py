"""`irc compile`: a model in, passes over it, a file out."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irc.cli import texts
from irc.cli.dims import parse_dims
from irc.cli.output import check_folder, check_output, print_table, print_text
from irc.cli.recipe import recipe_with
from irc.errors import OptionError
from irc.reading.data import open_data, progress_over
from irc.reading.metric import open_metric
from irc.reading.model import read_model

if TYPE_CHECKING:
    from irc.backends.artifact import Artifact
    from irc.backends.onnx.fusion import FusionReport
    from irc.target import Target

_ONNXRUNTIME = ("onnx", "onnx:arm")  # the targets whose runtime is at hand, so that it can be asked what it fuses


def command(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help=f"{texts.MODEL} The recipe's if not given.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help="What to write: a file, .onnx or .irc; for c targets a folder."
        ),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A recipe in TOML; other options hold instead of its keys.")
    ] = None,
    passes: Annotated[
        str | None,
        typer.Option(help='As "fold-batch-norm, quantize{method=mse}", see irc passes; exact ones if not given.'),
    ] = None,
    target: Annotated[str, typer.Option(help="What the file is for, see irc targets; onnx if not given.")] = "",
    calibration: Annotated[str, typer.Option(metavar="DATA", help=texts.DATA)] = "",
    preprocess: Annotated[str, typer.Option(help=texts.PREPROCESS)] = "",
    evaluate: Annotated[str, typer.Option(metavar="METRIC", help=f"Asked after every pass. {texts.EVALUATE}")] = "",
    opset: Annotated[
        int | None, typer.Option(help="Of an .onnx file; the model's own, 21 at least, if not given.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="For c targets: what the files and functions are named by; model if not given.")
    ] = None,
    dims: Annotated[str, typer.Option(help=f"For c targets: {texts.DIMS}; 1 for those not given.")] = "",
    tune: Annotated[
        bool, typer.Option("--tune", help="For c targets: choose among kernels by measuring them on this machine.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="With --tune: how many threads to measure with; 1 if not given.")
    ] = None,
    isa: Annotated[
        str, typer.Option(help="With --tune: the instruction set to choose for; the best one here if not given.")
    ] = "",
    seed: Annotated[int | None, typer.Option(help="Of everything random; 0 if not given.")] = None,
    check: Annotated[str, typer.Option(help="numerics: compare the outputs around each pass that is not lossy.")] = "",
    print_after: Annotated[
        list[str] | None, typer.Option(metavar="PASS", help="Print the IR after this pass, or after all; repeatable.")
    ] = None,
    reproducer: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where a crash of a pass leaves irc-reproducer-*, which replays it.")
    ] = Path(),
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report to this file, as JSON.")] = None,
) -> None:
    """Compress a model and write it; print what each pass did."""
    import irc.api
    from irc.backends.registry import find_target
    from irc.execution.training.distributed import is_first_process
    from irc.passes.options import parse_pipeline
    from irc.passes.pipeline import Pipeline

    given: dict[str, Any] = {"model": model, "output": str(output or ""), "target": target, "opset": opset}
    given |= {"calibration": calibration, "preprocess": preprocess, "evaluate": evaluate, "threads": threads}
    given |= {"seed": seed, "name": name, "dims": parse_dims(dims)}
    given["passes"] = None if passes is None else parse_pipeline(passes)
    asked = recipe_with(recipe, given)
    for word, text in (("MODEL", asked.model), ("--output", asked.output)):
        if not text:
            raise OptionError(f"there is no {word}; give it, or a --recipe that names it")
    model, output, opset = asked.model, Path(asked.output), asked.opset
    calibration, preprocess = asked.calibration, asked.preprocess
    goal = find_target(asked.target)
    steps = parse_pipeline(irc.api.DEFAULT_PASSES) if asked.passes is None else list(asked.passes)
    shown = frozenset(name.strip() for each in print_after or [] for name in each.split(","))
    Pipeline(steps, check=check, print_after=shown)  # refuses what is wrong with them before anything is read
    _check_opset(opset)
    c_only = {"--name": name is not None or asked.name != "model", "--dims": bool(asked.dims), "--tune": tune}
    c_only |= {"--threads": threads is not None, "--isa": bool(isa)}
    _check_kind(goal, output, opset, [option for option, given in c_only.items() if given])
    if not tune and (threads is not None or isa):
        raise OptionError(f"{'--isa' if isa else '--threads'} says how to measure kernels, which takes --tune")
    _check_files(output, report, (model, calibration, str(recipe or "")), folder=_is_folder(goal, output))
    data = open_data(calibration, preprocess) if calibration else None
    if preprocess and not calibration:
        raise OptionError("--preprocess is for the images of --calibration, which is not given")
    metric = open_metric(asked.evaluate)
    compiled = irc.api.compile if recipe is None else asked.compile
    artifact = compiled(
        model=read_model(model),
        passes=steps,
        calibration=data,
        evaluate=metric,
        target=goal,
        opset=opset,
        threads=asked.threads,
        isa=isa,
        name=asked.name,
        dims=dict(asked.dims) or None,
        tune=tune,
        seed=asked.seed,
        check=check,
        reproducer=reproducer,
        print_after=shown,
        progress=progress_over(data),
    )
    if not is_first_process():
        return  # under torchrun one process writes and prints for all
    _save(artifact, output)
    fusion = _fusion(artifact, output, goal)
    if report is not None:
        _write_report(report, artifact, fusion)
    _print_result(model, output, artifact, fusion)


def _check_opset(opset: int | None) -> None:
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if opset is not None and not 7 <= opset <= newest:
        raise OptionError(f"opset {opset} is not known; this onnx knows 7 to {newest}")


def _check_kind(target: Target, output: Path, opset: int | None, c_only: list[str]) -> None:
    """OptionError if what is written has no use for an option that was given, or its name is that of another kind."""
    text, folder = output.suffix == ".irc", _is_folder(target, output)
    if folder and output.suffix == ".onnx":
        raise OptionError(f"'{output}' names a file, and target '{target.name}' writes a folder; name a folder")
    what = "an .irc file" if text else f"target '{target.name}'"
    if opset is not None and (text or folder):
        raise OptionError(f"--opset is for .onnx files; {what} has no use for it")
    if c_only and not folder:
        raise OptionError(f"{c_only[0]} is for the code of c targets; {what} has no use for it")


def _is_folder(target: Target, output: Path) -> bool:
    return target.kind == "c" and output.suffix != ".irc"


def _check_files(output: Path, report: Path | None, read: Sequence[str], *, folder: bool) -> None:
    if folder:
        from irc.backends.c.manifest import MANIFEST_FILE

        check_folder(output, marker=MANIFEST_FILE)
    for path in filter(None, (None if folder else output, report)):
        for each in read:
            check_output(path, reads=each)
    if report is not None and os.path.realpath(report) == os.path.realpath(output):
        raise OptionError(f"--report and --output both name '{output}'; give two files")


def _save(artifact: Artifact, output: Path) -> None:
    if output.suffix == ".irc":
        from irc.text import save_text

        save_text(artifact.graph, output)
    else:
        artifact.save(output)


def _fusion(artifact: Artifact, output: Path, target: Target) -> FusionReport | None:
    """Which nodes of a quantized model run as integer in onnxruntime, or in C; None where nobody can say."""
    from irc.backends.onnx.fusion import fusion_report

    quantized = any(node.op.name == "FakeQuant" for node in artifact.graph.walk())
    if not quantized or output.suffix == ".irc":
        return None
    if target.kind == "c":
        report: FusionReport = artifact.fusion
        return report
    return fusion_report(output, target) if target.name in _ONNXRUNTIME else None


def _write_report(path: Path, artifact: Artifact, fusion: FusionReport | None) -> None:
    """The report as JSON: `{target, passes, rows, fusion}`; an SQNR without any noise is the text "exact".

    A metric that is not finite is text, too.
    """
    from irc.atomic import atomic_file

    rows: list[dict[str, Any]] = [asdict(row) for row in artifact.report.rows]
    for row in rows:
        if row["sqnr"] is not None and abs(row["sqnr"]) == float("inf"):
            row["sqnr"] = "exact" if row["sqnr"] > 0 else "no signal"
        if row["metric"] is not None and not math.isfinite(row["metric"]):
            row["metric"] = str(row["metric"])
    whole = {
        "target": artifact.target.name,
        "passes": artifact.graph.info.metadata.get("irc.passes", ""),
        "rows": rows,
        "fusion": None if fusion is None else {**asdict(fusion), "summary": fusion.summary()},
    }
    with atomic_file(path) as file:
        file.write(json.dumps(whole, indent=2, ensure_ascii=False).encode() + b"\n")


def _print_result(model: str, output: Path, artifact: Artifact, fusion: FusionReport | None) -> None:
    print_table(artifact.report.table())
    for line in artifact.report.remarks():
        print_text(line)
    if fusion is not None:
        print_text(str(fusion))
    before = f", was {_size(Path(model)):,}" if Path(model).is_file() else ""
    print_text(f"wrote {output}: {_size(output):,} bytes{before}")


def _size(path: Path) -> int:
    """Bytes of a model file with the weights beside it, or of all files in a folder."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    beside = [path.with_name(path.name + ".data"), path.with_name(path.stem + ".safetensors")]
    wanted = [path, *beside[:1]] if path.suffix != ".irc" else [path, *beside[1:]]
    return sum(p.stat().st_size for p in wanted if p.is_file())
