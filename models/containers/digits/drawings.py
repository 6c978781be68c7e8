"""Forty images of digits drawn for measuring, none used in training: thirty from DejaVu fonts, ten from strokes by hand.

The strokes are polylines written for this project, wobbled and drawn with a round pen; sizes, colours, margins and PNG
kinds vary, so that the pre-processor is measured as well.
"""

import io
import random

from PIL import Image, ImageDraw, ImageFont

FONTS = ["DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono-Oblique.ttf"]
FOLDER = "/usr/share/fonts/truetype/dejavu/"
STROKES = {
    0: [[(50, 5), (25, 20), (18, 50), (28, 82), (50, 95), (74, 80), (82, 50), (74, 18), (50, 5)]],
    1: [[(35, 25), (55, 5), (53, 50), (52, 95)]],
    2: [[(22, 25), (40, 6), (65, 8), (74, 28), (60, 52), (38, 74), (20, 93), (50, 90), (80, 93)]],
    3: [[(25, 12), (50, 5), (72, 18), (66, 40), (45, 48), (70, 56), (76, 78), (52, 95), (22, 86)]],
    4: [[(60, 5), (40, 32), (18, 64), (50, 63), (84, 62)], [(64, 38), (62, 66), (60, 96)]],
    5: [[(74, 6), (34, 8), (28, 44), (55, 40), (76, 58), (70, 84), (46, 95), (22, 86)]],
    6: [[(66, 6), (40, 26), (26, 56), (30, 84), (52, 95), (72, 80), (68, 58), (48, 52), (29, 66)]],
    7: [[(20, 10), (50, 9), (80, 8), (62, 40), (50, 68), (42, 95)]],
    8: [[(50, 48), (28, 32), (30, 12), (50, 5), (70, 14), (70, 32), (50, 48), (26, 68), (30, 90), (52, 96), (74, 86), (72, 66), (50, 48)]],
    9: [[(70, 32), (50, 46), (30, 38), (28, 18), (46, 5), (66, 10), (71, 32), (68, 64), (60, 95)]],
}


def from_font(digit, name, size, ink, paper):
    font = ImageFont.truetype(FOLDER + name, size)
    image = Image.new("RGB", (size * 2, size * 2), paper)
    ImageDraw.Draw(image).text((size // 2, size // 3), str(digit), ink, font)
    return image


def from_strokes(digit, size, pen, rng):
    image = Image.new("L", (size, size), 250)
    draw = ImageDraw.Draw(image)
    for stroke in STROKES[digit]:
        points = [(size * (0.15 + 0.7 * (x + rng.uniform(-3, 3)) / 100), size * (0.12 + 0.7 * (y + rng.uniform(-3, 3)) / 100)) for x, y in stroke]
        draw.line(points, fill=20, width=pen, joint="curve")
        for x, y in points:
            draw.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=20)
    return image


def png(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def drawings():
    """(name, digit, PNG bytes), the same each time."""
    rng = random.Random(4)
    for digit in range(10):
        looks = [(40, "black", "white"), (64, "#dddddd", "#101030"), (96, "#2040a0", "#f4eedd")]
        for font, (size, ink, paper) in zip(FONTS, looks):
            yield f"font-{font.split('.')[0]}-{digit}", digit, png(from_font(digit, font, size, ink, paper))
        yield f"strokes-{digit}", digit, png(from_strokes(digit, rng.choice([60, 100, 160]), rng.choice([6, 9, 12]), rng))
