"""The layers of the Stria language in PyTorch, under its names and with its meaning (src/docs/language.md).

`Conv(striped=g)` puts channel c into group c mod g, `Cross(K)` and `Strips(K)` are kernels with declared zeros,
`StriaBlock` is `stria_block`. Tensors are [batch, channels, height, width] as everywhere in PyTorch; in memory the
striped layers keep them as [channels, height, width, batch], so that a striped convolution is one batched matrix
product and a shifted image one block of memory (torch's own grouped convolution takes many times as long on a CPU
once the groups are many).

Weights have the shapes and the order of the language: [out, in / g, K, K], the rows of output channels o mod g = 0
first, then those of 1, and so on; biases are in the same order.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass(frozen=True)
class Cross:
    """`cross(K)`: the middle row and the middle column of K x K."""

    size: int


@dataclass(frozen=True)
class Strips:
    """`strips(K)`: the middle row for the first half of the output channels, the middle column for the others."""

    size: int


def capacity(ring, height, width):
    """Channels of a map in a ciphertext: `capacity(x)` of the language."""
    block = 1 << (height * width - 1).bit_length()
    return max(1, 2 * ((ring // 2) // block))


def channels_first(x):
    """[batch, channels, height, width] as [channels, height, width, batch]: how the striped layers keep it."""
    return x.permute(1, 2, 3, 0)


def batch_first(x):
    return x.permute(3, 0, 1, 2)


def channel_shuffle(x, groups):
    """Output channel j * groups + i is input channel i * (C / groups) + j."""
    if groups == 1 or groups == x.shape[1]:
        return x
    y = channels_first(x)
    y = y.reshape(groups, -1, *y.shape[1:]).transpose(0, 1)
    return batch_first(y.reshape(-1, *y.shape[2:]))


class Columns(torch.autograd.Function):
    """The pixels that each tap sees: [channels, h, w, batch] to [channels, taps, h / stride, w / stride, batch]."""

    @staticmethod
    def windows(padded, taps, stride, pad):
        height, width = padded.shape[1] - 2 * pad, padded.shape[2] - 2 * pad
        for i, j in taps:
            yield padded[:, i : i + height : stride, j : j + width : stride]

    @staticmethod
    def forward(ctx, x, taps, pad, stride):
        ctx.shape, ctx.taps, ctx.pad, ctx.stride = x.shape, taps, pad, stride
        padded = F.pad(x, (0, 0) + (pad,) * 4)
        return torch.stack(list(Columns.windows(padded, taps, stride, pad)), 1)

    @staticmethod
    def backward(ctx, gradient):
        pad, (channels, height, width, batch) = ctx.pad, ctx.shape
        total = gradient.new_zeros(channels, height + 2 * pad, width + 2 * pad, batch)
        for window, part in zip(Columns.windows(total, ctx.taps, ctx.stride, pad), gradient.unbind(1)):
            window += part
        return total[:, pad : pad + height, pad : pad + width], None, None, None


class Conv(nn.Module):
    """`conv`: dense, with contiguous `groups`, or `striped`; K, `Cross(K)` or `Strips(K)`, padded by (K - 1) / 2."""

    def __init__(self, inputs, out, kernel, stride=1, striped=1, groups=1, bias=False):
        super().__init__()
        assert striped == 1 or groups == 1, "either stripes or contiguous groups"
        self.count = striped * groups
        assert inputs % self.count == 0 and out % self.count == 0, "the groups divide the channels"
        self.inputs, self.out, self.kernel, self.stride, self.striped = inputs, out, kernel, stride, striped
        size = kernel if isinstance(kernel, int) else kernel.size
        assert size % 2 == 1, "kernels are odd"
        self.size = size
        self.weight = nn.Parameter(torch.empty(out, inputs // self.count, size, size))
        self.bias = nn.Parameter(torch.zeros(out)) if bias else None
        self.register_buffer("mask", self.support(), persistent=False)
        taps = self.mask[0].sum().item() if isinstance(kernel, Strips) else self.mask.amax(0).sum().item()
        nn.init.normal_(self.weight, std=math.sqrt(2.0 / (taps * inputs // self.count)))
        with torch.no_grad():
            self.weight.mul_(self.expanded())

    def support(self):
        """Ones where weights may be: [1 or 2 halves of the output channels, K, K]."""
        middle = self.size // 2
        row, column = torch.zeros(self.size, self.size), torch.zeros(self.size, self.size)
        row[middle], column[:, middle] = 1.0, 1.0
        if isinstance(self.kernel, Cross):
            return torch.maximum(row, column)[None]
        if isinstance(self.kernel, Strips):
            assert self.out % 2 == 0, "strips split the output channels"
            return torch.stack([row, column])
        return torch.ones(1, self.size, self.size)

    def expanded(self):
        """The support of each row of the weight, [out, 1, K, K]: strips go by the output channel, not by the row."""
        if len(self.mask) == 1:
            return self.mask[None].expand(self.out, 1, -1, -1)
        half = torch.arange(self.out, device=self.mask.device) * 2 // self.out
        return self.mask[self.by_row(half)][:, None]

    def by_row(self, values):
        """One value for each output channel, in the order of the weight's rows."""
        return values.reshape(-1, self.striped).t().reshape(-1)

    def masked(self):
        return self.weight if self.mask.numel() == self.mask.sum() else self.weight * self.expanded()

    def forward(self, x, shuffled=False):
        """`shuffled`: of `channel_shuffle(x, striped)`, which makes the stripes of the input contiguous groups of x."""
        pad = self.size // 2
        if self.count == 1 and self.inputs > 1:
            return F.conv2d(x, self.masked(), self.bias, self.stride, pad)
        g = self.count
        batch, height, width = x.shape[0], *((n - 1) // self.stride + 1 for n in x.shape[2:])
        taps = self.mask.amax(0).nonzero().tolist()
        columns = channels_first(x)
        if self.size > 1 or self.stride > 1:
            columns = Columns.apply(columns, taps, pad, self.stride)
        # To [g, in / g * taps, pixels].
        if self.striped > 1 and not shuffled:
            columns = columns.reshape(self.inputs // g, g, len(taps), -1).transpose(0, 1)
        columns = columns.reshape(g, self.inputs // g * len(taps), -1)
        weight = self.masked()
        weight = torch.stack([weight[:, :, i, j] for i, j in taps], 2).reshape(g, self.out // g, -1)
        y = torch.bmm(weight, columns)
        if self.striped > 1:
            y = y.transpose(0, 1)
        y = batch_first(y.reshape(self.out, height, width, batch))
        if self.bias is None:
            return y
        return y + self.bias.reshape(self.striped, -1).t().reshape(-1, 1, 1)


class BatchNorm(nn.BatchNorm2d):
    """`batch_norm`, without a copy where the striped layers keep the tensor."""

    def forward(self, x):
        y = channels_first(x)
        if not y.is_contiguous():
            return super().forward(x)
        return batch_first(super().forward(y.reshape(1, len(y), -1, 1)).reshape(y.shape))


class ConvNorm(nn.Module):
    """`conv |> batch_norm`: what export folds into one convolution with a bias."""

    def __init__(self, *args, **kwargs):
        super().__init__()
        self.conv = Conv(*args, **kwargs)
        self.norm = BatchNorm(self.conv.out)

    def forward(self, x, shuffled=False):
        return self.norm(self.conv(x, shuffled))

    def folded(self):
        """The weight and the bias of the one convolution, in evaluation mode."""
        scale = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        bias = self.norm.bias - scale * self.norm.running_mean
        return self.conv.masked() * self.conv.by_row(scale)[:, None, None, None], self.conv.by_row(bias)


class StriaBlock(nn.Module):
    """`stria_block`: striped 1x1, activation, striped kernel, activation, striped 1x1, skip; shuffles between them.

    `capacity` and, with a stride, `capacity_out` are those of the map before and behind the block.
    """

    def __init__(
        self, inputs, capacity, out=None, inner=None, kernel=Cross(3), stride=1, capacity_out=None, stripes=None,
        shuffle=True,
    ):
        super().__init__()
        out = out or inputs
        behind = (capacity_out if stride > 1 else None) or capacity
        if inner is None:
            wanted = (3 * out // 4 + behind // 2) // behind * behind
            inner = out if behind > out else min(max(wanted, behind), out)
        if stripes:
            before = after = skip = stripes
        elif stride == 1:
            before = after = skip = math.gcd(capacity, inputs, inner, out)
        else:
            before = math.gcd(capacity, inputs, inner)
            after = math.gcd(behind, inner, out)
            skip = math.gcd(behind, inputs, out)
        self.after, self.shuffle = after, shuffle
        self.expand = ConvNorm(inputs, inner, 1, striped=before)
        self.cross = ConvNorm(inner, inner, kernel, stride=stride, striped=after)
        self.project = ConvNorm(inner, out, 1, striped=after)
        self.skip = None
        if stride != 1 or inputs != out:
            self.skip = ConvNorm(inputs, out, 1, stride=stride, striped=skip)

    def forward(self, x):
        y = F.relu(self.expand(x))
        y = F.relu(self.cross(y, self.shuffle))
        y = self.project(y, self.shuffle)
        return y + (x if self.skip is None else self.skip(x))
