//! `--accounting cryptflow2`: the rotations that CrypTFlow2 would make for known networks, as its own
//! loops give them.

use crate::examples::compiled;
use stria::compile::Options;
use stria::cost::cryptflow2::{NoKernel, convolution};
use stria::report::cryptflow2;
use stria::tensor::{ConvGeometry, Groups, Pad, Support};

#[test]
fn totals_of_known_networks() {
    // Internal and external; the fully connected layer included.
    for (net, internal, external) in [
        ("resnet20", 330, 928),
        ("resnet32", 554, 1348),
        ("vgg16", 416, 4158),
        ("resnet18", 1952, 7254),
        ("resnet50", 1830, 27_800),
    ] {
        let report =
            cryptflow2(&compiled(&format!("shapes/{net}.stria"), Options::default())).expect("it runs");
        let found = report.totals.rotations;
        let near = if net == "resnet50" { 50 } else { 0 };
        assert_eq!(found.internal, internal, "{net}");
        assert!(
            found.external.abs_diff(external) <= near,
            "{net}: {} external, not {external}",
            found.external
        );
        assert_eq!(found.total, found.internal + found.external);
        assert_eq!(found.total, report.layers.iter().map(|l| l.counters.rotations.total).sum::<u64>());
    }
}

#[test]
fn grouped_layers_are_refused_by_name() {
    let refused = cryptflow2(&compiled("shapes/mobilenet_v2.stria", Options::default())).unwrap_err();
    assert!(matches!(refused.reason, NoKernel::Grouped(32)), "{refused}");
    assert!(refused.to_string().contains(&refused.layer));
}

/// Padding takes slots, and the last phase of a strided layer is smaller than the others.
#[test]
fn one_strided_layer() {
    let layer = ConvGeometry {
        c_in: 16,
        c_out: 32,
        h: 32,
        w: 32,
        kernel: (3, 3),
        stride: (2, 2),
        pad: Pad { h: 1, w: 1 },
        groups: Groups::Dense,
        support: Support::Full,
    };
    let counts = convolution(&layer).expect("a kernel");
    // Phases of 17x17, 17x16, 16x17 pixels take 512 slots, that of 16x16 takes 256.
    assert_eq!((counts.internal, counts.external), (3 + 1 + 1, 3 * 2 * 15 + 31));
    assert_eq!((counts.ciphertexts_in, counts.ciphertexts_out), (4, 3 * 2 + 1));
}
