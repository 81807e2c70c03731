"""Makes the ONNX models of this folder, each with inputs and what onnxruntime gives for them.

    python3 -m venv venv && venv/bin/pip install onnx onnxruntime safetensors && venv/bin/python make.py

The models are written as PyTorch's exporters, tf2onnx and older tools write them. Weights come from a fixed seed.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

HERE = Path(__file__).parent


class Maker:
    def __init__(self, name, shape, opset, channels_last=False):
        self.name, self.shape, self.opset = name, shape, opset
        self.random = np.random.default_rng(sum(map(ord, name)))
        self.nodes, self.initializers, self.count = [], [], 0
        self.channels_last = channels_last

    def const(self, array, name=None):
        self.count += 1
        name = name or f"const_{self.count}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def ints(self, *values):
        return self.const(np.array(values, dtype=np.int64))

    def weight(self, *dims, name=None):
        spread = np.sqrt(2 / max(1, np.prod(dims[1:])))
        return self.const(self.random.normal(0, spread, dims).astype(np.float32), name)

    def vector(self, n, low=-0.3, high=0.3, name=None):
        return self.const(self.random.uniform(low, high, n).astype(np.float32), name)

    def op(self, op, *inputs, name=None, out=None, **attributes):
        self.count += 1
        out = out or f"v{self.count}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=name or f"n{self.count}", **attributes))
        return out

    def norm(self, x, c, name):
        parts = [
            self.vector(c, 0.5, 1.5, f"{name}.weight"),
            self.vector(c, name=f"{name}.bias"),
            self.vector(c, name=f"{name}.running_mean"),
            self.vector(c, 0.5, 1.5, f"{name}.running_var"),
        ]
        return self.op("BatchNormalization", x, *parts, epsilon=1e-5)

    def model(self, output, classes=None):
        dims = [1] + list(self.shape)
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, dims)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            self.initializers,
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="make.py")

    def save(self, output, external=False, logits=None):
        """`logits`: the output to compare with, if the importer leaves out what is behind it."""
        model = self.model(output)
        path = HERE / f"{self.name}.onnx"
        shown = self.model(logits) if logits else model
        session = onnxruntime.InferenceSession(shown.SerializeToString())
        inputs = self.random.normal(0, 1, [4] + list(self.shape)).astype(np.float32)
        outputs = np.stack([session.run(None, {"input": x[None]})[0].reshape(-1) for x in inputs])
        if external:
            (HERE / f"{self.name}.onnx.data").unlink(missing_ok=True)
            onnx.save(model, path, save_as_external_data=True, location=f"{self.name}.onnx.data", size_threshold=64)
        else:
            onnx.save(model, path)
        images = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2)) if self.channels_last else inputs
        save_file({"input": images, "output": outputs}, HERE / f"{self.name}.safetensors")
        for file in HERE.glob(f"{self.name}.*"):
            file.chmod(0o644)


def torchscript():
    """A small ResNet by TorchScript: modules' paths as nodes' names, weights renamed where BN was folded."""
    m = Maker("torchscript", (3, 16, 16), 13)
    number = iter(range(100, 200))

    def conv(x, cin, cout, k, stride, path):
        weight = m.weight(cout, cin, k, k, name=f"onnx::Conv_{next(number)}")
        bias = m.vector(cout, name=f"onnx::Conv_{next(number)}")
        pads = [k // 2] * 4
        at = f"/{path}/Conv"
        return m.op("Conv", x, weight, bias, name=at, kernel_shape=[k, k], strides=[stride] * 2, pads=pads, dilations=[1, 1], group=1)

    x = m.op("Relu", conv("input", 3, 4, 3, 1, "conv1"), name="/relu/Relu")
    x = m.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], name="/maxpool/MaxPool")
    width = 4
    for stage in (1, 2, 3):
        for block in (0, 1):
            out, stride = (2 * width, 2) if stage > 1 and block == 0 else (width, 1)
            at = f"layer{stage}/layer{stage}.{block}"
            y = m.op("Relu", conv(x, width, out, 3, stride, f"{at}/conv1"), name=f"/{at}/relu/Relu")
            y = conv(y, out, out, 3, 1, f"{at}/conv2")
            if stride != 1:
                x = conv(x, width, out, 1, stride, f"{at}/downsample/downsample.0")
            x = m.op("Relu", m.op("Add", y, x, name=f"/{at}/Add"), name=f"/{at}/relu_1/Relu")
            width = out
    x = m.op("GlobalAveragePool", x, name="/avgpool/GlobalAveragePool")
    shape = m.op("Constant", value=numpy_helper.from_array(np.array([1, -1], dtype=np.int64)), name="/Constant")
    x = m.op("Reshape", x, shape, name="/Reshape")
    fc = m.weight(10, width, name="fc.weight"), m.vector(10, name="fc.bias")
    m.op("Gemm", x, *fc, name="/fc/Gemm", out="output", alpha=1.0, beta=1.0, transB=1)
    m.save("output")


def dynamo():
    """As torch.onnx.export(dynamo=True) writes it: state_dict's names, masks that multiply weights, data outside."""
    m = Maker("dynamo", (1, 12, 12), 20)
    mask = m.const(np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=np.float32), "body.mask")
    scale = m.const(np.array(0.2, dtype=np.float32), "val_14")

    def quad(x):
        return m.op("Mul", m.op("Mul", x, scale), x)

    def conv(x, cin, cout, k, name, stride=1, group=1, pads=None):
        weight, bias = m.weight(cout, cin // group, k, k, name=f"{name}.weight"), m.vector(cout, name=f"{name}.weight_bias")
        pads = pads or [k // 2] * 4
        return m.op("Conv", x, weight, bias, kernel_shape=[k, k], strides=[stride] * 2, pads=pads, auto_pad="NOTSET", group=group)

    x = quad(conv("input", 1, 8, 3, "stem.0", stride=2))
    for i in range(3):
        y = quad(conv(x, 8, 8, 1, f"body.{i}.a.0"))
        y = m.op("Reshape", y, m.ints(1, 4, 2, 6, 6), allowzero=1)
        y = m.op("Transpose", y, perm=[0, 2, 1, 3, 4])
        y = m.op("Reshape", y, m.ints(1, 8, 6, 6), allowzero=1)
        weight = m.op("Mul", m.weight(8, 4, 3, 3, name=f"body.{i}.x.c.weight"), mask)
        y = m.op("Conv", y, weight, kernel_shape=[3, 3], pads=[1] * 4, group=2)
        y = quad(m.norm(y, 8, f"body.{i}.xbn"))
        x = m.op("Add", conv(y, 8, 8, 1, f"body.{i}.p.0"), x)
    x = m.op("ReduceMean", x, m.ints(-1, -2), keepdims=0)
    fc = m.weight(10, 8, name="fc.weight"), m.vector(10, name="fc.bias")
    m.op("Gemm", x, *fc, out="output", transB=1)
    m.save("output", external=True)


def tensorflow():
    """As tf2onnx writes a Keras network: NHWC outside, uneven SAME padding, biases added, Softmax at the end."""
    m = Maker("tensorflow", (16, 16, 3), 15, channels_last=True)
    at = "model/conv2d{}/{}/ReadVariableOp:0"

    def same(x, cin, cout, k, i, stride=1, group=1):
        pads = [0, 0, 1, 1] if stride == 2 else [k // 2] * 4
        weight = m.weight(cout, cin // group, k, k, name=at.format(i, "Conv2D"))
        x = m.op("Conv", x, weight, kernel_shape=[k, k], strides=[stride] * 2, pads=pads, group=group)
        bias = m.const(m.random.uniform(-0.3, 0.3, (1, cout, 1, 1)).astype(np.float32), at.format(i, "BiasAdd"))
        x = m.op("Add", x, bias)
        return m.op("Clip", x, m.const(np.float32(0)), m.const(np.float32(6)))

    x = m.op("Transpose", "input", perm=[0, 3, 1, 2])
    x = same(x, 3, 8, 3, "", stride=2)
    x = same(x, 8, 8, 3, "_1", group=8)
    x = same(x, 8, 12, 1, "_2")
    x = m.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    x = m.op("Pad", x, m.ints(0, 0, 1, 1, 0, 0, 1, 1))
    weight = m.weight(6, 12, 3, 3, name=at.format("_3", "Conv2D"))
    x = m.op("Relu", m.op("Conv", x, weight, kernel_shape=[3, 3], auto_pad="VALID"))
    x = m.op("Transpose", x, perm=[0, 2, 3, 1])
    x = m.op("Reshape", x, m.ints(-1, 96))
    x = m.op("MatMul", x, m.weight(96, 10, name="model/dense/MatMul/ReadVariableOp:0"))
    m.op("Add", x, m.vector(10, name="model/dense/BiasAdd/ReadVariableOp:0"), out="logits")
    m.op("Softmax", "logits", out="output", name="model/softmax", axis=-1)
    m.save("output", logits="logits")


def caffe():
    """Old operators: attributes that are inputs today, scales and shifts a channel, sums of three."""
    m = Maker("caffe", (4, 9, 9), 9)
    x = m.op("Conv", "input", m.weight(8, 4, 3, 3, name="conv1_w_0"), kernel_shape=[3, 3], pads=[1] * 4)
    x = m.norm(x, 8, "bn1")
    x = m.op("Mul", x, m.op("Unsqueeze", m.vector(8, 0.5, 1.5, "scale1_w_0"), axes=[1, 2]))
    x = m.op("Add", x, m.op("Unsqueeze", m.vector(8, name="scale1_b_0"), axes=[1, 2]))
    x = m.op("Clip", x, min=0.0, max=6.0)
    x = m.op("Dropout", x, ratio=0.5)
    a = m.op("Conv", x, m.weight(8, 8, 1, 1, name="a_w_0"), m.vector(8, name="a_b_0"), kernel_shape=[1, 1])
    b = m.op("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
    x = m.op("Sum", a, b, x)
    y = m.op("Pad", x, pads=[0, 0, 1, 1, 0, 0, 0, 0])
    y = m.op("Relu", m.op("Conv", y, m.weight(8, 8, 3, 3, name="b_w_0"), kernel_shape=[3, 3], pads=[0, 0, 1, 1]))
    z = m.op("Relu", m.norm(x, 8, "bn2"))
    x = m.op("Concat", y, z, x, axis=1)
    x = m.op("MaxPool", x, kernel_shape=[3, 3], strides=[3, 3])
    x = m.op("Flatten", x)
    gemm = m.weight(24 * 9, 6, name="fc_w_0"), m.const(np.array([0.5], dtype=np.float32), "fc_b_0")
    m.op("Gemm", x, *gemm, out="output", alpha=0.5, beta=2.0)
    m.save("output")


def shortcuts():
    """Shortcuts without parameters, shapes that are computed, polynomials, pools that round up."""
    m = Maker("shortcuts", (3, 11, 11), 13)
    half = m.const(np.float32(0.5))
    x = m.op("Div", m.op("Sub", "input", half), m.const(np.float32(0.25)))
    x = m.op("Conv", x, m.weight(4, 3, 3, 3, name="conv1.weight"), kernel_shape=[3, 3], pads=[1] * 4)
    x = m.op("Pow", m.op("Mul", x, half), m.const(np.float32(2)))
    for i, width in enumerate((4, 8)):
        y = m.op("Conv", x, m.weight(2 * width, width, 3, 3, name=f"layer.{i}.conv.weight"), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
        y = m.norm(y, 2 * width, f"layer.{i}.bn")
        s = m.op("Slice", x, m.ints(0), m.ints(2**63 - 1), m.ints(2), m.ints(2))
        s = m.op("Slice", s, m.ints(0), m.ints(2**63 - 1), m.ints(3), m.ints(2))
        pads = m.op("ConstantOfShape", m.ints(3), value=numpy_helper.from_array(np.array([0], dtype=np.int64)))
        pads = m.op("Concat", m.ints(0, width // 2), m.ints(0, 0), m.ints(0, width // 2), m.ints(0, 0), axis=0) if i else m.op("Concat", pads, m.ints(0, 0, width, 0, 0), axis=0)
        s = m.op("Pad", s, pads, m.const(np.float32(0)))
        x = m.op("Relu", m.op("Add", y, s))
    x = m.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    x = m.op("Add", m.op("Mul", x, x), m.op("Sub", m.const(np.float32(1)), x))
    batch = m.op("Unsqueeze", m.op("Gather", m.op("Shape", x), m.const(np.int64(0)), axis=0), m.ints(0))
    x = m.op("Reshape", x, m.op("Cast", m.op("Concat", batch, m.ints(-1), axis=0), to=TensorProto.INT64))
    x = m.op("MatMul", x, m.weight(64, 5, name="head.weight"))
    m.op("Add", m.vector(5, name="head.bias"), x, out="output")
    m.save("output")


def dense():
    """Concatenations as in DenseNet, and parts of a fire module."""
    m = Maker("dense", (3, 8, 8), 17)
    x = m.op("Conv", "input", m.weight(6, 3, 3, 3, name="features.conv0.weight"), kernel_shape=[3, 3], pads=[1] * 4)
    width = 6
    for i in (1, 2, 3):
        at = f"features.block.layer{i}"
        y = m.op("Relu", m.norm(x, width, f"{at}.norm1"))
        y = m.op("Conv", y, m.weight(4, width, 3, 3, name=f"{at}.conv1.weight"), kernel_shape=[3, 3], pads=[1] * 4)
        x = m.op("Concat", x, y, axis=1)
        width += 4
    for i in (1, 2):
        s = m.op("Relu", m.op("Conv", x, m.weight(4, width, 1, 1), m.vector(4), kernel_shape=[1, 1]))
        a = m.op("Relu", m.op("Conv", s, m.weight(4 * i, 4, 1, 1), m.vector(4 * i), kernel_shape=[1, 1]))
        b = m.op("Relu", m.op("Conv", s, m.weight(4 * i, 4, 3, 3), m.vector(4 * i), kernel_shape=[3, 3], pads=[1] * 4))
        x = m.op("Concat", a, b, axis=1)
        width = 8 * i
    x = m.op("Conv", x, m.weight(10, width, 1, 1, name="classifier.weight"), kernel_shape=[1, 1])
    x = m.op("AveragePool", x, kernel_shape=[8, 8])
    m.op("Flatten", x, out="output", axis=1)
    m.save("output")


def refused():
    """Everything in it that cannot be run must be named at once."""
    m = Maker("refused", (3, 16, 16), 11)
    x = m.op("LRN", "input", size=3, name="norm")
    x = m.op("Conv", x, m.weight(4, 3, 3, 3), kernel_shape=[3, 3], pads=[1] * 4)
    x = m.op("Sigmoid", x, name="gate")
    x = m.op("Conv", x, m.weight(4, 4, 3, 3), kernel_shape=[3, 3], dilations=[2, 2], pads=[2] * 4, name="dilated")
    x = m.op("LeakyRelu", x, name="leaky")
    x = m.op("ConvTranspose", x, m.weight(4, 4, 2, 2), kernel_shape=[2, 2], strides=[2, 2], name="up")
    x = m.op("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4, name="pool")
    x = m.op("GlobalAveragePool", x)
    m.op("Flatten", x, out="output")
    onnx.save(m.model("output"), HERE / "refused.onnx")


for make in (torchscript, dynamo, tensorflow, caffe, shortcuts, dense, refused):
    make()
