"""`image_gray`: PNG -> f32[height, width], the pre-processor the manifest declares. This file is its reference.

The semantics, in order:
  1. 8-bit samples (a 16-bit sample's high byte); luma = (299 r + 587 g + 114 b + 500) // 1000; transparent parts on white:
     (luma a + 255 (255 - a) + 127) // 255; divided by 255;
  2. if the mean of the outermost ring of pixels is above 0.5, the image is inverted: ink is high;
  3. the ring's mean becomes 0 and the most ink 1, cut off at 0; less than 0.1 between them is a blank image;
  4. the bounding box of all ink of at least THRESHOLD;
  5. cells = the longer of box width / WIDTH and box height / HEIGHT, times 1 + 2 MARGIN; the grid of WIDTH x HEIGHT cells is
     centred on the box; a cell is the mean over its area, with nothing outside the box; times SCALE.
"""

import numpy as np
from PIL import Image

WIDTH, HEIGHT, THRESHOLD, MARGIN, SCALE = 8, 8, 0.25, 0.0, 1.0


def gray(path):
    """Step 1, for files of 8-bit samples."""
    rgba = np.asarray(Image.open(path).convert("RGBA"), np.int64)
    luma = (299 * rgba[..., 0] + 587 * rgba[..., 1] + 114 * rgba[..., 2] + 500) // 1000
    return (luma * rgba[..., 3] + 255 * (255 - rgba[..., 3]) + 127) // 255 / 255.0


def overlaps(start, cell, cells, low, high):
    """[cells, high]: how much of each pixel from `low` to `high` each cell covers."""
    pixels, edges = np.arange(high), start + cell * np.arange(cells + 1)
    parts = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.where(pixels >= low, np.clip(parts, 0, None), 0)


def features(image):
    """Steps 2 to 5, of an array of values from 0 to 1."""
    ring = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    background = ring.mean()
    if background > 0.5:
        image, background = 1 - image, 1 - background
    span = image.max() - background
    if span < 0.1:
        raise ValueError("the image is blank")
    ink = np.clip((image - background) / span, 0, 1)
    rows, columns = np.flatnonzero((ink >= THRESHOLD).any(1)), np.flatnonzero((ink >= THRESHOLD).any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    cell = max((right - left) / WIDTH, (bottom - top) / HEIGHT) * (1 + 2 * MARGIN)
    across = overlaps((left + right) / 2 - cell * WIDTH / 2, cell, WIDTH, left, right)
    down = overlaps((top + bottom) / 2 - cell * HEIGHT / 2, cell, HEIGHT, top, bottom)
    return (down @ ink[:bottom, :right] @ across.T / cell**2 * SCALE).astype(np.float32)
