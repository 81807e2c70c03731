"""Trains a network of networks.py and saves checkpoints that export.py reads.

    python train.py fashion_mnist stria --data /usr/share/datasets/fashion-mnist --epochs 20

A checkpoint DATASET_NETWORK.pt is written after each epoch, and a later call goes on from it; with another number of
epochs the learning rate goes on along another cosine.
"""

import argparse
import ctypes
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from data import NORMALISATION, add_data, folder, load
from networks import NETWORKS


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=sorted(NETWORKS))
    parser.add_argument("network", choices=["dense", "stria"])
    add_data(parser)
    parser.add_argument("--out", default=".", help="folder for DATASET_NETWORK.pt")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=6e-3, help="largest learning rate")
    parser.add_argument("--decay", type=float, default=2e-2, help="weight decay of AdamW")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="convolutions in bfloat16, where the processor has it")
    args = parser.parse_args()
    args.data = folder(parser, args)
    return args


def resumed(path, args, network, optimiser):
    """Steps, epochs and seconds of the checkpoint, if there is one; a checkpoint of another run ends the program."""
    if not path.exists():
        return 0, 0, 0.0
    saved = torch.load(path, map_location=args.device)
    for name, value in recipe(args).items():
        if saved["recipe"].get(name) != value:
            raise SystemExit(f"{path} was trained with {name} {saved['recipe'].get(name)}, not {value}: remove or move it")
    network.load_state_dict(saved["network"])
    optimiser.load_state_dict(saved["optimiser"])
    if saved["epoch"] >= args.epochs:
        print(f"{path} has {saved['epoch']} epochs: nothing left to train")
    return saved["step"], saved["epoch"], saved["seconds"]


def recipe(args):
    """What must not change from one call to the next."""
    return {name: getattr(args, name) for name in ("dataset", "network", "batch", "rate", "decay", "seed")}


def keep_freed_memory():
    """Large tensors are otherwise mapped and cleared anew at every step, which takes half of the time (glibc)."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        for parameter, value in ((-3, 1 << 30), (-1, (1 << 31) - 1)):
            libc.mallopt(parameter, value)
    except OSError:
        pass


class Batches:
    """Normalised, augmented batches: flips; for colour images also shifts by up to an eighth."""

    def __init__(self, args, images, labels):
        self.images, self.labels, self.args = images, labels, args
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in NORMALISATION[args.dataset])
        self.mean, self.std = mean.to(args.device), std.to(args.device)

    def normalised(self, rows):
        x = self.images[rows].to(self.args.device).float() / 255
        return (x - self.mean) / self.std, self.labels[rows].to(self.args.device)

    def augmented(self, rows):
        x, y = self.normalised(rows)
        flip = torch.rand(len(x), device=x.device) < 0.5
        x = torch.where(flip.view(-1, 1, 1, 1), x.flip(3), x)
        if self.args.dataset != "fashion_mnist":
            size, most = x.shape[2], x.shape[2] // 8
            i, j = torch.randint(0, 2 * most + 1, (2,)).tolist()
            x = F.pad(x, (most,) * 4)[:, :, i : i + size, j : j + size]
        return x, y


def precision(args):
    return torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=args.bf16)


def accuracy(network, batches):
    network.eval()
    right = 0
    with torch.no_grad():
        for rows in torch.arange(len(batches.labels)).split(500):
            x, y = batches.normalised(rows)
            right += (network(x).argmax(1) == y).sum().item()
    network.train()
    return right / len(batches.labels)


def main():
    args = arguments()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    train_x, train_y, test_x, test_y = load(args.dataset, args.data)
    train, test = Batches(args, train_x, train_y), Batches(args, test_x, test_y)
    network = NETWORKS[args.dataset][args.network]().to(args.device)
    if args.network == "dense":
        network = network.to(memory_format=torch.channels_last)
    weights = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() <= 1]
    groups = [{"params": weights, "weight_decay": args.decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=args.rate)
    steps = len(train_y) // args.batch * args.epochs
    path = Path(args.out) / f"{args.dataset}_{args.network}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    step, epoch, seconds = resumed(path, args, network, optimiser)
    print(json.dumps({**vars(args), "parameters": sum(p.numel() for p in network.parameters())}), flush=True)
    while epoch < args.epochs:
        torch.manual_seed(args.seed * 1000 + epoch)
        started, mean_loss = time.process_time(), 0.0
        for rows in torch.randperm(len(train_y)).split(args.batch):
            if len(rows) < args.batch:
                continue
            done = step / steps
            rate = args.rate * min(1.0, done / 0.05 + 0.02) * 0.5 * (1 + math.cos(math.pi * done))
            for group in optimiser.param_groups:
                group["lr"] = rate
            x, y = train.augmented(rows)
            with precision(args):
                logits = network(x)
            loss = F.cross_entropy(logits.float(), y, label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            step += 1
            mean_loss += 0.02 * (loss.item() - mean_loss)
            if step % 100 == 0:
                print(f"  step {step}/{steps} loss {mean_loss:.4f} cpu {time.process_time() - started:.0f} s", flush=True)
        epoch += 1
        seconds += time.process_time() - started
        found = accuracy(network, test)
        print(f"epoch {epoch} test {100 * found:.2f} % loss {mean_loss:.4f} processor {seconds:.0f} s", flush=True)
        saved = {
            "recipe": recipe(args), "network": network.state_dict(),
            "optimiser": optimiser.state_dict(), "step": step, "epoch": epoch, "seconds": seconds, "accuracy": found,
        }
        torch.save(saved, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)


if __name__ == "__main__":
    main()
