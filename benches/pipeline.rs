//! Times of the compiler's stages on the shipped examples: `cargo bench --bench pipeline`.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::Path;
use stria::cost::CostTable;
use stria::diag::SourceFile;
use stria::graph::IntNetwork;
use stria::lower::lower;
use stria::params::Encoding;
use stria::passes::{FloatModel, run_float};
use stria::quant::quantise;
use stria::select::{Encodings, Rings};
use stria::{resolve, select, syntax};

const RING: u32 = 8192;
const RINGS: Rings = Rings { slots: RING, coefficients: RING };

fn source(name: &str) -> SourceFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shapes").join(name);
    let text = std::fs::read_to_string(&path).expect("the example is there");
    SourceFile { name: name.into(), text }
}

fn network(source: &SourceFile) -> IntNetwork {
    let ast = syntax::parse(source).expect("the example parses");
    let model = resolve::resolve(&ast, None).0.expect("the example resolves");
    let mut float = FloatModel { model, weights: None };
    run_float(&mut float, &mut |_, _, _| {}).expect("the passes succeed");
    quantise(&float.model, None, None).expect("the example is quantised").network
}

fn stages(c: &mut Criterion) {
    black_box(CostTable::shipped(stria::params::Scheme::Bfv));
    for net in ["resnet20", "resnet50"] {
        let source = source(&format!("{net}.stria"));
        c.bench_function(&format!("front/{net}"), |b| b.iter(|| black_box(network(&source))));
        let network = network(&source);
        c.bench_function(&format!("plan-and-lower/{net}/N={RING}"), |b| {
            b.iter(|| {
                let plan = select::plan(&network, RINGS, Encodings::All(Encoding::Slots)).expect("a plan");
                black_box(lower(&plan).expect("a circuit"))
            });
        });
    }
}

criterion_group!(benches, stages);
criterion_main!(benches);
