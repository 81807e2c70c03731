"""Writes LoLa-MNIST's shape with ReLU as `lola.onnx`, and 16 images as `images.npy`: seeded weights, uniform pixels.

28x28 pixels, a convolution 5x5 with stride 2 to 5 channels, ReLU, 100 features, ReLU, 10 logits: 945 activations.
Prints the class that the float network gives each image. Needs numpy and onnx.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

draw = np.random.default_rng(20260101)


def normal(scale, *shape):
    return (scale * draw.standard_normal(shape)).astype(np.float32)


x = draw.uniform(0, 1, (16, 1, 28, 28)).astype(np.float32)
weights = {
    "w1": normal(np.sqrt(2 / 25), 5, 1, 5, 5), "b1": normal(0.05, 5),
    "w2": normal(0.5 / np.sqrt(845), 100, 845), "b2": normal(0.05, 100),
    "w3": normal(0.1, 10, 100), "b3": normal(0.05, 10),
}
nodes = [
    helper.make_node("Conv", ["x", "w1", "b1"], ["c"], kernel_shape=[5, 5], pads=[1, 1, 1, 1], strides=[2, 2]),
    helper.make_node("Relu", ["c"], ["r"]),
    helper.make_node("Flatten", ["r"], ["f"], axis=1),
    helper.make_node("Gemm", ["f", "w2", "b2"], ["g"], transB=1),
    helper.make_node("Relu", ["g"], ["s"]),
    helper.make_node("Gemm", ["s", "w3", "b3"], ["y"], transB=1),
]
graph = helper.make_graph(
    nodes, "lola",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 28, 28])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
    [numpy_helper.from_array(value, name) for name, value in weights.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
onnx.checker.check_model(model)
onnx.save(model, "lola.onnx")
np.save("images.npy", x)

padded = np.pad(x[:, 0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2))[:, ::2, ::2]
hidden = np.einsum("oikl,nhwkl->nohw", weights["w1"], windows) + weights["b1"][:, None, None]
hidden = np.maximum(hidden, 0).reshape(len(x), -1)
hidden = np.maximum(hidden @ weights["w2"].T + weights["b2"], 0)
logits = hidden @ weights["w3"].T + weights["b3"]
print("classes", *logits.argmax(1))
