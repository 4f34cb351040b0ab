"""Trains the bundled model on pictures.py's pictures and exports it as ONNX.

SqueezeNet 1.1 (Iandola et al., arXiv:1602.07360, and its authors' v1.1) with
batch normalisation after every convolution, which is folded into the
convolutions before the export: the file holds a plain SqueezeNet 1.1.
"""

import collections
import io
import math
import multiprocessing
import os
import pathlib
import sys
import time

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

import pictures
from commandline import Parser, at_least, fraction

SIDE = 224
# Per-channel mean and deviation of the input in 0..1, RGB; the same numbers stand in model.yaml.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OPSET = 13


class Convolution(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs, outputs, kernel, stride=1, padding=0):
        super().__init__(
            collections.OrderedDict(
                conv=nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
                norm=nn.BatchNorm2d(outputs),
                relu=nn.ReLU(inplace=True),
            )
        )

    def fold(self):
        """Moves the normalisation into the convolution's weights; for evaluation only."""
        self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


class Fire(nn.Module):
    """SqueezeNet's block: squeeze by 1x1, expand by 1x1 and 3x3 side by side."""

    def __init__(self, inputs, squeeze, expand):
        super().__init__()
        self.squeeze = Convolution(inputs, squeeze, 1)
        self.expand1 = Convolution(squeeze, expand, 1)
        self.expand3 = Convolution(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = self.squeeze(x)
        return torch.cat([self.expand1(x), self.expand3(x)], 1)


class Net(nn.Module):
    """SqueezeNet 1.1 from normalised RGB (N, 3, H, W) to logits (N, classes)."""

    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(
            Convolution(3, 64, 3, stride=2), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(64, 16, 64), Fire(128, 16, 64), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(128, 32, 128), Fire(256, 32, 128), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
        )
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Conv2d(512, classes, 1)

    def forward(self, x):
        x = self.classifier(self.dropout(self.features(x)))
        return torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1)

    def fold(self):
        """Folds every batch normalisation; the net must be in evaluation mode."""
        for module in list(self.modules()):
            if isinstance(module, Convolution):
                module.fold()


def normalise(batch):
    """uint8 (N, H, W, 3) to the net's float input."""
    x = batch.permute(0, 3, 1, 2).float().div_(255)
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    return x.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)


def draw(job):
    return pictures.training(*job)


def dataset(pool, seed, count, side):
    """Draws count training pictures: (uint8 tensor N x side x side x 3, class indices)."""
    x, y = np.empty((count, side, side, 3), np.uint8), np.empty(count, np.int64)
    for i, (image, index) in enumerate(pool.imap(draw, ((seed, i, side) for i in range(count)), chunksize=32)):
        x[i], y[i] = image, index
    return torch.from_numpy(x), torch.from_numpy(y)


def fit(net, x, y, epochs, batch, peak, generator, log):
    """Trains with AdamW under one cosine cycle with a warm-up; peak is the highest learning rate."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=peak, weight_decay=0.01)
    steps = epochs * (len(x) // batch)
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min((s + 1) / warm, 0.5 * (1 + math.cos(math.pi * max(0, s - warm) / max(1, steps - warm))) + 0.001)
    )
    net.train()
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        loss_sum = right = seen = 0
        for start in range(0, len(x) - batch + 1, batch):
            pick = order[start : start + batch]
            inputs = normalise(x[pick])
            if torch.rand((), generator=generator) < 0.5:
                inputs = inputs.flip(3)
            logits = net(inputs)
            loss = functional.cross_entropy(logits, y[pick], label_smoothing=0.05)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            loss_sum += loss.item() * len(pick)
            right += (logits.argmax(1) == y[pick]).sum().item()
            seen += len(pick)
        log(f"  {x.shape[1]} px, epoch {epoch + 1}/{epochs}: loss {loss_sum / seen:.3f}, accuracy on what it trains on {right / seen:.4f}")


def square(jpeg):
    """A JPEG file as the net sees it: decoded and stretched to SIDE x SIDE, uint8."""
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB").resize((SIDE, SIDE), Image.BILINEAR))


def predict(net, files):
    """Probabilities (len(files), classes) for JPEG files."""
    with torch.no_grad():
        parts = [
            net(normalise(torch.from_numpy(np.stack([square(f) for f in files[i : i + 32]])))).softmax(1)
            for i in range(0, len(files), 32)
        ]
    return torch.cat(parts)


def replace(path, data):
    """Writes a file so that a reader sees the old or the new one, never half of it."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def export(net):
    """The net as an ONNX file's bytes: input "input" (N, 3, 224, 224), output "logits" (N, classes)."""
    out = io.BytesIO()
    net = net.to(memory_format=torch.contiguous_format)
    torch.onnx.export(
        net, torch.zeros(1, 3, SIDE, SIDE), out, opset_version=OPSET,
        input_names=["input"], output_names=["logits"], dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
    )
    return out.getvalue()


def arguments():
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the model's folder; made when missing")
    parser.add_argument("--seed", type=int, default=1, help="of weights, order and pictures (default 1)")
    parser.add_argument("--threads", type=at_least(1), default=2, help="threads and drawing processes, 1 or more (default 2)")
    parser.add_argument("--small", type=at_least(64), default=12000, help="pictures of 112 px, 64 or more (default 12000)")
    parser.add_argument("--small-epochs", type=at_least(1), default=5, help="passes over them, 1 or more (default 5)")
    parser.add_argument("--full", type=at_least(32), default=3600, help="pictures of 224 px, 32 or more (default 3600)")
    parser.add_argument("--full-epochs", type=at_least(1), default=3, help="passes over them, 1 or more (default 3)")
    parser.add_argument("--held-out", type=at_least(12), default=1200, help="pictures to measure on, 12 or more (default 1200)")
    parser.add_argument("--minimum", type=fraction, default=0.97, help="held-out accuracy below which nothing is written, 0 to 1 (default 0.97)")
    return parser.parse_args()


def main():
    args = arguments()
    start = time.monotonic()

    def log(text):
        print(f"{time.monotonic() - start:7.1f} s  {text}", file=sys.stderr, flush=True)

    # Forked before torch has threads of its own.
    with multiprocessing.Pool(args.threads) as pool:
        log(f"drawing {args.small} pictures of 112 px")
        small = dataset(pool, args.seed, args.small, 112)
        log(f"drawing {args.full} pictures of {SIDE} px")
        full = dataset(pool, args.seed, args.full, SIDE)

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    torch.use_deterministic_algorithms(True)
    order = torch.Generator().manual_seed(args.seed)
    net = Net(len(pictures.LABELS)).to(memory_format=torch.channels_last)
    log("training")
    fit(net, *small, args.small_epochs, 64, 3e-3, order, log)
    fit(net, *full, args.full_epochs, 32, 6e-4, order, log)
    net.eval()
    net.fold()

    log(f"measuring on {args.held_out} held-out pictures")
    files, truth = zip(*pictures.held_out(args.seed, args.held_out))
    guess = predict(net, files).argmax(1)
    truth = torch.tensor(truth)
    for index, label in enumerate(pictures.LABELS):
        mine = truth == index
        log(f"  {label:12} {(guess[mine] == index).float().mean().item():.4f}")
    accuracy = (guess == truth).float().mean().item()
    log(f"held-out accuracy {accuracy:.4f} of {args.held_out} pictures")
    if accuracy < args.minimum:
        print(f"held-out accuracy {accuracy:.4f} is below --minimum {args.minimum}: nothing was written", file=sys.stderr)
        return 1

    samples = {
        pictures.file_name(label, number): (index, pictures.sample(args.seed, number, index))
        for number in range(2)
        for index, label in enumerate(pictures.LABELS)
    }
    sure = predict(net, [data for _, data in samples.values()])
    for (name, (index, _)), row in zip(samples.items(), sure):
        if row.argmax().item() != index:
            print(f"sample {name} is taken for {pictures.LABELS[row.argmax().item()]}: nothing was written", file=sys.stderr)
            return 1
    log(f"{len(samples)} samples are all classified rightly; the least sure has probability {sure.max(1).values.min().item():.3f}")

    (args.out / "samples").mkdir(parents=True, exist_ok=True)
    for name, (_, data) in samples.items():
        replace(args.out / "samples" / name, data)
    replace(args.out / "labels.txt", "".join(label + "\n" for label in pictures.LABELS).encode())
    replace(args.out / "model.onnx", export(net))
    log(f"wrote {args.out / 'model.onnx'}, labels.txt and samples/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
