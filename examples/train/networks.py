"""The two networks of examples/fashion_mnist, and their kin for colour images of 32 x 32 and 64 x 64.

Attribute names are the names of the `.stria` files, so that a `state_dict` has their keys.
"""

import math

import torch.nn as nn
import torch.nn.functional as F

from stria_layers import ConvNorm, Cross, StriaBlock, capacity


class Basic(nn.Module):
    """The basic block of ResNet: two dense 3x3 convolutions and a skip."""

    def __init__(self, inputs, width, stride=1):
        super().__init__()
        self.conv1 = ConvNorm(inputs, width, 3, stride=stride)
        self.conv2 = ConvNorm(width, width, 3)
        self.skip = ConvNorm(inputs, width, 1, stride=stride) if stride != 1 or inputs != width else None

    def forward(self, x):
        y = self.conv2(F.relu(self.conv1(x)))
        return F.relu(y + (x if self.skip is None else self.skip(x)))


class Dense(nn.Module):
    """The baseline: dense 3x3 convolutions in stages, the map halved between them."""

    def __init__(self, channels, classes, widths, blocks):
        super().__init__()
        self.stem = ConvNorm(channels, widths[0], 3)
        before = [widths[0], *widths]
        for s, (width, count) in enumerate(zip(widths, blocks)):
            first = Basic(before[s], width, stride=2 if s > 0 else 1)
            self.add_module(f"stage{s + 1}", nn.Sequential(first, *(Basic(width, width) for _ in range(count - 1))))
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x):
        for name, part in self.named_children():
            x = F.relu(part(x)) if name == "stem" else part(x.mean((2, 3)) if name == "fc" else x)
        return x


class StriaNet(nn.Module):
    """As many stripes as a ciphertext has channels at each depth; stages joined by a striped 3x3 with stride 2.

    `widths` are channels, `inner` those within the blocks (None: `auto`), `blocks` their number at each depth.
    """

    def __init__(self, channels, classes, size, widths, blocks, inner=None, kernel=Cross(3), ring=8192):
        super().__init__()
        self.stem = ConvNorm(channels, widths[0], 3)
        for s, (width, count) in enumerate(zip(widths, blocks)):
            if s > 0:
                size = (size + 1) // 2
                stripes = math.gcd(capacity(ring, size, size), widths[s - 1], width)
                self.add_module(f"down{s}", ConvNorm(widths[s - 1], width, 3, stride=2, striped=stripes))
            within = inner[s] if inner else None
            stage = [StriaBlock(width, capacity(ring, size, size), inner=within, kernel=kernel) for _ in range(count)]
            if stage:
                self.add_module(f"stage{s + 1}", nn.Sequential(*stage))
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x):
        for name, part in self.named_children():
            x = part(x.mean((2, 3)) if name == "fc" else x)
            if name == "stem" or name.startswith("down"):
                x = F.relu(x)
        return x


NETWORKS = {
    "fashion_mnist": {
        # The StriaNet's channels are 1.3 to 1.5 times those of `dense`; `narrow` multiplies 1.5 times as often as it.
        "dense": lambda: Dense(1, 10, (24, 88, 344), (1, 1, 1)),
        "narrow": lambda: Dense(1, 10, (8, 28, 56), (1, 1, 1)),
        "stria": lambda: StriaNet(1, 10, 28, (32, 128, 512), (0, 3, 3)),
    },
    "cifar10": {
        "dense": lambda: Dense(3, 10, (32, 88, 176), (2, 2, 2)),
        "stria": lambda: StriaNet(3, 10, 32, (32, 128, 512), (2, 3, 3)),
    },
    "tiny_imagenet": {
        "dense": lambda: Dense(3, 200, (32, 64, 128, 256), (2, 2, 2, 2)),
        "stria": lambda: StriaNet(3, 200, 64, (16, 64, 256, 512), (1, 3, 4, 4)),
    },
}
