"""Writes a trained network's weights for its `.stria` file: batch norms folded, declared zeros exact.

    python export.py fashion_mnist_stria.pt -o ../fashion_mnist/stria.safetensors
"""

import argparse

import torch

import safetensors_file
from networks import NETWORKS
from stria_layers import Conv, ConvNorm


def folded(network):
    """The tensors that the language reads, by its keys: `.conv` and `.norm` of each `ConvNorm` become one layer."""
    tensors = {}
    inside = {id(module.conv) for module in network.modules() if isinstance(module, ConvNorm)}
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, ConvNorm):
                tensors[f"{name}.weight"], tensors[f"{name}.bias"] = module.folded()
            elif isinstance(module, torch.nn.Linear):
                tensors[f"{name}.weight"], tensors[f"{name}.bias"] = module.weight, module.bias
            elif isinstance(module, Conv) and id(module) not in inside:
                tensors[f"{name}.weight"] = module.masked()
                if module.bias is not None:
                    tensors[f"{name}.bias"] = module.bias
    return {name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--half", action="store_true", help="store float16: half the bytes")
    args = parser.parse_args()
    saved = torch.load(args.checkpoint, map_location="cpu")
    network = NETWORKS[saved["recipe"]["dataset"]][saved["recipe"]["network"]]()
    network.load_state_dict(saved["network"])
    tensors = folded(network.eval())
    if args.half:
        tensors = {name: tensor.half() for name, tensor in tensors.items()}
    safetensors_file.save(args.output, {name: tensor.numpy() for name, tensor in tensors.items()})
    parameters = sum(tensor.numel() for tensor in tensors.values())
    print(f"{args.output}: {len(tensors)} tensors, {parameters} parameters, epoch {saved['epoch']}")
    print(f"test accuracy {100 * saved['accuracy']:.2f} %, {saved['seconds']:.0f} s of processor time")


if __name__ == "__main__":
    main()
