//! Kernels, plans and circuits of chosen layers: what they count, print and refuse.

use std::collections::BTreeSet;
use stria::circuit::{Counts, Inst, Step, count};
use stria::diag::Span;
use stria::graph::{
    Graph, Header, InputSpec, IntLayer, IntNetwork, Interval, Node, NodeId, QuantAttributes, WeightsDecl,
};
use stria::kernels::{Arrangement, Blocks, Choice, Kernel, KernelError, Operand, Split};
use stria::layers::{Conv, Linear};
use stria::lower::{galois_steps, lower};
use stria::params::Encoding;
use stria::select::{Encodings, PlanError, Rings, candidates, plan};
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
    count(&Kernel::output_rotation(g, ring).unwrap().emit("layer"))
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

/// Groups and depthwise layers are free of external rotations by layout alone, whatever order their
/// channels are written in, in blocks as tight as the map.
#[test]
fn grouped_layers_are_free_of_external_rotations_by_layout() {
    for (size, capacity) in [(7, 166), (14, 40), (28, 10)] {
        for groups in [Groups::Contiguous as fn(usize) -> Groups, Groups::Striped] {
            let depthwise = ConvGeometry { groups: groups(3 * capacity), ..dense(0, 0, size, 3) };
            let depthwise = ConvGeometry { c_in: 3 * capacity, c_out: 3 * capacity, ..depthwise };
            let grouped = ConvGeometry { groups: groups(capacity), ..depthwise };
            for (g, products) in [(depthwise, 3 * 9), (grouped, 9 * 9)] {
                let candidates = Kernel::candidates(&g, 8192).unwrap();
                assert_eq!(candidates[0].tally.external, 0);
                let whole = candidates.iter().find(|c| c.choice.arrangement.blocks == Blocks::Tight).unwrap();
                let kernel = Kernel::conv_as(&g, 8192, whole.choice).unwrap();
                assert_eq!(kernel.channel_capacity(), capacity);
                let segment = kernel.emit("layer");
                let counts = count(&segment);
                assert_eq!((counts.internal, counts.external, counts.plain_mults), (3 * 4, 0, products));
                let reach = i32::try_from(size + 1).unwrap();
                for step in galois_steps(&[segment]) {
                    assert!(matches!(step, Step::Rotate(k) if k.abs() <= reach), "{step:?}");
                }
            }
        }
    }
}

/// A 3x3 kernel alone: 2 rotations an input and 2 an output; in 2x2 fragments 3 an input, or 1 an input and
/// 1 an output. A cross in fragments: 2 an input.
#[test]
fn taps_turn_inputs_or_sums_or_choose_fragments() {
    let stripes = ConvGeometry { groups: Groups::Striped(32), ..dense(128, 128, 16, 3) };
    let cross = ConvGeometry { support: Support::Cross, ..stripes };
    let (inputs, sums) = (Operand::Inputs, Operand::Sums);
    let counts = |g: &ConvGeometry, fragments: usize, rows: Operand, columns: Operand| {
        let lanes = if fragments == 1 { 32 } else { 128 };
        let g = ConvGeometry { groups: Groups::Striped(lanes.min(g.c_in)), ..*g };
        let arrangement =
            Arrangement { fragments, blocks: Blocks::PowerOfTwo, lanes, period: 1, diagonals: 1 };
        let choice = Choice { arrangement, split: Split { baby_diagonals: 1, rows, columns } };
        let counts = count(&Kernel::conv_as(&g, 8192, choice).unwrap().emit("layer"));
        (counts.ciphertexts_in, counts.internal, counts.external)
    };
    assert_eq!(counts(&stripes, 1, inputs, inputs), (4, 4 * 8, 0));
    assert_eq!(counts(&stripes, 1, inputs, sums), (4, 4 * 2 + 4 * 2, 0));
    assert_eq!(counts(&stripes, 1, sums, sums), (4, 4 * 8, 0));
    assert_eq!(counts(&stripes, 2, inputs, inputs), (4, 4 * 3, 0));
    assert_eq!(counts(&stripes, 2, inputs, sums), (4, 4 + 4, 0));
    assert_eq!(counts(&cross, 1, inputs, inputs), (4, 4 * 4, 0));
    assert_eq!(counts(&cross, 1, sums, inputs), (4, 4 * 2 + 4 * 2, 0));
    assert_eq!(counts(&cross, 2, inputs, inputs), (4, 4 * 2, 0));
}

/// Depthwise strips: each ciphertext of the first half turns by row taps only, the others by column taps.
#[test]
fn a_rotation_that_no_term_reads_is_not_emitted() {
    let depthwise = ConvGeometry { groups: Groups::Contiguous(128), ..dense(128, 128, 16, 3) };
    let strips = ConvGeometry { support: Support::Strips, ..depthwise };
    let segment = Kernel::output_rotation(&strips, 8192).unwrap().emit("layer");
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
    let segment = Kernel::output_rotation(&dense(64, 64, 8, 3), 8192).unwrap().emit("layer");
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
        let kernel = Kernel::output_rotation(g, ring).unwrap();
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
    let linear = Kernel::hybrid(512, 1000, 8192).unwrap();
    assert_eq!(linear.input().to_string(), "16 copies of 512 features, 1 ciphertext");
    assert_eq!(linear.output().to_string(), "16 segments of 64 features, one every 512 slots, 1 ciphertext");
}

#[test]
fn impossible_layers_are_refused() {
    let g = dense(4, 4, 8, 3);
    assert_eq!(Kernel::output_rotation(&g, 100), Err(KernelError::Ring(100)));
    assert_eq!(Kernel::hybrid(4, 4, 32), Err(KernelError::Ring(32)));
    let what = |g: &ConvGeometry| match Kernel::output_rotation(g, 8192) {
        Err(KernelError::Size { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what(&ConvGeometry { c_in: 0, ..g }), "input channels");
    assert_eq!(what(&ConvGeometry { stride: (1, 0), ..g }), "column stride");
    assert_eq!(what(&ConvGeometry { kernel: (11, 1), ..g }), "kernel height");
    assert_eq!(what(&ConvGeometry { groups: Groups::Striped(3), ..g }), "groups");
    assert_eq!(what(&ConvGeometry { groups: Groups::Contiguous(0), ..g }), "groups");
    assert_eq!(what(&ConvGeometry { pad: Pad { h: usize::MAX, w: 1 }, ..g }), "row padding");
    let wide = Kernel::output_rotation(&dense(1, 1, 600, 3), 2048).unwrap_err();
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
    assert!(Kernel::output_rotation(&unreached, 64).is_ok());
    let unreached = ConvGeometry { c_out: 200, groups: Groups::Dense, ..unreached };
    assert_eq!(Kernel::output_rotation(&unreached, 64), Err(KernelError::NoTerm(0)));
    let limit = KernelError::TooLarge { limit: 1 << 24 };
    assert_eq!(Kernel::output_rotation(&dense(1 << 16, 1 << 16, 8, 3), 64), Err(limit.clone()));
    assert_eq!(Kernel::hybrid(1 << 30, 1 << 30, 64), Err(limit.clone()));
    let long = ConvGeometry { h: 1 << 31, w: 1, ..dense(1, 1, 1, 1) };
    assert_eq!(Kernel::output_rotation(&long, 64), Err(limit));
    let deep =
        ConvGeometry { c_in: 1 << 31, c_out: 1 << 31, groups: Groups::Striped(1 << 31), ..dense(1, 1, 1, 1) };
    assert!(matches!(Kernel::output_rotation(&deep, 64), Err(KernelError::TooLarge { .. })));
    assert_eq!(what(&ConvGeometry { kernel: (1 << 11, 1), h: 1 << 20, ..g }), "kernel height");
    let kernel = Kernel::output_rotation(&g, 1024).unwrap();
    let weights = Tensor::zeros(Shape::of(&[4, 4, 3, 2]));
    assert_eq!(
        kernel.plains(&weights, super::PRIME).err(),
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
        ranges: stria::graph::RangeChoice::default(),
        input,
    };
    IntNetwork { header, graph, intervals: Vec::new(), input_scale: 1.0, output_scale: 1.0, assumed: true }
}

#[test]
fn a_plan_lowers_to_a_verified_circuit() {
    let network = network(2, 64);
    let plan = plan(&network, RINGS_OF_64, SLOTS).unwrap();
    let listed = |node| candidates(&network, node, 64).unwrap();
    assert_eq!(listed(NodeId(1)).first().map(|c| c.choice), plan.layers[0].kernel.choice());
    assert!(listed(NodeId(2)).is_empty());
    assert!(!listed(NodeId(3)).is_empty());
    assert_eq!(
        plan.to_string(),
        "plan: ring 64

layer stem (node 1): spectral
  1 of 1 diagonals on inputs, maps as spectra
  in  4 blocks of 16 (2x2), channels repeated every 2, 1 ciphertext, as spectra
  out 4 blocks of 16 (2x2), 1 of every 2 hold a channel, 1 ciphertext, as spectra

layer head (node 3): hybrid-diagonals
  in  8 copies of 8 features, 1 ciphertext
  out 8 segments of 1 features, one every 8 slots, 1 ciphertext
"
    );
    let circuit = lower(&plan).unwrap();
    assert_eq!(
        circuit.to_string(),
        "circuit: ring 64

segment stem: inputs 1, plaintexts 1, block 16, reach 0
  v1 = dot [v0*p0]
  v2 = rotate v1, 16 (external)
  v3 = add v1, v2
  return v3

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
    let steps: Vec<Step> = [1, 2, 4, 16].map(Step::Rotate).to_vec();
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
