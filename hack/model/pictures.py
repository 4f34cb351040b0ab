"""Pictures of vehicles, drawn from the Noto Color Emoji font.

One generator for everything: what the model is trained on, what its accuracy
is measured on, and the sample pictures. A picture is a function of its
``random.Random`` alone, so the same seed gives the same picture on the same
machine (see README.md for what "same" covers).

A picture is a scene (backdrop, clutter, sometimes a tree or a house), one
vehicle put on it (scaled, squeezed, turned, mirrored, partly covered or cut by
the border) and what a camera and a JPEG encoder then do to it.
"""

import colorsys
import functools
import io
import pathlib
import random
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from commandline import Parser, at_least

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
# The font holds bitmaps of this one size (in pixels per em).
FONT_SIZE = 109

# Class index -> (label, the glyphs that show it). The order is the model's.
CLASSES = [
    ("fire engine", ["\U0001F692"]),
    ("ambulance", ["\U0001F691"]),
    ("police car", ["\U0001F693", "\U0001F694"]),
    ("taxi", ["\U0001F695", "\U0001F696"]),
    ("car", ["\U0001F697", "\U0001F698"]),
    ("bus", ["\U0001F68C", "\U0001F68D"]),
    ("tractor", ["\U0001F69C"]),
    ("bicycle", ["\U0001F6B2"]),
    ("motorcycle", ["\U0001F3CD"]),
    ("locomotive", ["\U0001F682"]),
    ("sailboat", ["\u26F5"]),
    ("helicopter", ["\U0001F681"]),
]
LABELS = [label for label, _ in CLASSES]

# Things that are no vehicle: deciduous and evergreen tree, house, office
# building, cactus, sunflower, cloud, traffic light, fuel pump, dog, balloon.
CLUTTER = [
    "\U0001F333", "\U0001F332", "\U0001F3E0", "\U0001F3E2", "\U0001F335", "\U0001F33B",
    "\u2601", "\U0001F6A6", "\u26FD", "\U0001F415", "\U0001F388",
]

SIZES = [(320, 240), (400, 300), (480, 360), (640, 480), (800, 600), (1024, 768), (1280, 960), (480, 480), (640, 512), (720, 540)]


@functools.lru_cache(maxsize=None)
def glyph(char):
    """The glyph as RGBA, cut to what is visible of it."""
    font = ImageFont.truetype(FONT, FONT_SIZE)
    canvas = Image.new("RGBA", (192, 192))
    ImageDraw.Draw(canvas).text((24, 24), char, font=font, embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise ValueError(f"{FONT} has no colour glyph for U+{ord(char):X}")
    return canvas.crop(box)


def colour(rng, saturation=(0.0, 0.9), value=(0.15, 1.0), hue=(0.0, 1.0)):
    """A random RGB colour, uniform in these ranges of HSV (each 0 to 1)."""
    r, g, b = colorsys.hsv_to_rgb(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))
    return int(r * 255), int(g * 255), int(b * 255)


def smooth_noise(rng, width, height, cells):
    """Value noise in 0..1: a coarse random grid, enlarged smoothly."""
    grid = np.frombuffer(rng.randbytes(cells * cells), np.uint8).reshape(cells, cells)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.BICUBIC), np.float32) / 255


def gradient(rng, width, height, ends=None):
    """Two colours (ends, or random ones) blended along a random direction."""
    a, b = (np.array(c, np.float32) for c in ends or (colour(rng), colour(rng)))
    dx, dy = rng.uniform(-1, 1), rng.uniform(-1, 1)
    t = dx * np.linspace(-1, 1, width, dtype=np.float32)[None, :] + dy * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    t = ((t + 2) / 4)[..., None]
    return Image.fromarray((a + (b - a) * t).astype(np.uint8))


def clouds(rng, width, height, ends=None):
    """Two colours (ends, or random ones) mixed by value noise of two grains: grass, gravel, cloud."""
    a, b = (np.array(c, np.float32) for c in ends or (colour(rng), colour(rng)))
    t = 0.6 * smooth_noise(rng, width, height, rng.randint(2, 6)) + 0.4 * smooth_noise(rng, width, height, rng.randint(12, 40))
    return Image.fromarray((a + (b - a) * t[..., None]).astype(np.uint8))


def landscape(rng, width, height, natural=False):
    """Sky over ground, in natural colours or (half of the time) in any, with a skyline of boxes now and then."""
    above, below = None, None
    if natural or rng.random() < 0.5:
        above = [colour(rng, (0.1, 0.5), (0.7, 1.0), (0.5, 0.62)) for _ in range(2)]
        below = rng.choice((
            [colour(rng, (0.3, 0.6), (0.35, 0.7), (0.2, 0.35)) for _ in range(2)],  # grass
            [colour(rng, (0.0, 0.1), (0.3, 0.6)) for _ in range(2)],  # asphalt
            [colour(rng, (0.2, 0.5), (0.6, 0.9), (0.08, 0.13)) for _ in range(2)],  # sand
        ))
    sky, ground = gradient(rng, width, height, above), clouds(rng, width, height, below)
    horizon = int(height * rng.uniform(0.35, 0.75))
    if rng.random() < 0.5:
        draw = ImageDraw.Draw(sky)
        x = 0
        while x < width:
            w = max(4, int(width * rng.uniform(0.05, 0.2)))
            top = horizon - int(height * rng.uniform(0.02, 0.3))
            draw.rectangle((x, top, x + w, horizon), fill=colour(rng, (0, 0.5)))
            x += w
    sky.paste(ground.crop((0, horizon, width, height)), (0, horizon))
    return sky


def stripes(rng, width, height):
    """Stripes or checks of two colours."""
    step = max(3, int(min(width, height) * rng.uniform(0.04, 0.25)))
    a, b = np.array(colour(rng), np.uint8), np.array(colour(rng), np.uint8)
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    if rng.random() < 0.5:
        mask = ((x // step) + (y // step)) % 2 == 0
    else:
        mask = ((x + int(rng.uniform(-1, 1) * 4) * y // 4) // step) % 2 == 0
    return Image.fromarray(np.where(mask[..., None], a, b))


def scribble(rng, image, count, reach):
    """Draws count random shapes, each at most reach (a share of the shorter side) wide."""
    draw = ImageDraw.Draw(image)
    width, height = image.size
    side = min(width, height)
    for _ in range(count):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        w, h = side * rng.uniform(0.1, 1) * reach, side * rng.uniform(0.1, 1) * reach
        kind = rng.randrange(3)
        if kind == 0:
            draw.rectangle((x - w / 2, y - h / 2, x + w / 2, y + h / 2), fill=colour(rng))
        elif kind == 1:
            draw.ellipse((x - w / 2, y - h / 2, x + w / 2, y + h / 2), fill=colour(rng))
        else:
            draw.line((x - w, y - h, x + w, y + h), fill=colour(rng), width=max(1, int(side * rng.uniform(0.004, 0.03))))


def put(rng, image, char, size, centre, degrees, squeeze=1.0):
    """Puts a glyph on the image: size is its longer side, centre its middle, in pixels.

    Returns the box that it takes up (left, top, right, bottom).
    """
    g = glyph(char)
    scale = size / max(g.size)
    w, h = max(2, round(g.width * scale * squeeze ** 0.5)), max(2, round(g.height * scale / squeeze ** 0.5))
    g = g.resize((w, h), Image.BICUBIC if scale > 1 else Image.BOX)
    if rng.random() < 0.5:
        g = g.transpose(Image.FLIP_LEFT_RIGHT)
    # Turned with premultiplied alpha: else the edge takes on the black of what is transparent.
    g = g.convert("RGBa").rotate(degrees, Image.BICUBIC, expand=True).convert("RGBA")
    left, top = round(centre[0] - g.width / 2), round(centre[1] - g.height / 2)
    image.paste(g, (left, top), g)
    return left, top, left + g.width, top + g.height


def cover(rng, image, box):
    """Hides a strip or a patch of at most a fifth of the box."""
    left, top, right, bottom = box
    w, h = right - left, bottom - top
    share = rng.uniform(0.03, 0.2)
    if rng.random() < 0.5:
        strip = w * share * 0.6
        x = rng.uniform(left, right - strip)
        area = (x, top, x + strip, bottom)
    else:
        pw, ph = w * share ** 0.5, h * share ** 0.5
        x, y = rng.uniform(left, right - pw), rng.uniform(top, bottom - ph)
        area = (x, y, x + pw, y + ph)
    ImageDraw.Draw(image).rectangle(area, fill=colour(rng))


def camera(rng, image, strength):
    """Light, colour, white balance, focus and sensor noise; strength 0 leaves the image alone, 1 is the most."""
    for enhance, reach in ((ImageEnhance.Brightness, 0.35), (ImageEnhance.Contrast, 0.35), (ImageEnhance.Color, 0.4)):
        image = enhance(image).enhance(1 + strength * rng.uniform(-reach, reach))
    gains = [1 + strength * rng.uniform(-0.12, 0.12) for _ in range(3)]
    image = image.point([min(255, round(v * gain)) for gain in gains for v in range(256)])
    side = min(image.size)
    if rng.random() < 0.4 * strength:
        image = image.filter(ImageFilter.GaussianBlur(side * rng.uniform(0.001, 0.009)))
    if rng.random() < 0.5 * strength:
        sigma = rng.uniform(2, 20)
        noise = np.random.default_rng(rng.getrandbits(64)).normal(0, sigma, (image.height, image.width, 3))
        image = Image.fromarray(np.clip(np.asarray(image, np.float32) + noise, 0, 255).astype(np.uint8))
    return image


def picture(rng, index, width, height, clear=False):
    """Draws one picture of the class with this index; an RGB image of width x height pixels.

    clear makes it easy on a person: a larger, whole, mostly upright vehicle and
    little noise. The pictures to train and to measure on are not clear.
    """
    side = min(width, height)
    if clear:
        image = landscape(rng, width, height, natural=True)
    else:
        image = rng.choice((gradient, clouds, landscape, landscape, stripes))(rng, width, height)
        scribble(rng, image, rng.randint(0, 8), 0.4)
    for _ in range(rng.randint(0, 2)):
        spot = (width * rng.uniform(0, 1), height * rng.uniform(0.1, 0.7))
        put(rng, image, rng.choice(CLUTTER), side * rng.uniform(0.12, 0.35), spot, rng.uniform(-8, 8))

    char = rng.choice(CLASSES[index][1])
    if clear:
        size, reach, degrees, squeeze = side * rng.uniform(0.6, 0.85), 0.08, rng.uniform(-10, 10), rng.uniform(0.92, 1.08)
    else:
        size, reach, degrees, squeeze = side * rng.uniform(0.38, 1.0), 0.2, rng.uniform(-25, 25), rng.uniform(0.8, 1.25)
    # The middle may lie so far out that up to about a quarter of the vehicle is cut off.
    room_x, room_y = max(0, (width - size) / 2), max(0, (height - size) / 2)
    x = width / 2 + rng.uniform(-1, 1) * (room_x + (0 if clear else reach * size))
    y = height / 2 + rng.uniform(-1, 1) * (room_y + (0 if clear else reach * size))
    box = put(rng, image, char, size, (x, y), degrees, squeeze)
    if not clear:
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            cover(rng, image, box)
    return camera(rng, image, 0.3 if clear else 1.0)


def jpeg(image, quality):
    """The image's JPEG file, as bytes; quality is 1 to 95."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def training(seed, number, side):
    """One picture to train on: (uint8 RGB array of side x side, class index).

    It is drawn at 1 to 2 times that size in one of the usual shapes, kept as a
    JPEG, and then stretched to the square as the model server does it, with or
    without averaging over the pixels between (servers differ in that).
    """
    rng = random.Random(f"training {seed} {side} {number}")
    index = number % len(CLASSES)
    width, height = rng.choice(SIZES)
    scale = side * rng.uniform(1, 2) / min(width, height)
    width, height = round(width * scale), round(height * scale)
    image = picture(rng, index, width, height, clear=rng.random() < 0.2)
    image = Image.open(io.BytesIO(jpeg(image, rng.randint(30, 95))))
    if rng.random() < 0.5:
        image = image.resize((side, side), Image.BILINEAR)
    else:
        image = image.transform((side, side), Image.AFFINE, (width / side, 0, 0, 0, height / side, 0), Image.BILINEAR)
    return np.asarray(image), index


def held_out(seed, count):
    """Yields count pairs (JPEG bytes, class index), classes in turn, of the sizes in SIZES and qualities 30 to 95."""
    for i in range(count):
        rng = random.Random(f"held-out {seed} {i}")
        index = i % len(CLASSES)
        width, height = rng.choice(SIZES)
        yield jpeg(picture(rng, index, width, height), rng.randint(30, 95)), index


def sample(seed, number, index):
    """The JPEG file of a clear picture of the class, for people and for load tests."""
    rng = random.Random(f"sample {seed} {number} {index}")
    width, height = SIZES[(number * 5 + index * 3) % len(SIZES)]
    return jpeg(picture(rng, index, width, height, clear=True), 85)


def file_name(label, number):
    """fire-engine.jpg, fire-engine-2.jpg, ...; number counts from 0."""
    return label.replace(" ", "-") + (f"-{number + 1}" if number else "") + ".jpg"


def main():
    parser = Parser(description="Writes clear sample pictures of every class into a folder.")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the folder; made when missing")
    parser.add_argument("--seed", type=int, default=1, help="any integer (default 1)")
    parser.add_argument("--per-class", type=at_least(1), default=2, help="pictures a class, 1 or more (default 2)")
    parser.add_argument("--hard", action="store_true", help="draw them as for training instead of clear")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.hard:
        for i, (data, index) in enumerate(held_out(args.seed, args.per_class * len(CLASSES))):
            (args.out / file_name(LABELS[index], i // len(CLASSES))).write_bytes(data)
        return 0
    for number in range(args.per_class):
        for index, label in enumerate(LABELS):
            (args.out / file_name(label, number)).write_bytes(sample(args.seed, number, index))
    return 0


if __name__ == "__main__":
    sys.exit(main())
