"""One look for all figures, and PNG files that are never half-written."""

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mesm.runs.files import write_beside

# Okabe and Ito's palette: told apart by colour-blind readers and in grey.
MESM_COLOUR = "#D55E00"
FE2E_COLOUR = "#0072B2"
EXTRA_COLOUR = "#009E73"
INK = "#222222"
FAINT = "#8A8A8A"
DPI = 160


def new_figure(width: float, height: float, constrained: bool = True) -> Figure:
    """A figure of width x height inches that never touches matplotlib's global state."""
    figure = Figure(
        figsize=(width, height),
        dpi=DPI,
        facecolor="white",
        layout="constrained" if constrained else None,
    )
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes) -> None:
    """Keep the left and bottom spines, a light grid, and quiet ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.grid(True, color="#E4E4E4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=3)


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG; figures made alike give the same bytes.

    Laying out goes on from where the last time ended, so the second PNG of one and the same figure
    may differ from its first by a fraction of a pixel.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def save_png(figure: Figure, path: Path) -> Path:
    """Write the figure as a PNG; a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_beside(path, png_bytes(figure))
    return path
