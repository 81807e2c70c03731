//! What cannot be imported is said as it is, in numbers that the user can compare; what can be, is.

use super::build::{Net, computed, int, ints, word};
use super::{model, options};
use stria::import::{ImportError, InputFault, Note, Options, TensorFault, import};

/// A pixel of one channel for each of the numbers.
const PIXELS: [f32; 4] = [-1.0, 0.5, 6.0, 7.0];

fn pixels() -> Net {
    Net::new(&[1, 1, 2, 2])
        .floats("zero", &[], &[0.0])
        .floats("one", &[], &[1.0])
        .floats("six", &[], &[6.0])
        .floats("two", &[2], &[1.0, 2.0])
        .floats("below", &[], &[-2.0])
        .floats("least", &[], &[f32::MIN])
        .floats("endless", &[], &[f32::INFINITY])
        .floats("none", &[], &[f32::NAN])
}

#[test]
fn clips_that_are_activations_are_imported() {
    let relu6 = [0.0, 0.5, 6.0, 6.0];
    for bounds in [&["x", "", "six"][..], &["x", "below", "six"], &["x", "zero", "six"]] {
        let net = pixels().node("Relu", &["input"], "x", vec![]).node("Clip", bounds, "y", vec![]);
        let imported = net.imported().unwrap();
        assert_eq!(computed(&imported, &PIXELS), relu6, "{bounds:?}");
        assert!(!imported.text.contains("relu("), "one activation: {}", imported.text);
    }
    let shown = pixels().node("Relu", &["input"], "x", vec![]).node("Add", &["x", "x"], "z", vec![]);
    let twice = shown.node("Clip", &["x", "", "six"], "c", vec![]).node("Add", &["c", "z"], "y", vec![]);
    assert_eq!(twice.computed(&PIXELS), [0.0, 1.5, 18.0, 20.0], "the relu is read beside it");
    let relu = [0.0, 0.5, 6.0, 7.0];
    assert_eq!(pixels().node("Clip", &["input", "zero", "endless"], "y", vec![]).computed(&PIXELS), relu);
    assert_eq!(pixels().node("Max", &["zero", "input"], "y", vec![]).computed(&PIXELS), relu);
    let nothing = pixels().node("Clip", &["input", "least", ""], "y", vec![]);
    assert_eq!(nothing.computed(&PIXELS), PIXELS);
    // Behind a pool of a relu, too; but of values that may be negative 6 alone is no layer.
    let pooled = pixels()
        .node("Relu", &["input"], "x", vec![])
        .node("GlobalAveragePool", &["x"], "p", vec![])
        .node("Min", &["p", "six"], "y", vec![]);
    assert_eq!(pooled.computed(&[2.0, 4.0, 6.0, 24.0]), [6.0]);
}

#[test]
fn other_clips_are_refused_with_their_bounds() {
    let clip = |inputs: &[&str]| pixels().node("Clip", inputs, "y", vec![]).refusal().what;
    assert_eq!(clip(&["input", "", "six"]), "clips from 6 downwards");
    assert_eq!(clip(&["input", "one", ""]), "clips from 1 upwards");
    assert_eq!(clip(&["input", "below", "six"]), "clips between -2 and 6");
    assert_eq!(clip(&["input", "zero", "none"]), "clips by what is not a number");
    assert_eq!(clip(&["input", "none", "six"]), "clips by what is not a number");
    assert_eq!(clip(&["input", "two", ""]), "its `min` has the shape [2]");
    let relu = pixels().node("Relu", &["input"], "x", vec![]);
    let five = relu.floats("five", &[], &[5.0]).node("Min", &["x", "five"], "y", vec![]).refusal();
    assert_eq!(five.what, "clips from 5 downwards");
    // A relu that is shifted may be negative.
    let shifted = pixels().node("Relu", &["input"], "r", vec![]).node("Sub", &["r", "one"], "x", vec![]);
    let shifted = shifted.node("Clip", &["x", "", "six"], "y", vec![]).refusal();
    assert_eq!(shifted.what, "clips from 6 downwards");
}

#[test]
fn constants_are_added_in_a_sum() {
    let net = || {
        let net = Net::new(&[1, 2, 1, 2]).floats("c", &[1, 2, 1, 1], &[10.0, 20.0]).floats("s", &[], &[0.5]);
        net.node("Relu", &["input"], "r", vec![])
    };
    let image = [-1.0, 2.0, -3.0, 4.0];
    for inputs in [&["input", "r", "c", "s"][..], &["s", "input", "c", "r"]] {
        let found = net().node("Sum", inputs, "y", vec![]).computed(&image);
        assert_eq!(found, [9.5, 14.5, 17.5, 28.5], "{inputs:?}");
    }
    assert_eq!(net().node("Sum", &["c", "input"], "y", vec![]).computed(&image), [9.0, 12.0, 17.0, 24.0]);
    let joined = net().node("Concat", &["input", "c"], "y", vec![int("axis", 1)]).refusal();
    assert!(joined.what.contains("operand 2 is constant"), "{joined}");
    let shapes =
        net().node("GlobalAveragePool", &["input"], "g", vec![]).node("Sum", &["r", "g"], "y", vec![]);
    let shapes = shapes.refusal();
    assert!(shapes.what.contains("[1, 2, 1, 2], [1, 2, 1, 1]"), "{shapes}");
}

#[test]
fn paddings_that_are_too_large_do_not_crop() {
    let pad = |pads: [i64; 8]| {
        let net = Net::new(&[1, 3, 4, 4]).integers("pads", &pads);
        net.node("Pad", &["input", "pads"], "p", vec![]).node("Relu", &["p"], "y", vec![]).refusal().what
    };
    for large in [1 << 30, 1 << 40] {
        for at in [1, 2, 7] {
            let mut pads = [0; 8];
            pads[at] = large;
            let found = pad(pads);
            assert!(found.contains(&large.to_string()) && found.contains("too large"), "{found}");
        }
    }
    assert_eq!(pad([0, 0, -1, 0, 0, 0, 0, 0]), "crops");
    let window = |attribute| {
        let attributes = vec![ints("kernel_shape", &[2, 2]), attribute];
        Net::new(&[1, 3, 4, 4]).node("MaxPool", &["input"], "y", attributes).refusal().what
    };
    assert!(window(ints("pads", &[0, 0, 1 << 40, 0])).contains("`pads` has the size 1099511627776"));
    assert!(window(ints("strides", &[1 << 40, 1])).contains("too large"));
    assert_eq!(window(ints("pads", &[0, -1, 0, 0])), "`pads` is [0, -1, 0, 0], not 4 sizes");
}

#[test]
fn limits_are_named_where_they_are_exceeded() {
    let relu = |dims: &[i64]| Net::new(dims).node("Relu", &["input"], "y", vec![]);
    let input = relu(&[1, 3, 1 << 20, 1 << 20]).imported().unwrap_err();
    assert!(matches!(input, ImportError::Input(InputFault::TooLarge { limit: 0x8000_0000, .. })), "{input}");
    assert!(input.to_string().contains("at most 2147483648 elements"), "{input}");
    let dims = [1 << 20, 1024, 3, 3];
    let weight =
        Net::new(&[1, 1024, 8, 8]).floats("w", &dims, &[]).node("Conv", &["input", "w"], "y", vec![]);
    let error = weight.imported().unwrap_err();
    let ImportError::Tensor { fault, .. } = error else { panic!("{error}") };
    assert_eq!(fault, TensorFault::Elements { shape: dims.to_vec(), limit: 1 << 31 });
    let negative =
        Net::new(&[1, 1, 8, 8]).floats("w", &[1, -1], &[]).node("Conv", &["input", "w"], "y", vec![]);
    assert!(negative.error().contains("negative"));
    let filled = |memory| {
        let net = Net::new(&[1, 1 << 20]).integers("shape", &[1 << 20, 1 << 16]);
        let net = net.node("ConstantOfShape", &["shape"], "w", vec![]);
        let bytes = net.node("MatMul", &["input", "w"], "y", vec![]).bytes(&["y"]);
        import(bytes, None, &Options { memory, ..options("x") }).unwrap_err()
    };
    let error = filled(1 << 31);
    assert!(
        matches!(&error, ImportError::Memory { what, needed, .. } if what.contains("`w`") && *needed > 1 << 38),
        "{error}"
    );
    let error = filled(u64::MAX);
    assert!(matches!(error, ImportError::Tensor { fault: TensorFault::Elements { .. }, .. }), "{error}");
}

#[test]
fn averages_with_padding_that_no_window_reads() {
    let image: Vec<f32> = (0..36_u8).map(f32::from).collect();
    let pool = |attributes| {
        let attributes = [vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])], attributes].concat();
        Net::new(&[1, 1, 6, 6]).node("AveragePool", &["input"], "y", attributes)
    };
    let wanted = [3.5, 5.5, 7.5, 15.5, 17.5, 19.5, 27.5, 29.5, 31.5];
    for attributes in [
        vec![],
        vec![int("ceil_mode", 1)],
        vec![word("auto_pad", "SAME_UPPER")],
        vec![ints("pads", &[0; 4]), int("count_include_pad", 0), int("ceil_mode", 1)],
        vec![ints("pads", &[0, 0, 1, 1])],
        vec![ints("pads", &[0, 0, 1, 1]), int("ceil_mode", 1)],
        vec![ints("pads", &[0, 0, 1, 1]), int("count_include_pad", 1)],
    ] {
        assert_eq!(pool(attributes.clone()).computed(&image), wanted, "{attributes:?}");
    }
    // Padding above is read; so is padding below that makes a window more.
    for attributes in [
        vec![ints("pads", &[1, 1, 0, 0])],
        vec![ints("pads", &[1, 0, 1, 0])],
        vec![ints("pads", &[0, 0, 2, 2])],
    ] {
        let refusal = pool(attributes.clone()).refusal();
        assert!(refusal.what.contains("count_include_pad"), "{attributes:?}: {refusal}");
    }
    // Of the last window only a part would be counted.
    let part = vec![ints("pads", &[0, 0, 1, 1]), int("ceil_mode", 1), int("count_include_pad", 1)];
    let square = |side, attributes: Vec<_>| {
        let attributes = [vec![ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2])], attributes].concat();
        Net::new(&[1, 1, side, side]).node("AveragePool", &["input"], "y", attributes)
    };
    assert!(square(5, part.clone()).refusal().what.contains("beyond"));
    assert!(square(6, vec![int("ceil_mode", 1)]).refusal().what.contains("ceil_mode = 1"));
}

#[test]
fn advice_on_averages_fits_the_framework() {
    let pool = |attribute| {
        let attributes = vec![ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), attribute];
        Net::new(&[1, 1, 7, 7]).node("AveragePool", &["input"], "y", attributes).refusal()
    };
    let keras = pool(word("auto_pad", "SAME_UPPER"));
    assert!(keras.what.contains("SAME") && keras.instead.contains("padding=\"valid\""), "{keras}");
    let torch = pool(ints("pads", &[1; 4]));
    assert!(torch.instead.contains("count_include_pad=True") && torch.instead.contains("Keras"), "{torch}");
}

#[test]
fn dropouts_in_training_mode_are_noted() {
    let net = |op: fn(Net) -> Net| {
        let net = Net::new(&[1, 2]).floats("ratio", &[], &[0.5]);
        op(net.node("Relu", &["input"], "r", vec![])).imported().unwrap()
    };
    let trained = net(|net| net.truth("mode").node("Dropout", &["r", "ratio", "mode"], "y", vec![]));
    assert_eq!(computed(&trained, &[-1.0, 3.0]), [0.0, 3.0]);
    let notes = trained.notes;
    assert!(notes.contains(&Note::Dropout("y".into())), "{notes:?}");
    let plain = net(|net| net.node("Dropout", &["r", "ratio"], "y", vec![])).notes;
    assert!(!plain.iter().any(|note| matches!(note, Note::Dropout(_))), "{plain:?}");
}

#[test]
fn one_of_several_outputs_is_chosen() {
    let bytes = || {
        let net = Net::new(&[1, 2]).node("Relu", &["input"], "a", vec![]);
        net.node("Sigmoid", &["a"], "b", vec![]).bytes(&["a", "b"])
    };
    let take = |output: Option<&str>| {
        import(bytes(), None, &Options { output: output.map(str::to_owned), ..options("x") })
    };
    let error = take(None).unwrap_err().to_string();
    assert!(error.contains("2 outputs (a, b)") && error.contains("--graph-output"), "{error}");
    // What only the other needs is not looked at.
    assert_eq!(computed(&take(Some("a")).unwrap(), &[-1.0, 3.0]), [0.0, 3.0]);
    assert!(matches!(take(Some("b")), Err(ImportError::Unsupported(_))));
    let error = take(Some("c")).unwrap_err();
    assert!(matches!(&error, ImportError::NoOutput { names, .. } if names == "a, b"), "{error}");
}

#[test]
fn renamed_tensors_are_counted_in_words() {
    let imported = import(model("torchscript"), None, &options("x")).unwrap();
    let note = imported.notes.iter().find(|note| matches!(note, Note::Renamed(_))).unwrap().to_string();
    assert!(note.contains(" tensors are renamed"), "{note}");
    assert_eq!(Note::Renamed(1).to_string().split(" renamed").next(), Some("1 tensor is"));
}

#[test]
fn frames_of_raw_images_are_written() {
    let pad = |dims: &[i64], pad| {
        let bytes = Net::new(dims).node("Relu", &["input"], "y", vec![]).bytes(&["y"]);
        import(bytes, None, &Options { pad, ..options("x") })
    };
    let imported = pad(&[1, 1, 32, 32], 2).unwrap();
    assert!(imported.text.contains("pad: 2"), "{}", imported.text);
    assert_eq!(imported.model.header.input.pad, 2);
    assert!(pad(&[1, 1, 4, 9], 1).is_ok());
    for (dims, size) in [(&[1, 1, 4, 9][..], 2), (&[1, 1, 4, 9], usize::MAX), (&[1, 9], 1)] {
        assert!(matches!(pad(dims, size), Err(ImportError::Frame { .. })), "{dims:?}");
    }
}
