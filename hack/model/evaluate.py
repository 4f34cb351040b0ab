"""Measures a running model server on held-out pictures: POST / for each, then the share that it got right.

This goes through the exported file and everything around it (JPEG decoder,
resizing, ONNX Runtime), unlike train.py, which measures its own network.
"""

import json
import pathlib
import sys
import urllib.error
import urllib.parse
import urllib.request

import pictures
from commandline import Parser, at_least, fraction


def classify(url, jpeg, timeout):
    """The server's answer to one picture: (label, probability)."""
    request = urllib.request.Request(url, data=jpeg, headers={"Content-Type": "image/jpeg"})
    with urllib.request.urlopen(request, timeout=timeout) as response:
        best = json.load(response)["predictions"][0]
    return best["label"], best["probability"]


def arguments():
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:6001/", help="the model server (default %(default)s)")
    parser.add_argument("--count", type=at_least(1), default=1200, help="held-out pictures, 1 or more (default 1200)")
    parser.add_argument("--seed", type=int, default=1, help="of the held-out pictures (default 1, as train.py's)")
    parser.add_argument("--samples", type=pathlib.Path, help="a folder of LABEL.jpg and LABEL-N.jpg that must all be right")
    parser.add_argument("--timeout", type=float, default=10, help="seconds to wait for one answer, more than 0 (default 10)")
    parser.add_argument("--minimum", type=fraction, default=0.97, help="accuracy below which to fail, 0 to 1 (default 0.97)")
    args = parser.parse_args()
    if args.timeout <= 0:
        parser.error(f"--timeout is {args.timeout}: it must be more than 0")
    if urllib.parse.urlsplit(args.url).scheme not in ("http", "https"):
        parser.error(f"--url is {args.url}: it must begin with http:// or https://")
    return args


def samples(folder):
    """Yields (file name, JPEG bytes, label) of a samples folder."""
    names = {pictures.file_name(label, 0).removesuffix(".jpg"): label for label in pictures.LABELS}
    files = sorted(folder.glob("*.jpg"))
    if not files:
        raise ValueError(f"--samples {folder} has no .jpg files")
    for file in files:
        stem = file.stem
        if stem not in names:
            stem = stem.rpartition("-")[0]
        if stem not in names:
            raise ValueError(f"{file} is named after no label; labels are {', '.join(names)}")
        yield file.name, file.read_bytes(), names[stem]


def main():
    args = arguments()
    wrong_samples = 0
    right = {label: 0 for label in pictures.LABELS}
    total = dict(right)
    try:
        if args.samples:
            least = 1.0
            for name, data, truth in samples(args.samples):
                label, probability = classify(args.url, data, args.timeout)
                least = min(least, probability)
                if label != truth:
                    wrong_samples += 1
                    print(f"{name}: {label} ({probability:.3f})")
            print(f"samples: {wrong_samples} wrong; least probability {least:.3f}")
        for data, index in pictures.held_out(args.seed, args.count):
            truth = pictures.LABELS[index]
            total[truth] += 1
            right[truth] += classify(args.url, data, args.timeout)[0] == truth
    except urllib.error.HTTPError as err:
        print(f"{args.url} answered {err.code}: {err.read(500).decode(errors='replace').strip()}", file=sys.stderr)
        return 1
    except KeyError as err:
        print(f"{args.url}: the answer has no {err}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as err:
        print(f"measuring {args.url}: {err}", file=sys.stderr)
        return 1
    for label in pictures.LABELS:
        if total[label]:
            print(f"{label:12} {right[label]:4} of {total[label]}")
    accuracy = sum(right.values()) / args.count
    print(f"held-out accuracy {accuracy:.4f} of {args.count} pictures")
    return 0 if accuracy >= args.minimum and not wrong_samples else 1


if __name__ == "__main__":
    sys.exit(main())
