//! Max pools and the activations before them, in either order and on any windows: one meaning, costs as predicted.

use super::networks::check;
use crate::random::{images, stages_of};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::fmt::Write;
use stria::compile::Stages;
use stria::compiled::Compiled;
use stria::graph::{IntLayer, IntNetwork, NodeId, evaluate, verify};
use stria::params::plain_prime;
use stria::passes::pool_first;
use stria::protocol::{Activations, Choices, Function, Reveal, Step, steps};
use stria::quant::intervals_are_proven;

/// A network of one to three convolutions with activations and pools of all kinds.
fn source(seed: u64) -> String {
    let mut stream = ChaCha8Rng::seed_from_u64(seed ^ 0x9001);
    let mut of = |choices: &[&'static str]| {
        choices[usize::try_from(stream.next_u64() % choices.len() as u64).unwrap()]
    };
    let mut text = format!("model pooled {{\n    ring: 4096\n    weights: random({})\n", seed % 1000);
    let (c, h, w) = (of(&["1", "2", "3"]), of(&["5", "6", "8"]), of(&["4", "7", "9"]));
    writeln!(text, "    input image: tensor[{c}, {h}, {w}] {{ mean: 0.4, std: 0.3 }}").unwrap();
    text.push_str("    let x = image\n");
    for _ in 0..of(&["1", "12", "123"]).len() {
        let out = of(&["2", "3", "5"]);
        let activation = of(&[" |> relu", " |> relu", " |> relu6", " |> square", "", " |> relu |> relu6"]);
        let mut pool = || {
            of(&[
                " |> max_pool(kernel: 2)",
                " |> max_pool(kernel: 3, stride: 2, pad: 1)",
                " |> max_pool(kernel: 3, stride: 1, pad: 1)",
                " |> max_pool(kernel: 2, stride: 1, pad: 1)",
                " |> max_pool(kernel: 3x2, stride: 2x1)",
            ])
        };
        let (first, second) = (pool(), pool());
        let after = of(&["once", "twice", "again"]);
        writeln!(text, "    if height(x) > 3 && width(x) > 3 {{").unwrap();
        writeln!(text, "        x = conv(x, out: {out}, kernel: 3x3, pad: same){activation}").unwrap();
        match after {
            "once" => writeln!(text, "        x = x{first}"),
            "twice" => writeln!(text, "        if height(x) > 6 {{ x = x{first}{second} }}"),
            _ => writeln!(text, "        x = concat(x, max_pool(x, kernel: 3, stride: 1, pad: 1))"),
        }
        .unwrap();
        text.push_str("    }\n");
    }
    writeln!(text, "    output flatten(x) |> linear(out: {})\n}}", of(&["2", "5", "7"])).unwrap();
    text
}

/// Elements that pass a shift and clamp.
fn activated(network: &IntNetwork, id: NodeId) -> f64 {
    let node = network.graph.node(id);
    if let IntLayer::Requant(_) = node.layer { node.shape.elements() as f64 } else { 0.0 }
}

#[test]
fn either_order_of_activation_and_pool_is_one_meaning() {
    let (mut swaps, mut short) = (0, 0);
    for seed in 0..56 {
        let Stages { reference, compiled, .. } = stages_of(source(seed), seed);
        let weights = compiled.weights.clone().unwrap();
        let images = images(&compiled, seed);
        let mut kept = reference.clone();
        // As dear either way, or not known.
        for price in [Some(1.0), None] {
            assert_eq!(pool_first(&mut kept, &|_, _| price), 0);
        }
        assert_eq!((kept.to_string(), &kept.intervals), (reference.to_string(), &reference.intervals));

        let fewer = |network: &IntNetwork, id| Some(activated(network, id));
        let mut rewritten = reference.clone();
        swaps += pool_first(&mut rewritten, &fewer);
        verify(&rewritten).unwrap();
        assert!(intervals_are_proven(&rewritten, &weights).unwrap(), "{}", source(seed));
        assert_eq!(rewritten.largest_accumulator(), reference.largest_accumulator());
        let once = rewritten.to_string();
        assert_eq!(pool_first(&mut rewritten, &fewer), 0);
        assert_eq!(rewritten.to_string(), once);

        let t = plain_prime(256, reference.largest_accumulator(), None).unwrap();
        short += steps(&reference, t, Reveal::Logits).iter().filter(|step| step.from != step.to).count();
        for network in [&reference, &rewritten, &compiled.network] {
            for image in &images {
                let expected = evaluate(&reference, &weights, image).unwrap();
                assert_eq!(evaluate(network, &weights, image).unwrap(), expected, "{}", source(seed));
            }
            let built = Compiled::insecure_for_tests(network.clone(), Some(weights.clone()), 256, t).unwrap();
            let activations =
                if seed.is_multiple_of(5) { Activations::Revealed } else { Activations::TwoParty };
            check(&built, &images[..1], Choices { activations, ..Choices::default() });
        }
    }
    // An activation in a short modulus has two such steps.
    assert!(swaps >= 12 && short >= 40, "{swaps} swaps, {short} steps between moduli");
}

/// What the compiler does by itself: swapped where the maxima can be taken modulo t, compared in a short modulus
/// where they cannot.
#[test]
fn the_cheaper_order_is_chosen() {
    let text = |bits: &str| {
        format!(
            "model pooled {{
    ring: 4096
    weights: random(5)
    input image: tensor[4, 32, 32] {{ mean: 0.4, std: 0.3 }}
    let x = conv(image, out: 16, kernel: 3x3, pad: same, name: \"first\") |> relu |> max_pool(kernel: 2)
    output conv(x, out: {bits}, kernel: 3x3, pad: same) |> relu |> flatten |> linear(out: 5)
}}"
        )
    };
    let Stages { reference, compiled, .. } = stages_of(text("32"), 1);
    let t = compiled.params.plain_modulus;
    let range = Step::of(&reference, NodeId(2), t).unwrap().range;
    assert!(range.hi.abs_diff(range.lo) <= (t - 3) / 2, "{range:?} modulo {t}");
    let kinds = |network: &IntNetwork| -> Vec<&str> {
        let ids = network.graph.ids().skip(1).take(3);
        ids.map(|id| network.graph.node(id).layer.kind()).collect()
    };
    let (before, after) = (kinds(&reference), kinds(&compiled.network));
    assert_eq!((before[0], before[1], before[2]), (after[0], after[2], after[1]));
    let names = |network: &IntNetwork| -> Vec<String> {
        network.graph.ids().map(|id| network.graph.node(id).name.clone()).collect()
    };
    let (mut before, mut after) = (names(&reference), names(&compiled.network));
    assert_ne!(before, after);
    before.sort();
    after.sort();
    assert_eq!(before, after);

    // Here the maxima would have to be carried to a wider modulus first.
    let wide =
        text("32").replace("tensor[4,", "tensor[40,").replace("out: 32, kernel: 3x3", "out: 3, kernel: 1x1");
    let Stages { reference, compiled, .. } = stages_of(wide, 1);
    assert_eq!(kinds(&reference), kinds(&compiled.network));
    let all = steps(&compiled.network, compiled.params.plain_modulus, Reveal::Logits);
    let pool = all.iter().find(|step| matches!(step.function, Function::MaxPool(_))).unwrap();
    assert_eq!((pool.from, pool.to), (512, compiled.params.plain_modulus));
}
