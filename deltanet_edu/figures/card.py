"""A figure as a card: a picture with rounded corners, at home on light and dark pages, that carries its words.

JupyterLab gives an image of its own kind (image/png) no alternative text, whatever its metadata say. HTML it leaves as
it is, and so do GitHub, Colab and VS Code: hence an <img> with alt.
"""

import base64
import html
import io

import numpy as np

from .style import colors, words

DPI = 180                                        # two pixels for each of the page's: sharp on a good screen
CORNER, LEVELS = 16, 16                          # pixels; steps from transparent to opaque along a rounded corner
SHADES = 256 - LEVELS                            # what is left of a palette for the picture itself
FEW = 64                                         # enough for lines, letters and a few areas, in a fifth fewer bytes


def install(shell):
    """From now on this IPython shell shows every figure as a card."""
    import matplotlib.pyplot                 # noqa: F401  first, since it sets a format of its own
    from matplotlib.figure import Figure
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats()                                             # none of its own formats
    formatters = shell.display_formatter.formatters
    formatters["text/html"].for_type(Figure, tag)
    formatters["text/plain"].for_type(Figure, lambda figure, printer, cycle: printer.text(words(figure)))


def tag(figure):
    """The HTML that shows a figure."""
    picture, width = png(figure)
    return image(picture, width, words(figure))


def png(figure):
    """A figure as the bytes of a PNG file, and its width on the page."""
    from PIL import Image

    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.15)
    shaded = any(ax.get_label() == "<colorbar>" or any(len(np.unique(x.get_array())) > FEW // 2 for x in ax.images)
                 for ax in figure.axes)
    (picture,) = rounded([np.asarray(Image.open(file).convert("RGB"))], SHADES if shaded else FEW)
    return saved(picture), picture.width // 2


def image(png, width, alt):
    """An <img> that holds its picture; png: bytes, width: on the page."""
    return (f'<img width="{width}" style="max-width: 100%; height: auto" alt="{html.escape(alt)}" '
            f'src="data:image/png;base64,{base64.b64encode(png).decode()}">')


def saved(picture, **options):
    """A picture of `rounded` as the bytes of a PNG file."""
    file = io.BytesIO()
    opacity = bytes([255] * SHADES + [255 * n // LEVELS for n in range(LEVELS)])
    picture.save(file, "png", transparency=opacity, optimize=True, **options)
    return file.getvalue()


def rounded(frames, shades=SHADES):
    """Arrays (height, width, 3) of one size, in one palette of at most so many colors, framed, with rounded corners."""
    from PIL import Image

    height, width, _ = frames[0].shape
    outside, inside = (1 - corners(width, height, inset) / 255 for inset in (0, 2))
    line = np.array([int(colors.light[n:n + 2], 16) for n in (1, 3, 5)])
    framed = [(x * (1 - inside[..., None]) + line * inside[..., None]).astype(np.uint8) for x in frames]
    drawn = Image.fromarray(np.concatenate(framed)).quantize(shades, dither=Image.Dither.NONE)
    palette = (drawn.getpalette() + [0] * 768)[:3 * SHADES] + list(line) * LEVELS
    index = np.asarray(drawn).reshape(len(frames), height, width).copy()
    faint = np.minimum(SHADES + LEVELS * (1 - outside), 255).astype(np.uint8)
    index[:, outside > 0] = faint[outside > 0]
    pictures = [Image.fromarray(x, "P") for x in index]
    for picture in pictures:
        picture.putpalette([int(x) for x in palette])
    return pictures


def corners(width, height, inset):
    """The shape of a card: 255 inside, 0 outside, between them along the edge. (height, width)"""
    from PIL import Image, ImageDraw

    fine = 4
    mask = Image.new("L", (fine * width, fine * height))
    box = (fine * inset, fine * inset, fine * (width - inset) - 1, fine * (height - inset) - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, fine * (CORNER - inset), fill=255)
    return np.asarray(mask.resize((width, height), Image.Resampling.BOX), dtype=float)
