"""From which width on a StriaNet pays: both networks at multiples of their widths, with random weights.

    cargo build --release && python3 examples/fashion_mnist/widths.py 1 2 4

Prints rows of a Markdown table: counts, megabytes and seconds of `stria run --threads 1`, the least of three runs.
Nothing but Python's library is needed.
"""

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
IMAGE = HERE / "images/9_ankle-boot_00000.png"


def widened(text, factor):
    """The model with the channels of its convolutions and blocks times `factor`, and weights drawn from a seed."""
    text = re.sub(r"\n *calibration:.*", "", text)
    text = re.sub(r'weights: ".*"', "weights: random(1)", text)
    return re.sub(
        r"((?:conv|basic)\(\w+, (?:out|width): )(\d+)", lambda m: m[1] + str(int(m[2]) * factor), text
    )


def least(stria, model, encoding, runs):
    """The run of fewest seconds in all."""
    command = [stria, "run", model, "--input", IMAGE, "--encoding", encoding, "--threads", "1", "--format", "json"]
    found = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(runs)]
    return min(found, key=lambda run: run["timing"]["total"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("factors", nargs="*", type=int, default=[1, 2, 4])
    parser.add_argument("--stria", default=HERE.parent.parent / "target/release/stria", help="the program")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    print("| widths | network | encoding | rotations | products | MB: ciphertexts, online, ahead | linear s | s in all |")
    print("|---|---|---|---|---|---|---|---|")
    for factor in args.factors:
        for name in ("dense", "stria"):
            with tempfile.TemporaryDirectory() as folder:
                model = Path(folder) / f"{name}.stria"
                model.write_text(widened((HERE / f"{name}.stria").read_text(), factor))
                for encoding in ("slots", "auto"):
                    run = least(args.stria, model, encoding, args.runs)
                    totals, timing = run["totals"], run["timing"]
                    traffic = (totals["bytes_up"] + totals["bytes_down"], totals["bytes_nonlinear"],
                               totals["bytes_preprocess"])
                    print(
                        f"| x{factor} | {name} | {encoding} | {totals['rotations']['total']} | {totals['plain_mults']}",
                        ", ".join(f"{size / 1e6:.0f}" for size in traffic),
                        f"{timing['linear']:.2f} | {timing['total']:.1f} |", sep=" | ", flush=True,
                    )


if __name__ == "__main__":
    main()
