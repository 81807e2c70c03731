//! What both parties are about to run, compared before anything else.
//!
//! The first message of either party holds the version of the protocol, its choices and a fingerprint of the public
//! plan: layers, shapes, shifts, clamps, public bounds, kernels, ring degrees, moduli. No weight enters it: it could
//! confirm guesses. Parties that differ would otherwise misread each other's shares without noticing.

use super::nonlinear::Reveal;
use super::session::{Activations, Ahead, Choices};
use super::{ENCODINGS, PartyError};
use crate::channel::{Channel, Tag};
use crate::graph::IntNetwork;
use crate::params::Sets;
use crate::select::Plan;
use std::fmt;

/// Of the messages and their order.
const VERSION: u8 = 2;
const HASH_BYTES: usize = 16;
const MESSAGE_BYTES: usize = 4 + HASH_BYTES;

/// Tells one public plan from another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; HASH_BYTES]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl Fingerprint {
    /// Of what both parties know. A server's own network has the fingerprint of its public form.
    ///
    /// # Errors
    /// If it cannot be written, which is an error of ours.
    pub fn of(network: &IntNetwork, plan: &Plan, sets: Sets<'_>) -> Result<Self, PartyError> {
        let graph = &network.graph;
        let output = graph.output();
        let unwritten = |_| PartyError::Graph(output);
        let mut hasher = blake3::Hasher::new_derive_key("stria public plan");
        let mut add = |bytes: Result<Vec<u8>, postcard::Error>| {
            let bytes = bytes.map_err(unwritten)?;
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
            Ok::<_, PartyError>(())
        };
        let plain_modulus = sets.plain_modulus().ok_or(PartyError::Graph(output))?;
        add(postcard::to_stdvec(&(&network.header.input, network.input_scale.to_bits(), output)))?;
        for id in graph.ids() {
            let node = graph.node(id);
            let bounds = network.public_bounds(id, plain_modulus);
            add(postcard::to_stdvec(&(&node.name, &node.layer, &node.shape, graph.inputs(id), bounds)))?;
        }
        for set in ENCODINGS.map(|encoding| sets.of(encoding)) {
            add(postcard::to_stdvec(&set.map(|set| (set.ring, set.plain_modulus, &set.modulus_bits))))?;
        }
        add(postcard::to_stdvec(&plan.picks()))?;
        let mut hash = [0; HASH_BYTES];
        hasher.finalize_xof().fill(&mut hash);
        Ok(Self(hash))
    }
}

/// Tells the other party what this one runs, and hears the same.
///
/// # Errors
/// What differs, if something does.
pub(super) fn agree(
    channel: &mut dyn Channel,
    choices: Choices,
    mine: Fingerprint,
) -> Result<(), PartyError> {
    let [activations, reveal, ahead] = codes(choices);
    let message = [&[VERSION, activations, reveal, ahead][..], &mine.0].concat();
    channel.send(0, Tag::Plan, &message)?;
    // Another version may say more or less.
    let theirs = channel.receive(0, Tag::Plan, 1 << 12)?;
    let version = theirs.first().copied();
    if version != Some(VERSION) {
        return Err(PartyError::Version { mine: VERSION, theirs: version });
    }
    let found = theirs.len();
    let [_, activations, reveal, ahead, theirs @ ..] = <[u8; MESSAGE_BYTES]>::try_from(theirs)
        .map_err(|_| PartyError::Agreement { found, expected: MESSAGE_BYTES })?;
    let chosen = [activations, reveal, ahead];
    if let Some(what) = (0..3).find(|&i| chosen[i] != codes(choices)[i]) {
        return Err(PartyError::Choices { what: OPTIONS[what] });
    }
    let theirs = Fingerprint(theirs);
    if theirs == mine { Ok(()) } else { Err(PartyError::Plan { mine, theirs }) }
}

/// What the codes say.
const OPTIONS: [&str; 3] = ["--nonlinear", "--reveal", "--preprocess"];

fn codes(choices: Choices) -> [u8; 3] {
    let activations = match choices.activations {
        Activations::TwoParty => 0,
        Activations::Revealed => 1,
    };
    let reveal = match choices.reveal {
        Reveal::Logits => 0,
        Reveal::Label => 1,
    };
    let ahead = match choices.ahead {
        Ahead::Layer => 0,
        Ahead::Image => 1,
    };
    [activations, reveal, ahead]
}
