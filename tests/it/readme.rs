//! What README.md claims is what the program prints.

use crate::examples::compiled;
use std::path::Path;
use std::process::Command;
use stria::compile::{Encode, Options};
use stria::cost::CostTable;
use stria::params::Scheme;
use stria::report::{cryptflow2, report};

const README: &str = include_str!("../../README.md");

/// The table of rotations is the report's.
#[test]
fn rotations_of_known_networks() {
    let networks = [
        ("resnet20", "ResNet-20, CIFAR-10"),
        ("resnet32", "ResNet-32, CIFAR-10"),
        ("vgg16", "VGG-16, CIFAR-10"),
        ("resnet18", "ResNet-18, ImageNet"),
        ("resnet50", "ResNet-50, ImageNet"),
        ("mobilenet_v2", "MobileNetV2, ImageNet"),
    ];
    for (file, name) in networks {
        let options = Options { encode: Encode::Slots, ..Options::default() };
        let compiled = compiled(&format!("shapes/{file}.stria"), options);
        let before =
            cryptflow2(&compiled).map_or("no kernel".into(), |r| r.totals.rotations.total.to_string());
        let t = report(&compiled, &CostTable::shipped(Scheme::Bfv)).totals;
        let row = format!(
            "| {name} | {before} | {} | {} | {} | {} | {} + {} | {} |",
            t.rotations.total,
            t.rotations.internal,
            t.rotations.external,
            t.plain_mults,
            t.ciphertexts_in,
            t.ciphertexts_out,
            t.relu
        );
        assert!(README.contains(&row), "README.md should say\n{row}");
    }
}

/// The first command prints what README.md shows, but for times and memory.
#[test]
fn output_of_the_first_command() {
    let command = README
        .lines()
        .find_map(|line| line.strip_prefix("cargo run --release -- "))
        .expect("README.md has the command");
    let output = Command::new(env!("CARGO_BIN_EXE_stria"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .args(command.split(' '))
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = README.split("```text\n").nth(1).and_then(|rest| rest.split("```").next());
    let measured = |line: &&str| !["seconds", "memory"].iter().any(|word| line.starts_with(word));
    let shown: Vec<&str> = shown.expect("README.md shows the output").lines().filter(measured).collect();
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let printed: Vec<&str> = printed.lines().filter(measured).collect();
    assert!(printed.len() >= 4, "{printed:?}");
    assert_eq!(printed, shown);
}
