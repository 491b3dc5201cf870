"""A picture of the paths that a few classes take through a coded model."""
import io
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Sequence

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = '#0072B2', '#C75300', '#00805C'  # of the classes; after Okabe and Ito, for the colour-blind, as dark as text
ALL, REST, TEXT, QUIET = '#5f6368', '#c9ccd1', '#202124', '#5f6368'  # greys
WIDTH, LEFT, TOP, BOTTOM = 9.2, 1.3, 1.7, .85  # inches: margins around the dots; a page shows 830 pixels of width
NUMBERS = .68  # right end of the subNNs' numbers
STAGE_GAP = .45  # of the distance of two columns
LABEL, TITLE = 18, 66  # characters that have room in a line


@dataclass
class BlockPaths:
    """A block and who works in it.

    Attributes:
        stage, index: of the block.
        num_active: subNNs that work for a class, N_act.
        active: whether subNN n works for the class, [classes, N] bool, of the classes that are shown.
    """
    stage: str
    index: int
    num_active: int
    active: np.ndarray

    @property
    def shared_by_all(self) -> bool:
        """Whether the block is not coded: all subNNs work for every class."""
        return self.num_active == self.active.shape[1]


@dataclass
class Grid:
    """Where things are, in inches from the upper left corner.

    Attributes:
        columns: x of each block, [blocks].
        rows: y of each subNN, [N].
        radius: of a dot.
    """
    columns: np.ndarray
    rows: np.ndarray
    radius: float

    @property
    def middle(self) -> float:
        return float(self.rows.mean())

    @property
    def joints(self) -> np.ndarray:
        """x where the outputs of a block's subNNs are summed, and before the first block, [blocks + 1]."""
        ends = 1.5 * self.columns[[0, -1]] - .5 * self.columns[[1, -2]] if len(self.columns) > 1 else (
            self.columns[[0, 0]] + (-.5, .5))
        return np.concatenate([ends[:1], (self.columns[1:] + self.columns[:-1]) / 2, ends[1:]])


def plot_paths(blocks: Sequence[BlockPaths], labels: Sequence[str], title: str) -> 'Figure':
    """Blocks as columns, subNNs as dots, the paths of the classes as lines through the dots that work for them.

    Args:
        blocks: of the model, in order.
        labels: names of one to three classes.
        title: of the picture.
    """
    from matplotlib.figure import Figure
    labels = [textwrap.fill(label, LABEL) for label in labels]
    grid = place(blocks, right=.65 + .1 * max(len(line) for label in labels for line in label.splitlines()))
    height = float(grid.rows[-1]) + BOTTOM + .25
    figure = Figure(figsize=(WIDTH, height), facecolor='white')
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0), aspect='equal')
    axes.set_axis_off()
    draw_frame(axes, grid, blocks, title)
    for column, block in enumerate(blocks):
        draw_block(axes, grid, column, block)
    draw_ends(axes, grid, labels)
    draw_legend(axes, len(labels), height - .3)
    return figure


def save_picture(figure: 'Figure', path: Path, title: str) -> None:
    """Writes a PNG, of 256 colours, which take a third of the room, or what else the ending says."""
    if path.suffix != '.png':
        figure.savefig(path, metadata={'Title': title})
        return
    file = io.BytesIO()
    figure.savefig(file, dpi=150)
    about = PngInfo()
    about.add_text('Title', title)
    with Image.open(file) as image:
        image.convert('RGB').quantize(256, dither=Image.Dither.NONE).save(path, optimize=True, pnginfo=about)


def place(blocks: Sequence[BlockPaths], right: float) -> Grid:
    """`right` is the margin on that side, for the names of the classes."""
    breaks = np.cumsum([0] + [STAGE_GAP * (one.stage != other.stage) for one, other in zip(blocks, blocks[1:])])
    columns = np.arange(len(blocks)) + breaks
    pitch = (WIDTH - LEFT - right) / (columns[-1] + 1)
    subnns = blocks[0].active.shape[1]
    distance = min(.3, max(.13, 4.6 / subnns))
    return Grid(LEFT + pitch * (columns + .5), TOP + distance * np.arange(subnns), .36 * min(distance, pitch))


def draw_block(axes: 'Axes', grid: Grid, column: int, block: BlockPaths) -> None:
    """Lines from the joint before through the dots to the joint behind, and the dots on them."""
    x, (before, behind) = grid.columns[column], grid.joints[column:column + 2]
    for subnn, y in enumerate(grid.rows):
        active = np.flatnonzero(block.active[:, subnn])
        colours = [ALL] if block.shared_by_all else [COLOURS[index] for index in active]
        for index, colour in enumerate(colours):
            shift = (index - (len(colours) - 1) / 2) * .6 * grid.radius
            draw_line(axes, (before, grid.middle), (x, y + shift), colour)
            draw_line(axes, (x, y + shift), (behind, grid.middle), colour)
        draw_dot(axes, x, y, grid.radius, colours)


def draw_line(axes: 'Axes', start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    """An S that leaves and arrives level."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve
    bend = (start[0] + end[0]) / 2
    curve = Curve([start, (bend, start[1]), (bend, end[1]), end], [Curve.MOVETO, *[Curve.CURVE4] * 3])
    axes.add_patch(PathPatch(curve, fill=False, color=colour, alpha=.45 if colour != ALL else .3, linewidth=1.1))


def draw_dot(axes: 'Axes', x: float, y: float, radius: float, colours: Sequence[str]) -> None:
    """A dot in equal parts of the colours, or an empty one."""
    from matplotlib.patches import Circle, Wedge
    if not colours:
        axes.add_patch(Circle((x, y), .8 * radius, facecolor='white', edgecolor=REST, linewidth=1, zorder=3))
    for index, colour in enumerate(colours):
        part = 360 / len(colours)
        start = 90 + index * part
        axes.add_patch(Wedge((x, y), radius, start, start + part, facecolor=colour, edgecolor='white', linewidth=.6,
                             zorder=3))


def draw_frame(axes: 'Axes', grid: Grid, blocks: Sequence[BlockPaths], title: str) -> None:
    """Title, names of stages, blocks and subNNs."""
    axes.text(.25, .32, title, fontsize=min(13, 13 * TITLE / len(title)), fontweight='bold', color=TEXT, va='center')
    subnns = len(grid.rows)
    axes.text(.25, .51, f'Each column is a block of the network, each dot one of its {subnns} parallel sub-networks '
              '(subNNs).\nAn image of a class is worked on by the dots of its colour only; black points add up what '
              'they put out.', fontsize=9.5, color=QUIET, va='top', linespacing=1.6)
    for stage in dict.fromkeys(block.stage for block in blocks):
        members = [index for index, block in enumerate(blocks) if block.stage == stage]
        x = grid.columns[members].mean()
        actives = ' or '.join(map(str, sorted({blocks[index].num_active for index in members})))
        axes.text(x, TOP - .5, stage, fontsize=10, fontweight='bold', color=TEXT, ha='center', va='center')
        axes.text(x, TOP - .3, f'{actives} of {subnns}', fontsize=9, color=QUIET, ha='center', va='center')
    for x, block in zip(grid.columns, blocks):
        axes.text(x, grid.rows[-1] + .26, f'{block.index}', fontsize=9, color=QUIET, ha='center', va='center')
    step = -(-subnns // 16)
    for subnn in range(0, subnns, step):
        label = f'{subnn}' if subnn else 'subNN 0'
        axes.text(NUMBERS, grid.rows[subnn], label, fontsize=9, color=QUIET, ha='right', va='center')
    axes.text(.25, TOP - .3, 'work for a class', fontsize=9, color=QUIET, va='center')
    axes.text(NUMBERS, grid.rows[-1] + .26, 'block', fontsize=9, color=QUIET, ha='right', va='center')


def draw_ends(axes: 'Axes', grid: Grid, labels: Sequence[str]) -> None:
    """The image on the left, the classes on the right, the joints between."""
    from matplotlib.patches import Circle
    first, last = grid.joints[0], grid.joints[-1]
    axes.text(first - .1, grid.middle, 'image', fontsize=10, color=TEXT, ha='right', va='center')
    for index, label in enumerate(labels):
        y = grid.middle + (index - (len(labels) - 1) / 2) * .5
        draw_line(axes, (last, grid.middle), (last + .4, y), COLOURS[index])
        axes.text(last + .45, y, label, fontsize=11, fontweight='bold', color=COLOURS[index], va='center')
    for x in grid.joints:
        axes.add_patch(Circle((x, grid.middle), .035, color=TEXT, zorder=3))


def draw_legend(axes: 'Axes', count: int, y: float) -> None:
    """What the dots mean, where `count` classes are shown."""
    shown = COLOURS[:count]
    entries: list[tuple[Sequence[Sequence[str]], str]] = [
        ([[ALL]], 'works for every class'),
        ([[colour] for colour in shown], 'for this class' if count == 1 else 'for one of these only'),
        *([([shown], 'for both' if count == 2 else 'for several')] if count > 1 else []),
        ([[]], 'rests'),
    ]
    x = NUMBERS
    for dots, text in entries:
        for colours in dots:
            draw_dot(axes, x, y, .09, colours)
            x += .22
        axes.text(x - .05, y, text, fontsize=9.5, color=TEXT, va='center')
        x += .35 + .075 * len(text)
