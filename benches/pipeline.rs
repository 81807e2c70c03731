//! Times of the compiler's stages on the shipped examples: `cargo bench --bench pipeline`.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::Path;
use stria::cost::CostTable;
use stria::diag::SourceFile;
use stria::graph::IntNetwork;
use stria::lower::lower;
use stria::passes::{FloatModel, run_float};
use stria::quant::quantise;
use stria::{resolve, select, syntax};

const RING: u32 = 8192;

fn source(name: &str) -> SourceFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shapes").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    SourceFile { name: name.into(), text }
}

fn network(source: &SourceFile) -> IntNetwork {
    let ast = syntax::parse(source).unwrap_or_else(|d| panic!("{}", d.render(source)));
    let (model, diagnostics) = resolve::resolve(&ast, None);
    let model = model.unwrap_or_else(|| panic!("{}", diagnostics.render(source)));
    let mut float = FloatModel { model, weights: None };
    run_float(&mut float, &mut |_, _, _| {}).unwrap_or_else(|e| panic!("{e}"));
    quantise(&float.model, None, None).unwrap_or_else(|e| panic!("{e}")).network
}

fn stages(c: &mut Criterion) {
    black_box(CostTable::shipped(stria::params::Scheme::Bfv));
    for net in ["resnet20", "resnet50"] {
        let source = source(&format!("{net}.stria"));
        c.bench_function(&format!("front/{net}"), |b| b.iter(|| black_box(network(&source))));
        let network = network(&source);
        c.bench_function(&format!("plan-and-lower/{net}/N={RING}"), |b| {
            b.iter(|| {
                let plan = select::plan(&network, RING).unwrap_or_else(|e| panic!("{e}"));
                black_box(lower(&plan).unwrap_or_else(|e| panic!("{e}")))
            });
        });
    }
}

criterion_group!(benches, stages);
criterion_main!(benches);
