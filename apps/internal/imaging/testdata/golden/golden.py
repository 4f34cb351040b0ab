"""Writes the pictures and golden.json beside this file: what Pillow and numpy
make of each picture for a model of some shape, computed without any of this
project's code. Run with Debian 12's python3-pil 9.4 and python3-numpy 1.24:

    /usr/bin/python3 golden.py
"""

import json
import pathlib

import numpy as np
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
IMAGENET = {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
PLAIN = {"scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1]}
GREY = {"scale": 1 / 255, "mean": [0.5], "std": [0.25]}


def scene(width, height):
    """Smooth, so that formats that lose detail lose little, and without symmetry."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    red = 40 + 170 * x / width
    green = 60 + 140 * y / height
    blue = 128 + 90 * np.sin(2 * np.pi * (x / width + 0.5 * y / height))
    return np.stack([red, green, blue], axis=-1).round().astype(np.uint8)


def pictures():
    picture = Image.fromarray(scene(60, 40))
    alpha = np.tile(np.linspace(0, 255, 60).round().astype(np.uint8), (40, 1))
    picture.save(HERE / "plain.png")
    picture.convert("L").save(HERE / "grey.png")
    picture.quantize(32).save(HERE / "palette.gif")
    picture.save(HERE / "plain.bmp")
    picture.save(HERE / "lossless.webp", lossless=True)
    picture.save(HERE / "lossy.webp", quality=95)
    translucent = picture.convert("RGBA")
    translucent.putalpha(Image.fromarray(alpha))
    translucent.save(HERE / "translucent.png")
    large = Image.fromarray(scene(240, 160))
    large.save(HERE / "baseline.jpg", quality=95)
    Image.fromarray(scene(40, 24)).save(HERE / "small.jpg", quality=95)
    large.save(HERE / "progressive.jpg", quality=95, progressive=True)
    large.convert("L").save(HERE / "grey.jpg", quality=95)
    large.convert("CMYK").save(HERE / "cmyk.jpg", quality=95)
    for value in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = value
        large.save(HERE / f"exif-{value}.jpg", quality=95, exif=exif)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(HERE / "exif-6.png", exif=exif)
    picture.save(HERE / "exif-6.webp", lossless=True, exif=exif)


def opened(name):
    picture = ImageOps.exif_transpose(Image.open(HERE / name))
    if picture.mode in ("RGBA", "LA", "PA"):
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture.convert("RGBA"))
    return picture.convert("RGB")


def resized(picture, width, height, resize, shorter=0, pad=0):
    if resize == "stretch":
        return picture.resize((width, height), Image.BILINEAR)
    w, h = picture.size
    if resize == "crop":
        factor = min(w, h) / shorter if shorter else min(w / width, h / height)
        left, top = (w - factor * width) / 2, (h - factor * height) / 2
        return picture.resize((width, height), Image.BILINEAR, box=(left, top, left + factor * width, top + factor * height))
    fitted = ImageOps.contain(picture, (width, height), Image.BILINEAR)
    ground = Image.new("RGB", (width, height), (pad, pad, pad))
    ground.paste(fitted, ((width - fitted.width) // 2, (height - fitted.height) // 2))
    return ground


def case(name, picture, width, height, resize, normal, layout="NCHW", color="RGB", dtype="float32", shorter=0, pad=0):
    small = resized(opened(picture), width, height, resize, shorter, pad)
    values = np.asarray(small.convert("L"))[..., None] if color == "GRAY" else np.asarray(small)
    if color == "BGR":
        values = values[..., ::-1]
    tensor = (values * normal["scale"] - np.array(normal["mean"])) / np.array(normal["std"])
    if layout == "NCHW":
        tensor = tensor.transpose(2, 0, 1)
    tensor = tensor.astype(dtype)
    return {
        "name": name, "picture": picture, "width": width, "height": height, "resize": resize, "shorter_side": shorter,
        "pad": pad, "layout": layout, "color": color, "dtype": dtype, **normal,
        "tensor": [round(float(v), 5) for v in tensor.flatten()],
    }


def main():
    pictures()
    cases = [
        case("stretch, ImageNet's normalization", "plain.png", 12, 9, "stretch", IMAGENET),
        case("stretch to a larger size", "plain.png", 70, 8, "stretch", PLAIN, dtype="uint8"),
        case("crop to what covers", "plain.png", 10, 12, "crop", IMAGENET),
        case("shorter side to 16, then the centre", "plain.png", 12, 12, "crop", IMAGENET, shorter=16),
        case("letterbox on grey", "plain.png", 12, 12, "letterbox", PLAIN, pad=114),
        case("NHWC", "plain.png", 8, 6, "stretch", IMAGENET, layout="NHWC"),
        case("BGR, float16", "plain.png", 8, 6, "stretch", PLAIN, color="BGR", dtype="float16"),
        case("uint8, NHWC", "plain.png", 8, 6, "stretch", PLAIN, layout="NHWC", dtype="uint8"),
        case("one channel", "plain.png", 8, 6, "stretch", GREY, color="GRAY"),
        case("a grey picture for three channels", "grey.png", 8, 6, "stretch", IMAGENET),
        case("transparency on white", "translucent.png", 8, 6, "stretch", PLAIN),
        case("a palette", "palette.gif", 8, 6, "stretch", PLAIN),
        case("BMP", "plain.bmp", 8, 6, "stretch", PLAIN),
        case("WebP without loss", "lossless.webp", 8, 6, "stretch", PLAIN),
        case("WebP with loss", "lossy.webp", 8, 6, "stretch", PLAIN),
        case("JPEG at its own size", "small.jpg", 40, 24, "stretch", {"scale": 1, "mean": [0], "std": [1]}, color="GRAY", dtype="uint8"),
        case("JPEG, made a tenth as large", "baseline.jpg", 24, 16, "stretch", PLAIN),
        case("progressive JPEG", "progressive.jpg", 30, 20, "crop", IMAGENET),
        case("grey JPEG", "grey.jpg", 30, 20, "letterbox", PLAIN),
        case("CMYK JPEG", "cmyk.jpg", 30, 20, "stretch", PLAIN),
        case("PNG on its side", "exif-6.png", 8, 6, "crop", PLAIN),
        case("WebP on its side", "exif-6.webp", 8, 6, "letterbox", PLAIN),
    ]
    cases += [case(f"EXIF orientation {v}", f"exif-{v}.jpg", 9, 7, "letterbox", PLAIN) for v in range(1, 9)]
    (HERE / "golden.json").write_text("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")


main()
