//! Kernels, plans and circuits of chosen layers: what they count, print and refuse.

use std::collections::BTreeSet;
use stria::circuit::{Counts, Inst, Step, count};
use stria::diag::Span;
use stria::graph::{
    Graph, Header, InputSpec, IntLayer, IntNetwork, Interval, Node, NodeId, QuantAttributes, WeightsDecl,
};
use stria::kernels::{Kernel, KernelError};
use stria::layers::{Conv, Linear};
use stria::lower::{galois_steps, lower};
use stria::params::Encoding;
use stria::select::{Encodings, PlanError, Rings, plan};
use stria::tensor::{ConvGeometry, Groups, Pad, Shape, Support, Tensor};

const SLOTS: Encodings<'static> = Encodings::All(Encoding::Slots);
const RINGS_OF_64: Rings = Rings { slots: 64, coefficients: 64 };

fn dense(c_in: usize, c_out: usize, size: usize, kernel: usize) -> ConvGeometry {
    ConvGeometry {
        c_in,
        c_out,
        h: size,
        w: size,
        kernel: (kernel, kernel),
        stride: (1, 1),
        pad: Pad { h: kernel / 2, w: kernel / 2 },
        groups: Groups::Dense,
        support: Support::Full,
    }
}

fn counts_of(g: &ConvGeometry, ring: usize) -> Counts {
    count(&Kernel::conv(g, ring).unwrap().emit("layer"))
}

#[test]
fn striped_and_depthwise_layers_need_no_external_rotation() {
    // 16x16 at N = 8192: 32 blocks. 128 channels in 32 stripes: 4 x 4 ciphertexts, 9 taps.
    let stripes = ConvGeometry { groups: Groups::Striped(32), ..dense(128, 128, 16, 3) };
    let striped = counts_of(&stripes, 8192);
    assert_eq!((striped.internal, striped.external, striped.plain_mults), (4 * 8, 0, 9 * 4 * 4));
    let cross = counts_of(&ConvGeometry { support: Support::Cross, ..stripes }, 8192);
    assert_eq!((cross.internal, cross.external, cross.plain_mults), (4 * 4, 0, 5 * 4 * 4));
    let strips = counts_of(&ConvGeometry { support: Support::Strips, ..stripes }, 8192);
    assert_eq!((strips.internal, strips.external, strips.plain_mults), (4 * 4, 0, 3 * 4 * 4));
    let pointwise = counts_of(&ConvGeometry { groups: Groups::Striped(32), ..dense(128, 256, 16, 1) }, 8192);
    assert_eq!((pointwise.rotations(), pointwise.plain_mults), (0, 4 * 8));
    let depthwise = ConvGeometry { groups: Groups::Contiguous(128), ..dense(128, 128, 16, 3) };
    let depthwise = counts_of(&depthwise, 8192);
    assert_eq!((depthwise.internal, depthwise.external, depthwise.plain_mults), (4 * 8, 0, 9 * 4));
}

/// Depthwise strips: each ciphertext of the first half turns by row taps only, the others by column taps.
#[test]
fn a_rotation_that_no_term_reads_is_not_emitted() {
    let depthwise = ConvGeometry { groups: Groups::Contiguous(128), ..dense(128, 128, 16, 3) };
    let strips = ConvGeometry { support: Support::Strips, ..depthwise };
    let segment = Kernel::conv(&strips, 8192).unwrap().emit("layer");
    let steps = |ct: u32| -> Vec<Step> {
        let of_input = segment.insts.iter().filter_map(|i| match i {
            Inst::Automorphism { src, step } if src.0 == ct => Some(*step),
            Inst::Automorphism { .. }
            | Inst::Extended { .. }
            | Inst::RotateSum { .. }
            | Inst::Dot { .. }
            | Inst::Add(..) => None,
        });
        let mut steps: Vec<Step> = of_input.collect();
        steps.sort_unstable();
        steps
    };
    assert_eq!(steps(0), [Step::Rotate(-1), Step::Rotate(1)]);
    assert_eq!(steps(3), [Step::Rotate(-16), Step::Rotate(16)]);
    assert_eq!(count(&segment).rotations(), 4 * 2);
}

/// Two levels: 64 diagonals in 8 groups of 8 use 7 keys inside of groups and 7 between them, not one key each.
#[test]
fn diagonals_share_galois_keys() {
    let segment = Kernel::conv(&dense(64, 64, 8, 3), 8192).unwrap().emit("layer");
    let steps = |internal: bool| -> BTreeSet<Step> {
        let of_kind = segment.insts.iter().filter_map(|i| match i {
            Inst::Automorphism { src, step } => ((src.0 < segment.inputs) == internal).then_some(*step),
            Inst::Extended { .. } | Inst::RotateSum { .. } | Inst::Dot { .. } | Inst::Add(..) => None,
        });
        of_kind.collect()
    };
    assert_eq!(count(&segment).external, 63);
    assert_eq!(steps(true).len(), 8);
    let inner = (1..8).map(|k| k * 64);
    let outer = (1..8).map(|k| if k <= 4 { k * 512 } else { k * 512 - 4096 });
    assert_eq!(steps(false), inner.chain(outer).map(Step::Rotate).collect());
}

#[test]
fn layouts_tell_what_they_are() {
    let shown = |g: &ConvGeometry, ring| {
        let kernel = Kernel::conv(g, ring).unwrap();
        (kernel.channel_capacity(), kernel.input().to_string(), kernel.output().to_string())
    };
    let text = |capacity, input: &str, output: &str| (capacity, input.to_owned(), output.to_owned());
    assert_eq!(
        shown(&dense(3, 16, 32, 3), 8192),
        text(
            8,
            "8 blocks of 1024 (32x32), channels repeated every 4, 1 ciphertext",
            "8 blocks of 1024 (32x32), 2 ciphertexts"
        )
    );
    let stem = ConvGeometry { stride: (2, 2), pad: Pad { h: 3, w: 3 }, ..dense(3, 64, 224, 7) };
    assert_eq!(
        shown(&stem, 8192),
        text(
            0,
            "4 tiles of 33 rows (112x112), two a ciphertext, 4 phases of stride 2x2, 24 ciphertexts",
            "4 tiles of 33 rows (112x112), two a ciphertext, 128 ciphertexts"
        )
    );
    let projection = ConvGeometry { stride: (2, 2), ..dense(64, 128, 56, 1) };
    assert_eq!(
        shown(&projection, 8192),
        text(
            8,
            "8 blocks of 1024 (28x28), 1 phase of stride 2x2, 8 ciphertexts",
            "8 blocks of 1024 (28x28), 16 ciphertexts"
        )
    );
    let linear = Kernel::linear(512, 1000, 8192).unwrap();
    assert_eq!(linear.input().to_string(), "16 copies of 512 features, 1 ciphertext");
    assert_eq!(linear.output().to_string(), "16 segments of 64 features, one every 512 slots, 1 ciphertext");
}

#[test]
fn impossible_layers_are_refused() {
    let g = dense(4, 4, 8, 3);
    assert_eq!(Kernel::conv(&g, 100), Err(KernelError::Ring(100)));
    assert_eq!(Kernel::linear(4, 4, 32), Err(KernelError::Ring(32)));
    let what = |g: &ConvGeometry| match Kernel::conv(g, 8192) {
        Err(KernelError::Size { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what(&ConvGeometry { c_in: 0, ..g }), "input channels");
    assert_eq!(what(&ConvGeometry { stride: (1, 0), ..g }), "column stride");
    assert_eq!(what(&ConvGeometry { kernel: (11, 1), ..g }), "kernel height");
    assert_eq!(what(&ConvGeometry { groups: Groups::Striped(3), ..g }), "groups");
    assert_eq!(what(&ConvGeometry { groups: Groups::Contiguous(0), ..g }), "groups");
    assert_eq!(what(&ConvGeometry { pad: Pad { h: usize::MAX, w: 1 }, ..g }), "row padding");
    let wide = Kernel::conv(&dense(1, 1, 600, 3), 2048).unwrap_err();
    assert_eq!(wide, KernelError::TileTooLarge { rows: 3, width: 600, half: 1024 });
    assert!(wide.to_string().contains("use a larger ring, at least 4096"), "{wide}");
    // The first half of the outputs has the middle tap alone, which falls into the padding.
    let unreached = ConvGeometry {
        h: 1,
        kernel: (3, 1),
        stride: (3, 1),
        pad: Pad { h: 2, w: 0 },
        support: Support::Strips,
        ..dense(1, 2, 4, 3)
    };
    assert!(Kernel::conv(&unreached, 64).is_ok());
    let unreached = ConvGeometry { c_out: 200, groups: Groups::Dense, ..unreached };
    assert_eq!(Kernel::conv(&unreached, 64), Err(KernelError::NoTerm(0)));
    let limit = KernelError::TooLarge { limit: 1 << 24 };
    assert_eq!(Kernel::conv(&dense(1 << 16, 1 << 16, 8, 3), 64), Err(limit.clone()));
    assert_eq!(Kernel::linear(1 << 30, 1 << 30, 64), Err(limit.clone()));
    let long = ConvGeometry { h: 1 << 31, w: 1, ..dense(1, 1, 1, 1) };
    assert_eq!(Kernel::conv(&long, 64), Err(limit));
    let deep =
        ConvGeometry { c_in: 1 << 31, c_out: 1 << 31, groups: Groups::Striped(1 << 31), ..dense(1, 1, 1, 1) };
    assert!(matches!(Kernel::conv(&deep, 64), Err(KernelError::TooLarge { .. })));
    assert_eq!(what(&ConvGeometry { kernel: (1 << 11, 1), h: 1 << 20, ..g }), "kernel height");
    let kernel = Kernel::conv(&g, 1024).unwrap();
    let weights = Tensor::zeros(Shape::of(&[4, 4, 3, 2]));
    assert_eq!(
        kernel.plains(&weights).err(),
        Some(KernelError::Weights { found: weights.shape.clone(), expected: Shape::of(&[4, 4, 3, 3]) })
    );
}

/// image -> conv `stem` -> flatten -> linear `head`.
fn network(size: usize, ring: u32) -> IntNetwork {
    let conv = Conv {
        out: 2,
        kernel: (3, 3),
        support: Support::Full,
        stride: (1, 1),
        pad: Pad { h: 1, w: 1 },
        groups: Groups::Dense,
        bias: None,
    };
    let layers = [
        ("image", IntLayer::Input(Interval { lo: -128, hi: 127 }), Shape::image(2, size, size)),
        ("stem", IntLayer::Conv(conv), Shape::image(2, size, size)),
        ("flatten", IntLayer::Flatten, Shape::flat(2 * size * size)),
        ("head", IntLayer::Linear(Linear { out: 3, bias: None }), Shape::flat(3)),
    ];
    let mut graph = Graph::default();
    let mut last: Option<NodeId> = None;
    for (name, layer, shape) in layers {
        let node = Node {
            name: name.to_owned(),
            block: None,
            layer,
            shape,
            span: Span::default(),
            quant: QuantAttributes::default(),
        };
        last = graph.add(node, last.as_slice()).ok();
    }
    graph.set_output(last.unwrap());
    let input = InputSpec { scale: 1.0, mean: vec![0.0; 2], std: vec![1.0; 2], pad: 0 };
    let header = Header {
        name: "tiny".to_owned(),
        ring,
        weights: WeightsDecl::None,
        calibration: None,
        weight_bits: 8,
        activation_bits: 8,
        input,
    };
    IntNetwork { header, graph, intervals: Vec::new(), input_scale: 1.0, output_scale: 1.0, assumed: true }
}

#[test]
fn a_plan_lowers_to_a_verified_circuit() {
    let plan = plan(&network(2, 64), RINGS_OF_64, SLOTS).unwrap();
    assert_eq!(
        plan.to_string(),
        "plan: ring 64

layer stem (node 1): output-rotation
  in  16 blocks of 4 (2x2), channels repeated every 2, 1 ciphertext
  out 16 blocks of 4 (2x2), 1 ciphertext

layer head (node 3): hybrid-diagonals
  in  8 copies of 8 features, 1 ciphertext
  out 8 segments of 1 features, one every 8 slots, 1 ciphertext
"
    );
    let circuit = lower(&plan).unwrap();
    assert_eq!(
        circuit.to_string(),
        "circuit: ring 64

segment stem: inputs 1, plaintexts 14, block 4, reach 3
  v1 = extended rotate v0, -3 (internal)
  v2 = extended rotate v0, -2 (internal)
  v3 = extended rotate v0, -1 (internal)
  v4 = extended rotate v0, 1 (internal)
  v5 = extended rotate v0, 2 (internal)
  v6 = extended rotate v0, 3 (internal)
  v7 = dot [v0*p0, v4*p1, v5*p2, v6*p3, v1*p4, v2*p5, v3*p6]
  v8 = rotate v7, 4 (external)
  v9 = dot [v0*p7, v4*p8, v5*p9, v6*p10, v1*p11, v2*p12, v3*p13]
  v10 = add v8, v9
  return v10

segment head: inputs 1, plaintexts 1, block 1, reach 0
  v1 = dot [v0*p0]
  v2 = rotate v1, 1 (external)
  v3 = add v1, v2
  v4 = rotate v3, 2 (external)
  v5 = add v3, v4
  v6 = rotate v5, 4 (external)
  v7 = add v5, v6
  return v7
"
    );
    let steps: Vec<Step> = [-3, -2, -1, 1, 2, 3, 4].map(Step::Rotate).to_vec();
    assert_eq!(galois_steps(&circuit.segments), steps);
}

#[test]
fn a_layer_without_a_kernel_is_named() {
    let error = plan(&network(100, 128), Rings { slots: 128, coefficients: 128 }, SLOTS).unwrap_err();
    assert!(matches!(&error, PlanError::Kernel { layer, .. } if layer == "stem"));
    assert_eq!(
        error.to_string(),
        "layer `stem`: 3 image rows of 100 pixels, the least that a tile needs, exceed the 64 slots of a row; \
         use a larger ring, at least 1024"
    );
}
