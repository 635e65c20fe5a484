"""The report's pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes

from engine.evaluation.nelbo import short
from engine.evaluation.report import Report

INK, QUIET, MODEL, TWIN = "#22262e", "#8a919e", "#3b5bdb", "#d9480f"
LINES = ("#3b5bdb", "#0c8599", "#d9480f", "#7048e8", "#5c940d", "#c2255c", "#868e96")
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e6ec",
    "axes.axisbelow": True,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.dpi": 144,
}


def draw(report: Report, folder: Path) -> list[Path]:
    """All pictures that the report has figures for, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        found = [_sources(report["nelbo"], folder / "sources.png"), _masked(report["nelbo"], folder / "masked.png")]
        if "infilling" in report:
            found.append(_factors(report["infilling"], folder / "factors.png"))
            if report["infilling"]["human_long"]:
                found.append(_steps(report["infilling"], folder / "steps.png"))
        if "lengths" in report:
            found.append(_lengths(report["lengths"], folder / "lengths.png"))
    return found


@contextmanager
def _picture(path: Path, width: float, height: float, panels: int = 1) -> Iterator[list[Axes]]:
    figure, axes = pyplot.subplots(1, panels, figsize=(width, height), layout="constrained", squeeze=False)
    yield list(axes[0])
    figure.savefig(path)
    pyplot.close(figure)


def _dots(axes: Axes, x: Sequence[float], y: Any, error: Sequence[float], **look: Any) -> None:
    axes.errorbar(x, y, xerr=error, linestyle="none", markersize=5, elinewidth=1.3, **look)


def _sources(nelbo: dict[str, Any], path: Path) -> Path:
    keys = sorted(nelbo["sources"], key=lambda key: nelbo["sources"][key]["bits_per_char"], reverse=True)
    names = [*(short(key).partition(":")[0] for key in keys), "all"]

    def bits(figures: dict[str, Any]) -> tuple[list[float], list[float]]:
        rows = [*(figures["sources"][key] for key in keys), figures]
        return [row["bits_per_char"] for row in rows], [row["bits_per_char_stderr"] or 0.0 for row in rows]

    twin = nelbo.get("twin")
    with _picture(path, 5.6, 1.0 + 0.34 * len(names)) as [axes]:
        places = np.arange(len(names))
        values, errors = bits(nelbo)
        _dots(axes, values, places + (0.12 if twin else 0), errors, marker="o", color=MODEL, label="the model (a bound)")
        if twin:
            values, errors = bits(twin)
            _dots(axes, values, places - 0.12, errors, marker="s", color=TWIN, label="its causal twin")
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
        axes.set(xlabel="bits a character, with one standard error", ylim=(-0.6, len(names) - 0.4))
        axes.set_yticks(places, names)
        axes.grid(axis="y", visible=False)
    return path


def _masked(nelbo: dict[str, Any], path: Path) -> Path:
    curve = nelbo["nats_by_masked_share"]
    middles = [(i + 0.5) / len(curve) for i in range(len(curve))]
    with _picture(path, 5.6, 3.4) as [axes]:
        known = [(x, y) for x, y in zip(middles, curve, strict=True) if y is not None]
        axes.plot(*zip(*known, strict=True), "o-", color=MODEL, markersize=4, label="the model")
        if twin := nelbo.get("twin"):
            axes.axhline(twin["nats_per_token"], color=TWIN, linewidth=1.2, linestyle="--", label="its causal twin, every token")
            axes.legend(loc="upper left")
        axes.set(xlabel="share of the row's tokens masked", ylabel="nats a masked token", xlim=(0, 1))
    return path


def _steps(infilling: dict[str, Any], path: Path) -> Path:
    """Quality against steps: what is found, how likely, how repetitive; the grey line is what people wrote."""
    rows = [row for row in infilling["rows"] if row["factor"] == "steps"]
    judged = "twin" if any("twin" in row["figures"] for row in rows) else "own"
    panels = (
        ("words", "words found, %", 100),
        (judged, "twin's perplexity ratio" if judged == "twin" else "own nats a token", 1),
        ("repeat", "repeated 2-grams, %", 100),
    )
    with _picture(path, 9.6, 3.1, len(panels)) as axes:
        for panel, (name, title, factor) in zip(axes, panels, strict=True):
            people = infilling["human_long"]["figures"].get(name)
            if people and name != "words":
                panel.axhline(factor * people[0], color=QUIET, linewidth=1.2, linestyle="--", label="the true text")
            samplers = dict.fromkeys(row["settings"]["sampler"] for row in rows)
            for shift, (sampler, color) in enumerate(zip(samplers, LINES, strict=False)):
                own = sorted((row for row in rows if row["settings"]["sampler"] == sampler), key=lambda row: row["settings"]["steps"])
                x = [row["settings"]["steps"] * 1.03 ** (shift - len(samplers) / 2) for row in own]
                y, errors = ([factor * row["figures"][name][k] for row in own] for k in (0, 1))
                panel.errorbar(x, y, yerr=errors, color=color, marker="o", markersize=3.5, linewidth=1.4, elinewidth=0.8, label=sampler)
            panel.set_xscale("log", base=2)
            steps = sorted({row["settings"]["steps"] for row in rows})
            panel.set_xticks(steps, [str(step) for step in steps])
            panel.minorticks_off()
            panel.set(title=title, xlabel="steps")
        handles, labels = axes[1].get_legend_handles_labels()
        axes[0].figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return path


def _factors(infilling: dict[str, Any], path: Path) -> Path:
    """Every row's difference from the default, with two standard errors; grey where it repeats itself more than people do."""
    rows = [row for row in infilling["rows"] if row["difference"] and row["factor"] not in ("steps", "twin", "length")][::-1]
    judged = "twin" if any("twin" in row["difference"] for row in rows) else "own"
    titles = (
        ("words", "words, points", 100),
        ("bleu2", "BLEU-2, points", 100),
        (judged, "twin's ppl ratio" if judged == "twin" else "own nats a token", 1),
        ("repeat", "repeats, points", 100),
    )
    panels = [panel for panel in titles if all(panel[0] in row["difference"] for row in rows)]  # no BLEU of gaps of three words
    with _picture(path, 9.6, 1.1 + 0.24 * len(rows), len(panels)) as axes:
        for panel, (name, title, factor) in zip(axes, panels, strict=True):
            panel.axvline(0, color=QUIET, linewidth=1.2)
            for place, row in enumerate(rows):
                value, error = row["difference"][name]
                color = QUIET if row["repeats"] else MODEL
                _dots(panel, [factor * value], [place], [2 * factor * error], marker="o", color=color)
            panel.set_title(title)
            panel.set(ylim=(-0.7, len(rows) - 0.3))
            panel.set_yticks(
                range(len(rows)), [f"{row['factor']} {row['value']}" for row in rows] if panel is axes[0] else [""] * len(rows)
            )
            panel.grid(axis="y", visible=False)
        axes[0].figure.supxlabel(
            "difference from the default, with two standard errors; grey: repeats itself more than people do", fontsize=9
        )
    return path


def _lengths(lengths: dict[str, Any], path: Path) -> Path:
    pairs = np.array(lengths["pairs"], dtype=float)
    top = max(40.0, float(pairs.max()) * 1.3)
    ticks = [2**k for k in range(int(np.log2(top)) + 1)]
    jitter = np.exp(np.random.default_rng(0).normal(0, 0.06, size=pairs.shape))
    panels = (("automatic", 1, MODEL), ("CAL", 2, TWIN))
    with _picture(path, 7.4, 3.6, len(panels)) as axes:
        for panel, (title, column, color) in zip(axes, panels, strict=True):
            panel.plot([0.8, top], [0.8, top], color=QUIET, linewidth=1, linestyle="--")
            panel.scatter(pairs[:, 0] * jitter[:, 0], pairs[:, column] * jitter[:, column], s=9, alpha=0.45, color=color, linewidths=0)
            panel.set(xscale="log", yscale="log", xlim=(0.8, top), ylim=(0.8, top), title=title, xlabel="true tokens", aspect="equal")
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_ticks(ticks, [str(tick) for tick in ticks])
            panel.minorticks_off()
        axes[0].set_ylabel("guessed tokens")
    return path
