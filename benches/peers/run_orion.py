"""Orion: `pip install orion-fhe==1.0.2 torch==2.3.1 torchvision==0.18.1 "numpy<2"`, then `python run_orion.py conv16x32`.

CKKS on Lattigo, one thread, 128-bit security; the ring and moduli that evaluate one layer. The plaintexts are
encoded while it compiles, before anything is timed.
"""

import numpy as np
import torch

import orion
import orion.nn as on
from work import arguments, convolution, measure, report

RINGS = {"conv16x32": 15, "conv64x8": 13}


class Conv(on.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = on.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(x)


def main():
    work, runs = arguments()
    x, w, b, y = convolution(work)
    orion.init_scheme({
        "ckks_params": {"LogN": RINGS[work], "LogQ": [50, 40], "LogP": [50], "LogScale": 40, "H": 192,
                        "RingType": "standard"},
        "orion": {"margin": 2, "embedding_method": "hybrid", "backend": "lattigo", "fuse_modules": True,
                  "debug": False, "io_mode": "none", "diags_path": "", "keys_path": ""},
    })
    net = Conv(x.shape[0])
    net.conv.weight.data = torch.tensor(w, dtype=torch.float32)
    net.conv.bias.data = torch.tensor(b, dtype=torch.float32)
    net.eval()
    batch = torch.tensor(x, dtype=torch.float32)[None]
    orion.fit(net, batch)
    level, compiling = measure(lambda: orion.compile(net))
    encrypted, encrypting = measure(lambda: orion.encrypt(orion.encode(batch, level)))
    net.he()
    out, evaluating = measure(lambda: net(encrypted), runs)
    found, decrypting = measure(lambda: out.decrypt().decode())
    report("orion", "1.0.2", work, np.asarray(found), y, compile=compiling, encrypt=encrypting, evaluate=evaluating,
           decrypt=decrypting, ring=2 ** RINGS[work])


main()
