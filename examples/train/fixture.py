"""Makes small weights, inputs and outputs of each module, on which tests/it/train.rs evaluates the language's blocks.

    python fixture.py -o ../../tests/cases/train.safetensors

Names are those of the cases there. Outputs differ in the last bits from one PyTorch to another.
"""

import argparse

import torch
import torch.nn as nn

import safetensors_file
from export import folded
from stria_layers import Conv, ConvNorm, Cross, StriaBlock, Strips, channel_shuffle


class Shuffle(nn.Module):
    def forward(self, x):
        return channel_shuffle(x, 4)


# Name, module, shape of the input. At ring 4096 a ciphertext has 4 channels of 19x27, 16 of 12x12 and 64 of 6x6.
CASES = [
    ("dense", ConvNorm(3, 6, 3, stride=2), (3, 7, 9)),
    ("grouped", Conv(8, 12, 3, groups=4, bias=True), (8, 5, 6)),
    ("striped", Conv(8, 12, 3, striped=4, bias=True), (8, 5, 6)),
    ("cross", ConvNorm(8, 16, Cross(3), stride=2, striped=4), (8, 7, 6)),
    ("cross5", Conv(4, 8, Cross(5), striped=2), (4, 6, 7)),
    ("strips", ConvNorm(8, 16, Strips(3), striped=4), (8, 6, 5)),
    ("strips_dense", Conv(3, 6, Strips(5)), (3, 7, 7)),
    ("shuffle", Shuffle(), (12, 2, 3)),
    ("block", StriaBlock(32, 8, inner=16, stripes=8), (32, 6, 6)),
    ("block_auto", StriaBlock(12, 4), (12, 19, 27)),
    ("block_wide", StriaBlock(16, 8, out=24, inner=32, kernel=Strips(3), stripes=8), (16, 5, 4)),
    ("block_down", StriaBlock(16, 16, out=64, inner=64, stride=2, capacity_out=64), (16, 12, 12)),
    ("block_apart", StriaBlock(12, 4, inner=12, stripes=4, shuffle=False), (12, 5, 5)),
]


def lively(module):
    """Batch norms with statistics as after training."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.3)
            nn.init.normal_(part.running_mean, std=0.3)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
        elif isinstance(part, Conv) and part.bias is not None:
            nn.init.normal_(part.bias)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", required=True)
    args = parser.parse_args()
    torch.manual_seed(7)
    tensors = {}
    for name, module, shape in CASES:
        for part in module.modules():
            if isinstance(part, Conv):
                nn.init.normal_(part.weight, std=0.5)
        lively(module)
        module.eval()
        x = torch.randn(1, *shape)
        with torch.no_grad():
            tensors[f"{name}.input"], tensors[f"{name}.output"] = x[0], module(x)[0]
        for key, tensor in folded(module).items():
            tensors[f"{name}.{key}".replace("..", ".")] = tensor
    safetensors_file.save(args.output, {name: tensor.contiguous().numpy() for name, tensor in tensors.items()})


if __name__ == "__main__":
    main()
