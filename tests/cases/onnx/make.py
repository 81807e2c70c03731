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


def operators():
    """Every operator that is imported, alone or with what it needs, in the forms that opsets 9 to 20 have.

    One file: `NAME.onnx` the model's bytes, `NAME.input` and `NAME.output` what onnxruntime computes.
    """
    cases = {}

    def case(name, shape, opset, build, channels_last=False, logits=None):
        m = Maker(name, shape, opset, channels_last)
        out = build(m) or "output"
        model = m.model("output")
        shown = m.model(logits) if logits else model
        session = onnxruntime.InferenceSession(shown.SerializeToString())
        inputs = m.random.normal(0, 1, [2] + list(shape)).astype(np.float32)
        outputs = np.stack([session.run(None, {"input": x[None]})[0].reshape(-1) for x in inputs])
        if channels_last:
            inputs = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
        assert out == "output"
        cases[f"{name}.onnx"] = np.frombuffer(model.SerializeToString(), dtype=np.uint8)
        cases[f"{name}.input"], cases[f"{name}.output"] = inputs, outputs

    def head(m, x, c, h):
        """A convolution to one value a channel, so that what is before it must be right."""
        m.op("Conv", x, m.weight(2, c, h, h), out="output", kernel_shape=[h, h])

    def conv(c, k, out=4, **attributes):
        def build(m):
            group = attributes.get("group", 1)
            m.op("Conv", "input", m.weight(out, c // group, *k), m.vector(out), out="output", **attributes)
        return build

    case("conv_plain", (3, 7, 6), 9, conv(3, (3, 3), kernel_shape=[3, 3]))
    case("conv_without_kernel_shape", (3, 7, 6), 11, conv(3, (3, 2)))
    case("conv_strided", (3, 9, 8), 11, conv(3, (3, 3), kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1]))
    case("conv_uneven", (3, 8, 8), 13, conv(3, (3, 3), kernel_shape=[3, 3], strides=[2, 2], pads=[0, 1, 1, 0]))
    case("conv_depthwise", (4, 6, 6), 13, conv(4, (3, 3), out=4, group=4, kernel_shape=[3, 3], pads=[1] * 4))
    case("conv_multiplier", (3, 6, 6), 13, conv(3, (3, 3), out=6, group=3, kernel_shape=[3, 3], pads=[1] * 4))
    case("conv_grouped", (4, 6, 6), 20, conv(4, (1, 1), out=6, group=2))
    case("conv_same_upper", (2, 7, 8), 11, conv(2, (3, 3), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"))
    case("conv_same_lower", (2, 8, 8), 11, conv(2, (2, 2), kernel_shape=[2, 2], auto_pad="SAME_LOWER"))
    case("conv_valid", (2, 8, 8), 11, conv(2, (3, 3), kernel_shape=[3, 3], auto_pad="VALID"))

    def gemm(**attributes):
        def build(m):
            dims = (5, 6) if attributes.get("transB") else (6, 5)
            m.op("Gemm", "input", m.weight(*dims), m.vector(5), out="output", **attributes)
        return build

    case("gemm", (6,), 9, gemm())
    case("gemm_transposed_scaled", (6,), 13, gemm(transB=1, alpha=0.5, beta=2.0))
    case("gemm_without_bias", (6,), 13, lambda m: m.op("Gemm", "input", m.weight(6, 5), out="output"))

    def matmul(m, after="Add"):
        m.op(after, m.op("MatMul", "input", m.weight(6, 5)), m.vector(5), out="output")

    case("matmul_add", (6,), 9, matmul)
    case("matmul_sub", (6,), 13, lambda m: matmul(m, "Sub"))
    case("bias_first", (6,), 13, lambda m: m.op("Add", m.vector(5), m.op("MatMul", "input", m.weight(6, 5)), out="output"))
    case("sum_of_two", (3, 5, 5), 13, lambda m: head(m, m.op("Sum", "input", m.op("Relu", "input")), 3, 5))
    case("sum_of_one", (3, 5, 5), 13, lambda m: head(m, m.op("Sum", "input"), 3, 5))
    case("sum_with_itself", (3, 5, 5), 13, lambda m: head(m, m.op("Add", "input", "input"), 3, 5))
    case("difference", (3, 5, 5), 13, lambda m: head(m, m.op("Sub", "input", m.op("Relu", "input")), 3, 5))
    case("scale", (3, 5, 5), 13, lambda m: head(m, m.op("Mul", "input", m.const(np.float32(0.3))), 3, 5))
    case("scale_a_channel", (3, 5, 5), 13, lambda m: head(m, m.op("Mul", m.const(np.array([[[0.5]], [[-1.0]], [[2.0]]], dtype=np.float32)), "input"), 3, 5))
    case("quotient_a_channel", (3, 5, 5), 13, lambda m: head(m, m.op("Div", "input", m.const(np.array([[[[0.5]], [[-1.0]], [[2.0]]]], dtype=np.float32))), 3, 5))
    case("square_by_mul", (3, 5, 5), 13, lambda m: head(m, m.op("Mul", "input", "input"), 3, 5))
    case("square_by_pow", (3, 5, 5), 13, lambda m: head(m, m.op("Pow", "input", m.const(np.float32(2))), 3, 5))
    case("square_by_integer_pow", (3, 5, 5), 12, lambda m: head(m, m.op("Pow", "input", m.const(np.int64(2))), 3, 5))
    case("negated", (3, 5, 5), 13, lambda m: head(m, m.op("Neg", "input"), 3, 5))

    def quad(m):
        x = m.op("Mul", m.op("Mul", "input", "input"), m.const(np.float32(0.2)))
        x = m.op("Add", m.op("Add", x, m.op("Mul", "input", m.const(np.float32(0.5)))), m.const(np.float32(0.1)))
        head(m, x, 3, 5)

    case("quad", (3, 5, 5), 17, quad)
    case("relu", (3, 5, 5), 14, lambda m: head(m, m.op("Relu", "input"), 3, 5))
    case("clip_attributes", (3, 5, 5), 9, lambda m: head(m, m.op("Clip", "input", min=0.0, max=6.0), 3, 5))
    case("clip_inputs", (3, 5, 5), 13, lambda m: head(m, m.op("Clip", "input", m.const(np.float32(0)), m.const(np.float32(6))), 3, 5))
    case("clip_below", (3, 5, 5), 13, lambda m: head(m, m.op("Clip", "input", m.const(np.float32(0))), 3, 5))

    def relu6_by_min(m):
        x = m.op("Min", m.op("Relu", "input"), m.const(np.float32(6)))
        head(m, x, 3, 5)

    case("relu6_by_min", (3, 5, 5), 13, relu6_by_min)
    case("relu_by_max", (3, 5, 5), 13, lambda m: head(m, m.op("Max", "input", m.const(np.float32(0))), 3, 5))
    case("batch_norm_alone", (3, 5, 5), 15, lambda m: head(m, m.norm("input", 3, "bn"), 3, 5))

    def norm_of_features(m):
        x = m.op("MatMul", "input", m.weight(6, 5))
        m.op("Relu", m.norm(x, 5, "bn"), out="output")

    case("batch_norm_of_features", (6,), 15, norm_of_features)

    def old_norm(m):
        x = m.norm("input", 3, "bn")
        m.nodes[-1].attribute.append(helper.make_attribute("momentum", 0.9))
        head(m, x, 3, 5)

    case("batch_norm_old", (3, 5, 5), 9, old_norm)
    pool = dict(kernel_shape=[2, 2], strides=[2, 2])
    case("max_pool", (3, 6, 6), 12, lambda m: head(m, m.op("MaxPool", "input", **pool), 3, 3))
    case("max_pool_padded", (3, 6, 6), 12, lambda m: head(m, m.op("MaxPool", "input", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), 3, 3))
    case("max_pool_same", (3, 7, 7), 12, lambda m: head(m, m.op("MaxPool", "input", auto_pad="SAME_UPPER", **pool), 3, 4))
    case("max_pool_up", (3, 7, 7), 12, lambda m: head(m, m.op("MaxPool", "input", ceil_mode=1, **pool), 3, 4))
    case("average_pool", (3, 6, 6), 10, lambda m: head(m, m.op("AveragePool", "input", **pool), 3, 3))
    case("average_pool_counted", (3, 6, 6), 19, lambda m: head(m, m.op("AveragePool", "input", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, count_include_pad=1), 3, 3))
    case("average_pool_uncounted", (3, 6, 6), 19, lambda m: head(m, m.op("AveragePool", "input", kernel_shape=[3, 3], pads=[1] * 4), 3, 6))
    case("average_pool_same", (3, 7, 7), 12, lambda m: head(m, m.op("AveragePool", "input", auto_pad="SAME_UPPER", **pool), 3, 4))
    case("average_pool_up", (3, 7, 7), 12, lambda m: head(m, m.op("AveragePool", "input", ceil_mode=1, **pool), 3, 4))

    def flat_head(m, x, c):
        m.op("Gemm", m.op("Flatten", x), m.weight(4, c), m.vector(4), transB=1, out="output")

    case("global_average", (3, 6, 6), 9, lambda m: flat_head(m, m.op("GlobalAveragePool", "input"), 3))
    case("global_max", (3, 6, 6), 9, lambda m: flat_head(m, m.op("GlobalMaxPool", "input"), 3))
    case("mean_by_attribute", (3, 6, 6), 13, lambda m: flat_head(m, m.op("ReduceMean", "input", axes=[2, 3], keepdims=1), 3))
    case("mean_by_input", (3, 6, 6), 18, lambda m: flat_head(m, m.op("ReduceMean", "input", m.ints(-2, -1), keepdims=0), 3))

    def mean_last(m):
        x = m.op("Transpose", m.op("Conv", m.op("Transpose", "input", perm=[0, 3, 1, 2]), m.weight(4, 3, 3, 3), kernel_shape=[3, 3]), perm=[0, 2, 3, 1])
        flat_head(m, m.op("ReduceMean", x, axes=[1, 2], keepdims=0), 4)

    case("mean_channels_last", (6, 6, 3), 13, mean_last, channels_last=True)

    case("flatten", (3, 4, 4), 9, lambda m: flat_head(m, "input", 48))
    case("flatten_axis", (3, 4, 4), 13, lambda m: m.op("Gemm", m.op("Flatten", "input", axis=-3), m.weight(48, 4), out="output"))
    case("reshape", (3, 4, 4), 9, lambda m: m.op("MatMul", m.op("Reshape", "input", m.ints(1, 48)), m.weight(48, 4), out="output"))
    case("reshape_open", (3, 4, 4), 14, lambda m: m.op("MatMul", m.op("Reshape", "input", m.ints(0, -1)), m.weight(48, 4), out="output"))

    def squeezed(m, axes_as_input):
        x = m.op("GlobalAveragePool", "input")
        x = m.op("Squeeze", x, m.ints(2, 3)) if axes_as_input else m.op("Squeeze", x, axes=[2, 3])
        m.op("MatMul", x, m.weight(3, 4), out="output")

    case("squeeze_attribute", (3, 4, 4), 11, lambda m: squeezed(m, False))
    case("squeeze_input", (3, 4, 4), 13, lambda m: squeezed(m, True))

    def unsqueezed(m):
        x = m.op("Relu", m.op("MatMul", "input", m.weight(6, 5)))
        x = m.op("Unsqueeze", x, m.ints(2, 3))
        m.op("Flatten", m.op("Conv", x, m.weight(4, 5, 1, 1)), out="output")

    case("unsqueeze", (6,), 13, unsqueezed)

    def shuffle(m):
        x = m.op("Reshape", "input", m.ints(1, 2, 3, 5, 5))
        x = m.op("Reshape", m.op("Transpose", x, perm=[0, 2, 1, 3, 4]), m.ints(1, -1, 5, 5))
        head(m, x, 6, 5)

    case("shuffle", (6, 5, 5), 9, shuffle)
    case("concat", (3, 5, 5), 13, lambda m: head(m, m.op("Concat", "input", m.op("Relu", "input"), axis=1), 6, 5))
    case("concat_from_the_end", (3, 5, 5), 13, lambda m: head(m, m.op("Concat", "input", m.op("Relu", "input"), axis=-3), 6, 5))

    def passed(m):
        x = m.op("Dropout", m.op("Identity", "input"))
        head(m, m.op("Cast", x, to=TensorProto.FLOAT), 3, 5)

    case("nothing", (3, 5, 5), 13, passed)
    case("dropout_old", (3, 5, 5), 9, lambda m: head(m, m.op("Dropout", "input", ratio=0.3), 3, 5))

    def computed_shape(m):
        zero = m.op("Constant", value_int=0)
        n = m.op("Unsqueeze", m.op("Gather", m.op("Shape", "input"), zero), m.ints(0))
        rest = m.op("ConstantOfShape", m.ints(1), value=numpy_helper.from_array(np.array([-1], dtype=np.int64)))
        x = m.op("Reshape", "input", m.op("Cast", m.op("Concat", n, rest, axis=0), to=TensorProto.INT64))
        m.op("MatMul", x, m.weight(48, 4), out="output")

    case("computed_shape", (3, 4, 4), 13, computed_shape)

    def constant_weights(m):
        w = m.random.normal(0, 1, (2, 3, 5, 5)).astype(np.float32)
        w = m.op("Constant", value=numpy_helper.from_array(w))
        w = m.op("Mul", w, m.op("Sqrt", m.const(np.float32(0.25))))
        m.op("Conv", "input", m.op("Cast", w, to=TensorProto.FLOAT), out="output")

    case("constant_weights", (3, 5, 5), 13, constant_weights)
    case("half_weights", (3, 5, 5), 13, lambda m: m.op("Conv", "input", m.op("Cast", m.const(m.random.normal(0, 1, (2, 3, 5, 5)).astype(np.float16)), to=TensorProto.FLOAT), out="output"))
    case("pad_attribute", (3, 4, 4), 9, lambda m: head(m, m.op("Pad", "input", pads=[0, 0, 1, 0, 0, 0, 0, 1]), 3, 5))
    case("pad_input", (3, 4, 4), 13, lambda m: head(m, m.op("Pad", "input", m.ints(0, 0, 1, 1, 0, 0, 1, 1)), 3, 6))
    case("pad_axes", (3, 4, 4), 18, lambda m: head(m, m.op("Pad", "input", m.ints(1, 1, 1, 1), m.const(np.float32(0)), m.ints(2, 3)), 3, 6))
    case("pad_channels", (3, 4, 4), 13, lambda m: head(m, m.op("Pad", "input", m.ints(0, 1, 0, 0, 0, 2, 0, 0)), 6, 4))
    case("pad_nothing", (3, 4, 4), 13, lambda m: head(m, m.op("Relu", m.op("Pad", "input", m.ints(0, 0, 0, 0, 0, 0, 0, 0))), 3, 4))

    def pad_then_relu(m):
        x = m.op("Relu", m.op("Pad", "input", m.ints(0, 0, 1, 1, 0, 0, 1, 1)))
        head(m, x, 3, 6)

    case("pad_then_relu", (3, 4, 4), 13, pad_then_relu)

    def pad_then_pool(m):
        x = m.op("Pad", "input", m.ints(0, 0, 1, 1, 0, 0, 1, 1))
        head(m, m.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), 3, 3)

    case("pad_then_average", (3, 4, 4), 13, pad_then_pool)

    def pad_last(m):
        x = m.op("Pad", "input", m.ints(0, 0, 0, 0, 0, 1, 1, 0))
        x = m.op("Transpose", x, perm=[0, 3, 1, 2])
        head(m, x, 3, 6)

    case("pad_channels_last", (5, 5, 3), 13, pad_last, channels_last=True)

    def pad_between(m):
        x = m.op("Transpose", "input", perm=[0, 3, 1, 2])
        x = m.op("Transpose", m.op("Conv", x, m.weight(4, 3, 1, 1)), perm=[0, 2, 3, 1])
        x = m.op("Relu", m.op("Add", x, m.vector(4)))
        x = m.op("Pad", x, m.ints(0, 1, 1, 0, 0, 1, 1, 0))
        head(m, m.op("Transpose", x, perm=[0, 3, 1, 2]), 4, 7)

    case("pad_between_transposes", (5, 5, 3), 13, pad_between, channels_last=True)
    case("slice_attribute", (3, 6, 6), 9, lambda m: head(m, m.op("Slice", "input", axes=[2, 3], starts=[0, 0], ends=[9, 9]), 3, 6))
    case("slice_input", (3, 6, 6), 13, lambda m: head(m, m.op("Slice", "input", m.ints(0, 0), m.ints(2**31 - 1, 2**31 - 1), m.ints(2, 3), m.ints(2, 2)), 3, 3))

    def softmax(m):
        m.op("Gemm", "input", m.weight(6, 5), out="logits")
        m.op("Softmax", "logits", axis=1, out="output")

    case("softmax", (6,), 13, softmax, logits="logits")

    def argmax(m):
        m.op("Gemm", "input", m.weight(6, 5), out="logits")
        m.op("ArgMax", "logits", axis=1, keepdims=0, out="output")

    case("argmax", (6,), 13, argmax, logits="logits")

    def keras(m):
        """NHWC all along, as tf2onnx writes what it cannot fold."""
        def there(x):
            return m.op("Transpose", x, perm=[0, 3, 1, 2])
        def back(x):
            return m.op("Transpose", x, perm=[0, 2, 3, 1])
        x = back(m.op("Conv", there("input"), m.weight(4, 3, 3, 3), kernel_shape=[3, 3], auto_pad="SAME_UPPER"))
        x = m.op("Add", x, m.vector(4))
        y = m.op("Relu", m.op("Mul", x, m.vector(4, 0.5, 1.5)))
        y = back(m.op("MaxPool", there(y), kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"))
        z = back(m.op("AveragePool", there(x), kernel_shape=[2, 2], strides=[2, 2]))
        x = m.op("Concat", y, m.op("Add", y, z), axis=3)
        x = m.op("Reshape", x, m.ints(-1, 3 * 3 * 8))
        m.op("Add", m.op("MatMul", x, m.weight(72, 4)), m.vector(4), out="output")

    case("keras", (6, 6, 3), 13, keras, channels_last=True)

    def grouped_head(m):
        x = m.op("GlobalAveragePool", m.op("Relu", m.op("Conv", "input", m.weight(6, 3, 3, 3))))
        x = m.op("Conv", x, m.weight(4, 6, 1, 1), m.vector(4))
        m.op("Reshape", x, m.ints(1, -1), out="output")

    case("convolution_as_head", (3, 5, 5), 13, grouped_head)
    save_file(cases, HERE / "operators.safetensors")
    print(len(cases) // 3, "operators,", (HERE / "operators.safetensors").stat().st_size, "bytes")


for make in (torchscript, dynamo, tensorflow, caffe, shortcuts, dense, refused, operators):
    make()
