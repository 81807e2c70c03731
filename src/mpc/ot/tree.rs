//! Trees of seeds of which one party knows all leaves and the other all but one, by the choices of its base
//! transfers (Goldreich, Goldwasser and Micali; punctured as in Roy, CRYPTO 2022, section 4.1).
//!
//! A node's two children are a hash of it. For each level the owner sends the sum of all left and the sum of
//! all right nodes, masked by the two messages of a base transfer. The other party opens one, on the side that
//! leaves its path: with its siblings known, that is one more node. The time taken is the same for every path.

use super::base;
use super::session::{Direction, Purpose, Session};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use zeroize::Zeroizing;

/// Levels of a tree: `k` of the paper, one base transfer each.
pub(super) const DEPTH: usize = 4;
/// Leaves of a tree.
pub(super) const LEAVES: usize = 1 << DEPTH;
/// How many trees.
pub(super) const TREES: usize = base::COUNT / DEPTH;
/// Bytes of the masked sums of all trees.
pub(super) const SUMS_BYTES: usize = base::COUNT * 2 * 16;

/// The leaves of all trees, tree by tree.
pub(super) type Leaves = Zeroizing<Vec<u128>>;

/// The sums of the left and of the right nodes of a level.
type Sums = [u128; 2];

/// Fresh trees, whole, and the message with their sums. Base transfer `DEPTH * tree + bit` masks the level
/// whose nodes differ in that bit of their leaves' numbers.
pub(super) fn grow(
    session: &Session,
    direction: Direction,
    masks: &[[u128; 2]],
    random: &mut ChaCha20Rng,
) -> (Leaves, [u8; SUMS_BYTES]) {
    let mut leaves = Leaves::new(Vec::with_capacity(TREES * LEAVES));
    let mut message = [0; SUMS_BYTES];
    let mut slots = message.as_chunks_mut::<16>().0.as_chunks_mut::<2>().0.iter_mut();
    for (tree, masks) in masks.as_chunks::<DEPTH>().0.iter().enumerate() {
        let key = session.key(Purpose::Tree, direction, tree as u64);
        let mut root = Zeroizing::new([0; 16]);
        random.fill_bytes(&mut *root);
        let mut nodes = Zeroizing::new(vec![u128::from_le_bytes(*root)]);
        for (bit, level) in (0..DEPTH).rev().zip(&mut slots) {
            nodes = children(&key, bit, &nodes);
            let sums = sums(&nodes);
            *level = [0, 1].map(|side| (sums[side] ^ masks[bit][side]).to_le_bytes());
        }
        leaves.extend_from_slice(&nodes);
    }
    (leaves, message)
}

/// The same trees without one leaf each. `choices` and `masks` are what the base transfers gave; the leaf
/// missing from a tree is the one whose number has the opposite of its choices as bits. In its place stands
/// something arbitrary.
pub(super) fn puncture(
    session: &Session,
    direction: Direction,
    choices: u128,
    masks: &[u128],
    message: &[u8; SUMS_BYTES],
) -> Leaves {
    let mut leaves = Leaves::new(Vec::with_capacity(TREES * LEAVES));
    let mut sent = message.as_chunks::<16>().0.as_chunks::<2>().0.iter();
    for (tree, masks) in masks.as_chunks::<DEPTH>().0.iter().enumerate() {
        let key = session.key(Purpose::Tree, direction, tree as u64);
        let mut nodes = Zeroizing::new(vec![0]);
        let mut path = 0;
        for (bit, level) in (0..DEPTH).rev().zip(&mut sent) {
            let chosen = choices >> (DEPTH * tree + bit) & 1;
            let side = all(chosen);
            let opened =
                u128::from_le_bytes(level[0]) & !side ^ u128::from_le_bytes(level[1]) & side ^ masks[bit];
            nodes = children(&key, bit, &nodes);
            let sums = sums(&nodes);
            let missing = opened ^ sums[0] & !side ^ sums[1] & side;
            // What the sums hold at the path is wrong; the difference makes that node right.
            path = path << 1 | chosen;
            for (number, node) in (0..).zip(nodes.iter_mut()) {
                *node ^= missing & equal(number, path);
            }
            path ^= 1;
        }
        leaves.extend_from_slice(&nodes);
    }
    leaves
}

fn children(key: &[u8; 32], bit: usize, nodes: &[u128]) -> Zeroizing<Vec<u128>> {
    let mut below = Zeroizing::new(Vec::with_capacity(2 * nodes.len()));
    for node in nodes {
        let mut input = Zeroizing::new([0; 17]);
        input[0] = 1 << bit;
        input[1..].copy_from_slice(&node.to_le_bytes());
        let digest = Zeroizing::new(*blake3::keyed_hash(key, &*input).as_bytes());
        below.extend(digest.as_chunks::<16>().0.iter().map(|half| u128::from_le_bytes(*half)));
    }
    below
}

fn sums(nodes: &[u128]) -> Sums {
    nodes.as_chunks::<2>().0.iter().fold([0; 2], |sums, pair| [sums[0] ^ pair[0], sums[1] ^ pair[1]])
}

/// All ones if `bit` is 1, zero if it is 0.
fn all(bit: u128) -> u128 {
    0u128.wrapping_sub(bit)
}

/// All ones if equal; both are small.
fn equal(a: u128, b: u128) -> u128 {
    all((a ^ b).wrapping_sub(1) >> 127)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn all_leaves_but_one() {
        let random = &mut ChaCha20Rng::seed_from_u64(1);
        let session = Session::new(&[1; 32], &[2; 32]);
        let draw =
            |random: &mut ChaCha20Rng| u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
        let masks: Vec<[u128; 2]> = (0..base::COUNT).map(|_| [draw(random), draw(random)]).collect();
        // Every path, in two trees each.
        let choices = (0..32u128).map(|tree| (tree & 15) << (4 * tree)).sum();
        let chosen: Vec<u128> =
            masks.iter().enumerate().map(|(i, m)| m[usize::from(choices >> i & 1 == 1)]).collect();
        let (whole, message) = grow(&session, Direction::ClientSends, &masks, random);
        let punctured = puncture(&session, Direction::ClientSends, choices, &chosen, &message);
        for (tree, (whole, punctured)) in
            whole.as_chunks::<LEAVES>().0.iter().zip(punctured.as_chunks::<LEAVES>().0).enumerate()
        {
            for leaf in 0..LEAVES {
                assert_eq!(whole[leaf] == punctured[leaf], leaf != (!tree & 15), "tree {tree}, leaf {leaf}");
            }
        }
    }
}
