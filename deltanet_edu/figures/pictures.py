"""Twelve little pictures of 8 x 8 pixels: values that a reader recognizes, and notices when they come back damaged."""

from .style import array, colors, subplots

NAMES = ("cat", "house", "heart", "tree", "fish", "key", "moon", "cup", "boat", "ghost", "flower", "arrow")
PIXELS = """
#......# ...##... .##..##. ...##... ........ .####... ..####.. ........ ....#... ..####.. ..#..#.. ...##...
##....## ..####.. ######## ..####.. ..###..# ##..##.. .###.... .#####.. ....##.. .######. .##..##. ....##..
######## .######. ######## .######. .####.## ##..##.. ###..... .#####.# ....###. ##.##.## ..####.. .....##.
#.####.# ######## ######## ######## ######## .######. ###..... .#####.# ....#### ##.##.## ...##... ########
######## .##..##. .######. ..####.. ######## ....###. ###..... .######. ....#... ######## .#.##.#. ########
##.##.## .######. .######. .######. .####.## .....### ###..... .#####.. ######## ######## .######. .....##.
.######. .##.###. ..####.. ######## ..###..# .....##. .###.... .#####.. .######. ######## ...##... ....##..
..####.. .##.###. ...##... ...##... ........ ......## ..####.. ..###... ..####.. #.#..#.# ...##... ...##...
"""


def pictures():
    """The names, and the pictures as a float64 tensor (12, 64): +1 for ink, -1 for paper, row by row."""
    import torch

    rows = [line.split() for line in PIXELS.split("\n") if line]          # 8 lines of 12 pieces
    X = [[1.0 if pixel == "#" else -1.0 for row in rows for pixel in row[n]] for n in range(len(NAMES))]
    return list(NAMES), torch.tensor(X, dtype=torch.float64)


def show_pictures(images, titles=None, *, limit=1.0, columns=6):
    """Draw pictures, (N, 64), in gray, in rows of `columns`; +limit is black, -limit white. Returns the figure."""
    images = array(images)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    names = ["" if title in NAMES else f"{title}, " for title in titles or [""] * len(images)]
    said = "; ".join(name + seen(x) for name, x in zip(names, images))
    figure, axes = subplots(f"Little gray pictures of 8 by 8 pixels. {said}.", rows, columns, squeeze=False,
                            figsize=(1.35 * columns, 1.6 * rows))
    for n, ax in enumerate(axes.flat):
        if n >= len(images):
            ax.axis("off")
            continue
        ax.imshow(images[n].reshape(8, 8), cmap="gray_r", vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color=colors.light)
        ax.grid(False)
        if titles:
            ax.set_title(titles[n], fontsize=10, loc="center")
    return figure


def seen(image):
    """Which of the twelve an image looks like, and how many of its 64 pixels have the wrong sign."""
    names, originals = pictures()
    wrong = (array(originals) * image <= 0).sum(1)
    best = int(wrong.argmin())
    return f"the {names[best]}" + (f" with {wrong[best]} of 64 pixels wrong" if wrong[best] else "")
