"""Trains fashion.stria: Fashion-MNIST with 4-bit activations under the noise of the tfhe mode.

usage: train.py FOLDER-OF-IDX-FILES OUT.safetensors [EPOCHS]

The integer semantics of the compiler in units of an activation's step: level = clamp(round(w . x + b), 0, 15),
weights on a grid of 2^-k, Gaussian noise before each rounding as bootstraps bring it.
"""
import gzip, json, struct, sys, time
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(1)
DATA, OUT = sys.argv[1], sys.argv[2]
EPOCHS = int(sys.argv[3]) if len(sys.argv) > 3 else 60
BATCH, RATE, NOISE, NORM = 128, 0.004, 0.12, 28


def idx(name, skip, shape):
    raw = np.frombuffer(gzip.open(f"{DATA}/{name}").read(), np.uint8, offset=skip)
    return torch.from_numpy(raw.copy()).reshape(shape)


class Round(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return torch.floor(x + 0.5)

    @staticmethod
    def backward(_, gradient):
        return gradient


def grid(weight, k, top):
    """Multiples of 2^-k, at most `top` of them."""
    return torch.clamp(Round.apply(weight * 2**k), -top, top) / 2**k


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 5, stride=3)
        self.conv2 = nn.Conv2d(12, 24, 3, stride=2, padding=1)
        self.fc = nn.Linear(24 * 16, 10)
        with torch.no_grad():
            self.conv1.weight.normal_(0, 0.4)
            self.conv2.weight.normal_(0, 1.3 / (9 * 12) ** 0.5)
            self.fc.weight.normal_(0, 0.3 / self.fc.in_features**0.5)
            for layer in (self.conv1, self.conv2, self.fc):
                layer.bias.zero_()
        self.noise, self.quantised = NOISE, False

    def weights(self):
        if not self.quantised:
            return self.conv1.weight, self.conv2.weight, self.fc.weight
        return grid(self.conv1.weight, 5, 63), grid(self.conv2.weight, 4, 7), grid(self.fc.weight, 7, 31)

    def activate(self, z):
        self.penalty = self.penalty + (F.relu(z - 34) ** 2).mean() + (F.relu(-18 - z) ** 2).mean()
        z = z + self.noise * torch.randn_like(z)
        return torch.clamp(Round.apply(z) if self.quantised else z, 0, 15)

    def forward(self, pixels):
        self.penalty = 0
        w1, w2, w3 = self.weights()
        x = self.activate(F.conv2d(pixels / 10, w1, self.conv1.bias * 4, stride=3))
        x = self.activate(F.conv2d(x, w2, self.conv2.bias * 4, stride=2, padding=1))
        norms = (self.conv2.weight.flatten(1) * 16).norm(dim=1)
        self.penalty = self.penalty + 0.1 * (F.relu(norms - NORM) ** 2).mean()
        return F.linear(x.flatten(1), w3, self.fc.bias)


def save(net):
    """Float weights for an input of 0 to 1, in units of the activations' steps."""
    w1, w2, w3 = (w.detach() for w in net.weights())
    tensors = {
        "conv1.weight": w1 * 25.5, "conv1.bias": net.conv1.bias.detach() * 4,
        "conv2.weight": w2, "conv2.bias": net.conv2.bias.detach() * 4,
        "fc.weight": w3, "fc.bias": net.fc.bias.detach(),
    }
    header, body = {}, b""
    for name, tensor in sorted(tensors.items()):
        data = tensor.contiguous().float().numpy().tobytes()
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open(OUT, "wb").write(struct.pack("<Q", len(text)) + text + body)


def accuracy(net, images, labels, noise):
    net.noise, before = noise, net.noise
    with torch.no_grad():
        right = sum(
            (net(images[i : i + 1000].float()).argmax(1) == labels[i : i + 1000]).sum().item()
            for i in range(0, len(images), 1000)
        )
    net.noise = before
    return right / len(images)


images = idx("train-images-idx3-ubyte.gz", 16, (-1, 1, 28, 28))
labels = idx("train-labels-idx1-ubyte.gz", 8, (-1,)).long()
test_images = idx("t10k-images-idx3-ubyte.gz", 16, (-1, 1, 28, 28))
test_labels = idx("t10k-labels-idx1-ubyte.gz", 8, (-1,)).long()
net = Net()
optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01)
steps = EPOCHS * (len(images) // BATCH)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
start = time.time()
for epoch in range(EPOCHS):
    net.quantised = epoch >= 1
    order = torch.randperm(len(images))
    for i in range(0, len(images) - BATCH + 1, BATCH):
        x = images[order[i : i + BATCH]].float()
        x = torch.where(torch.rand(BATCH, 1, 1, 1) < 0.5, x.flip(3), x)
        loss = F.cross_entropy(net(x), labels[order[i : i + BATCH]], label_smoothing=0.05) + 0.01 * net.penalty
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    exact, noisy = (accuracy(net, test_images, test_labels, noise) for noise in (0.0, 0.15))
    print(f"{epoch} {time.time() - start:.0f} s, test {exact:.4f}, with noise {noisy:.4f}", flush=True)
    save(net)
