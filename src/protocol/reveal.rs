//! The debugging form of the non-linear steps: the server hands its share to the client, who sees the values,
//! applies the function and shares the result anew. It leaks; [`REVEAL_LEAKS`] says what.

use super::nonlinear::{Function, Made, NonLinear, NonLinearError, Step};
use super::share::{Share, Uniform, receive_share, send_share, share_bytes};
use crate::channel::{Channel, FRAME_BYTES, Tag};
use crate::graph::MAX_VALUE;
use crate::mpc::{Cost, Modulus, Wiped};
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
    fn prepare(&mut self, _: &mut dyn Channel, _: &Step, room: usize) -> Result<usize, NonLinearError> {
        Ok(room)
    }

    fn apply(
        &mut self,
        channel: &mut dyn Channel,
        step: &Step,
        share: Share,
    ) -> Result<Share, NonLinearError> {
        let [t, to] = [Modulus::new(step.from)?, Modulus::new(step.to)?];
        let theirs = receive_share(channel, step.node, Tag::NonLinear, &step.shape_in, t)?;
        let values =
            share.data.iter().zip(theirs.data.iter()).map(|(&a, &b)| t.signed(t.add(a, b))).collect();
        let operand = Tensor { shape: share.shape, data: values };
        let result = step.function.apply(&operand, &step.shape_out);
        if step.function == Function::ArgMax {
            return Ok(Share::of(&result, to));
        }
        let fresh = Uniform::fresh(to.value())?.take(result.data.len());
        let mine = result.data.iter().zip(fresh.iter()).map(|(&y, &r)| to.sub(to.residue(y), r)).collect();
        send_share(channel, step.node, Tag::NonLinear, &fresh, to)?;
        Ok(Share { shape: step.shape_out.clone(), data: mine })
    }

    fn made(&self) -> Made {
        Made::default()
    }
}

impl NonLinear for RevealServer {
    fn prepare(&mut self, _: &mut dyn Channel, _: &Step, room: usize) -> Result<usize, NonLinearError> {
        Ok(room)
    }

    fn apply(
        &mut self,
        channel: &mut dyn Channel,
        step: &Step,
        share: Share,
    ) -> Result<Share, NonLinearError> {
        let [t, to] = [Modulus::new(step.from)?, Modulus::new(step.to)?];
        send_share(channel, step.node, Tag::NonLinear, &share.data, t)?;
        if step.function == Function::ArgMax {
            return Ok(Share { shape: Shape::flat(0), data: Wiped::default() });
        }
        receive_share(channel, step.node, Tag::NonLinear, &step.shape_out, to)
    }

    fn made(&self) -> Made {
        Made::default()
    }
}

/// What `step` costs in this form, as the channel counts it: the server's share and the client's answer. The client
/// waits for a round where it sent the message before the server's.
#[must_use]
pub(super) fn cost(step: &Step, after_own_message: bool) -> Cost {
    let answer = match step.function {
        Function::ArgMax => 0,
        Function::Requant(_) | Function::Poly { .. } | Function::MaxPool(_) => {
            FRAME_BYTES + share_bytes(step.shape_out.elements(), step.to) as u64
        }
    };
    let share = FRAME_BYTES + share_bytes(step.shape_in.elements(), step.from) as u64;
    Cost { online_bytes: share + answer, rounds: u64::from(after_own_message), ..Cost::default() }
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
