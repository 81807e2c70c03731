//! The debugging form of the non-linear steps: the server hands its share to the client, who sees the values,
//! applies the function and shares the result anew. It leaks; [`REVEAL_LEAKS`] says what.

use super::nonlinear::{Function, Made, NonLinear, NonLinearError, Step};
use super::share::{Share, Uniform, add_mod, receive_share, residue, send_share, signed, sub_mod};
use crate::channel::{Channel, Tag};
use crate::graph::MAX_VALUE;
use crate::tensor::{Shape, Tensor};

/// What a run with revealed activations leaks; said on every such run.
pub const REVEAL_LEAKS: &str = "activations are REVEALED to the client (--nonlinear reveal, a debugging mode): \
     after every linear layer the client sees the exact accumulators, from which it can solve for the \
     server's weights. The image and the activations stay hidden from the server.";

/// The client's half.
pub struct RevealClient;

/// The server's half.
pub struct RevealServer;

impl NonLinear for RevealClient {
    fn prepare(&mut self, _: &mut dyn Channel, _: &[Step]) -> Result<(), NonLinearError> {
        Ok(())
    }

    fn apply(
        &mut self,
        channel: &mut dyn Channel,
        step: &Step,
        share: Share,
    ) -> Result<Share, NonLinearError> {
        let t = step.modulus;
        let theirs = receive_share(channel, step.node, Tag::NonLinear, &step.shape_in, t)?;
        let values =
            share.data.iter().zip(&theirs.data).map(|(&a, &b)| signed(add_mod(a, b, t), t)).collect();
        let operand = Tensor { shape: share.shape, data: values };
        let result = step.function.apply(&operand, &step.shape_out);
        if step.function == Function::ArgMax {
            return Ok(result.map(|&y| residue(y, t)));
        }
        let fresh = Uniform::fresh(t)?.take(result.data.len());
        let mine = result.data.iter().zip(&fresh).map(|(&y, &r)| sub_mod(residue(y, t), r, t)).collect();
        send_share(channel, step.node, Tag::NonLinear, &fresh, t)?;
        Ok(Tensor { shape: step.shape_out.clone(), data: mine })
    }

    fn made(&self) -> Made {
        Made::default()
    }
}

impl NonLinear for RevealServer {
    fn prepare(&mut self, _: &mut dyn Channel, _: &[Step]) -> Result<(), NonLinearError> {
        Ok(())
    }

    fn apply(
        &mut self,
        channel: &mut dyn Channel,
        step: &Step,
        share: Share,
    ) -> Result<Share, NonLinearError> {
        send_share(channel, step.node, Tag::NonLinear, &share.data, step.modulus)?;
        if step.function == Function::ArgMax {
            return Ok(Tensor::zeros(Shape::flat(0)));
        }
        receive_share(channel, step.node, Tag::NonLinear, &step.shape_out, step.modulus)
    }

    fn made(&self) -> Made {
        Made::default()
    }
}

impl Function {
    fn apply(self, x: &Tensor<i64>, shape_out: &Shape) -> Tensor<i64> {
        let data = match self {
            Self::Requant(requant) => x.data.iter().map(|&v| requant.apply(v)).collect(),
            Self::Poly { a, b, c, requant } => {
                x.data.iter().map(|&v| requant.apply(polynomial([a, b, c], v))).collect()
            }
            Self::MaxPool(pool) => pool.max(x).data,
            Self::ArgMax => vec![i64::try_from(first_of_greatest(&x.data)).unwrap_or(0)],
        };
        Tensor { shape: shape_out.clone(), data }
    }
}

/// The first position of the greatest value; 0 of none.
#[must_use]
pub fn first_of_greatest(values: &[i64]) -> usize {
    let best = values.iter().max();
    values.iter().position(|v| Some(v) == best).unwrap_or(0)
}

/// `a v^2 + b v + c`, saturated at the largest value that a network may hold: what a peer shares may be any
/// residue, and must not overflow.
fn polynomial([a, b, c]: [i64; 3], v: i64) -> i64 {
    let [a, b, c, v] = [a, b, c, v].map(i128::from);
    let value = a.saturating_mul(v * v).saturating_add(b * v).saturating_add(c);
    let limit = i128::from(MAX_VALUE);
    i64::try_from(value.clamp(-limit, limit)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_exact_and_saturate() {
        assert_eq!(polynomial([3, -5, 7], -11), 3 * 121 + 55 + 7);
        assert_eq!(polynomial([i64::MAX, i64::MAX, i64::MAX], i64::MIN), MAX_VALUE);
        assert_eq!(polynomial([i64::MIN, i64::MAX, 0], i64::MIN), -MAX_VALUE);
    }

    #[test]
    fn ties_go_to_the_lowest() {
        assert_eq!(first_of_greatest(&[-3, 5, 2, 5]), 1);
        assert_eq!(first_of_greatest(&[]), 0);
    }
}
