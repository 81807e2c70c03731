//! The warning that the range of the input cuts data off: a few outliers may be, many are a sign of another
//! normalisation than the model declares, and cost accuracy that nothing else explains.

use super::load::Calibration;
use super::say::say;
use crate::diag::Diagnostic;
use crate::graph::{IntNetwork, Model, NodeId};
use crate::quant::{Clipped, InputRange};
use crate::tensor::Tensor;
use std::path::Path;

/// The part of all values beyond which clipping is no matter of outliers.
const FEW: f64 = 1e-3;

/// Data that reach so far and are never negative look like raw pixels.
const RAW: f64 = 16.0;

/// The warning about a model's calibration, at its input.
pub(super) fn of_calibration(
    calibration: Option<&Calibration>,
    model: &Model,
    network: &IntNetwork,
) -> Option<Diagnostic> {
    let (range, input) = (InputRange::of(network)?, model.graph.node(NodeId(0)));
    let (found, least, reach) = match calibration? {
        Calibration::Images(data) => {
            let found = range.clipped(&data.images)?;
            (found, "", reach(&found))
        }
        // Of measured ranges the largest hundredth is known, without signs.
        Calibration::Measured(measured) => {
            let found = range.clipped_of(measured, &input.name)?;
            (found, "at least ", format!("the largest has magnitude {}", short(found.hi)))
        }
    };
    let message = format!("{least}{}", many(&found, "the calibration images' values")?);
    let advice = "`scale:`, `mean:` and `std:` here are to be those of training";
    let warning = Diagnostic::warning("clipped-input", message, input.span, reach);
    Some(warning.hint(format!("{advice}; {}", remedy(&found))))
}

/// Says that the input of `network` cuts off much of `images`, which came from `file`.
pub(super) fn tell(file: &Path, images: &[Tensor<f32>], network: &IntNetwork) {
    let found = InputRange::of(network).and_then(|range| range.clipped(images));
    let advice = "`scale:`, `mean:` and `std:` of the model's input are to be those of training";
    say(&found.map_or_else(String::new, |found| sentence(file, &found, advice)));
}

/// As [`tell`] for a model that is being imported.
pub(super) fn tell_import(file: &Path, images: &[Tensor<f32>], model: &Model) {
    let found = InputRange::of_model(model).clipped(images);
    let advice = "--mean and --std are to be those of training";
    say(&found.map_or_else(String::new, |found| sentence(file, &found, advice)));
}

/// The whole warning; nothing if there is nothing to warn of.
fn sentence(file: &Path, found: &Clipped, advice: &str) -> String {
    let Some(many) = many(found, "its values") else { return String::new() };
    format!("warning: {}: {many}: {}; {advice}; {}\n", file.display(), reach(found), remedy(found))
}

fn many(found: &Clipped, what: &str) -> Option<String> {
    let Clipped { share, range: InputRange { lo, hi, .. }, .. } = found;
    let percent = 100.0 * share;
    (*share > FEW).then(|| {
        format!(
            "{percent:.1} % of {what} are clipped by the input's range of {} to {}",
            short(*lo),
            short(*hi)
        )
    })
}

fn reach(found: &Clipped) -> String {
    format!("they reach from {} to {}", short(found.lo), short(found.hi))
}

fn remedy(found: &Clipped) -> String {
    if found.lo >= 0.0 && found.hi > RAW {
        return "floats are taken as normalised: raw pixels of 0 to 255 belong into a U8 tensor `images`, or \
                a u1 array"
            .into();
    }
    let most = (100.0 * found.hi.max(-found.lo)).ceil() / 100.0;
    format!("if the data are as in training, write `range: {most}` at the model's input")
}

/// A number to two places, small ones to three digits, very large ones with their exponent.
fn short(number: f64) -> String {
    let magnitude = number.abs();
    if magnitude >= 1e7 || (magnitude > 0.0 && magnitude < 1e-4) {
        return format!("{number:.2e}");
    }
    let unit = if magnitude >= 0.1 || magnitude == 0.0 {
        100.0
    } else {
        10_f64.powf(3.0 - magnitude.log10().ceil())
    };
    // Without the sign of a zero.
    format!("{}", (unit * number).round() / unit + 0.0)
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn numbers_are_short_and_not_lost() {
        let said = [0.0, -0.0, -1.0, 4.049, 0.001, 0.034_56, -0.000_012_3, 1e30].map(short);
        assert_eq!(said, ["0", "0", "-1", "4.05", "0.001", "0.0346", "-1.23e-5", "1.00e30"]);
    }
}
