"""HElayers (community, non-commercial): `pip install pyhelayers==1.5.5.4 numpy onnx`, then `python run_helayers.py conv16x32`.

CKKS on SEAL with the parameters that it chooses itself for one image, the model's weights in the clear.
"""

import os
import tempfile

import numpy as np
import onnx
import pyhelayers as hl
from onnx import TensorProto, helper, numpy_helper
from work import arguments, convolution, measure, report


def model(path, x, w, b):
    """The convolution as an ONNX file."""
    shape = [1, *x.shape]
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    weights = [numpy_helper.from_array(a.astype(np.float32), n) for a, n in ((w, "w"), (b, "b"))]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xy"]
    graph = helper.make_graph([node], "conv", values[:1], values[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), path)


def main():
    work, runs = arguments()
    x, w, b, y = convolution(work)
    wanted = hl.HeRunRequirements()
    wanted.set_he_context_options([hl.DefaultContext()])
    wanted.optimize_for_batch_size(1)
    wanted.set_model_encrypted(False)
    net = hl.NeuralNet()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "conv.onnx")
        model(path, x, w, b)
        _, compiling = measure(lambda: net.encode([path], wanted, hl.PlainModelHyperParams()))
    context = net.get_created_he_context()
    coder = hl.ModelIoEncoder(net)
    encrypted, result = hl.EncryptedData(context), hl.EncryptedData(context)
    _, encrypting = measure(lambda: coder.encode_encrypt(encrypted, [x[None]]))
    _, evaluating = measure(lambda: net.predict(result, encrypted), runs)
    found, decrypting = measure(lambda: coder.decrypt_decode_output(result))
    found = np.asarray(found).reshape(-1)[: y.size]
    report("helayers", "1.5.5.4", work, found, y, compile=compiling, encrypt=encrypting, evaluate=evaluating,
           decrypt=decrypting, slots=context.slot_count())


main()
