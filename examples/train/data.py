"""Fashion-MNIST, CIFAR-10 and Tiny ImageNet from their published files, as uint8 tensors [n, channels, h, w].

    python data.py fashion_mnist -o test.safetensors               # the test images, for `stria eval`
    python data.py fashion_mnist --each 10 -o calibration.safetensors
"""

import argparse
import gzip
import pickle
from pathlib import Path

import numpy as np
import torch

import safetensors_file

# Mean and standard deviation of the pixels / 255, for the `input` of the model.
NORMALISATION = {
    "fashion_mnist": ([0.286], [0.353]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616]),
    "tiny_imagenet": ([0.4802, 0.4481, 0.3975], [0.277, 0.2691, 0.2821]),
}

# Where Debian's packages put the files.
FOLDERS = {"fashion_mnist": "/usr/share/datasets/fashion-mnist"}


def add_data(parser):
    parser.add_argument("--data", help="folder of the dataset's files; Fashion-MNIST's where Debian puts it if absent")


def folder(parser, args):
    """The folder of `--data`, or its default; an error of `parser` if there is none."""
    found = args.data or FOLDERS.get(args.dataset)
    if found is None or not Path(found).is_dir():
        parser.error(f"--data must be the folder of {args.dataset}'s files" + (f": no folder {found}" if found else ""))
    return found


def idx(folder, name):
    """An IDX file, plain or gzipped."""
    path = Path(folder) / name
    data = gzip.open(f"{path}.gz").read() if Path(f"{path}.gz").exists() else path.read_bytes()
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3])]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def fashion_mnist(folder):
    return [
        (idx(folder, f"{part}-images-idx3-ubyte")[:, None], idx(folder, f"{part}-labels-idx1-ubyte"))
        for part in ("train", "t10k")
    ]


def cifar10(folder):
    """The folder `cifar-10-batches-py` of the Python version."""

    def batch(name):
        with open(Path(folder) / name, "rb") as file:
            read = pickle.load(file, encoding="bytes")
        return read[b"data"].reshape(-1, 3, 32, 32), np.array(read[b"labels"])

    train = [batch(f"data_batch_{i}") for i in range(1, 6)]
    return [tuple(np.concatenate(part) for part in zip(*train)), batch("test_batch")]


def tiny_imagenet(folder):
    """The folder `tiny-imagenet-200`; needs Pillow. Labels are indices into the sorted list of its classes."""
    from PIL import Image

    folder = Path(folder)
    classes = {name: i for i, name in enumerate(sorted((folder / "wnids.txt").read_text().split()))}
    train = [(path, classes[path.name.split("_")[0]]) for path in sorted(folder.glob("train/*/images/*.JPEG"))]
    lines = (folder / "val" / "val_annotations.txt").read_text().splitlines()
    test = [(folder / "val" / "images" / line.split("\t")[0], classes[line.split("\t")[1]]) for line in lines]

    def read(files):
        images = [np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1) for path, _ in files]
        return np.stack(images), np.array([label for _, label in files])

    return [read(train), read(test)]


def load(name, folder):
    """(train images, train labels, test images, test labels)."""
    parts = {"fashion_mnist": fashion_mnist, "cifar10": cifar10, "tiny_imagenet": tiny_imagenet}[name](folder)
    return [torch.from_numpy(np.array(a)) if a.ndim == 4 else torch.from_numpy(a.astype(np.int64)) for p in parts for a in p]


def main():
    parser = argparse.ArgumentParser(description="Writes images and labels for `calibration:` and `stria eval --data`.")
    parser.add_argument("dataset", choices=sorted(NORMALISATION))
    add_data(parser)
    parser.add_argument("--each", type=int, help="the first so many training images of each class, for calibration")
    parser.add_argument("-o", "--output", required=True)
    args = parser.parse_args()
    train_images, train_labels, images, labels = load(args.dataset, folder(parser, args))
    if args.each:
        classes = range(int(train_labels.max()) + 1)
        rows = torch.cat([(train_labels == c).nonzero()[: args.each, 0] for c in classes])
        images, labels = train_images[rows], train_labels[rows]
    safetensors_file.save(args.output, {"images": images.numpy(), "labels": labels.numpy()})


if __name__ == "__main__":
    main()
