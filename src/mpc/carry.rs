//! The carry out of a sum of one private number from each party: the one comparison everything rests on.
//!
//! Single-bit leaves, then a tree of logarithmic depth (Garay, Schoenmakers, Villegas, PKC 2007): position i
//! generates a carry, `g = u v`, or hands one on, `p = u + v mod 2`; neighbours join to
//! `(g1 + p1 g0, p1 p0)`. `u < v` is the carry of `!u + v`. A leaf costs one transfer of a bit, a join two
//! transfers of two bits, and the lowest branch needs no p.
//!
//! ```text
//! position  6   5 4   3 2   1 0        leaves
//!           |   \ /   \ /   \ /
//!           6    54    32    10        three joins, the lowest without p
//!            \  /       \    /
//!            654         3210          ...
//! ```

use super::party::Party;
use super::stock::{BitProducts, ChosenPairs};
use super::usage::{PerLane, Usage};
use super::wiped::Wiped;
use super::{MpcError, Role};

/// A carry under way. Planes are XOR shares; the position is the plane's index.
pub(super) struct Carry {
    width: usize,
    /// The bits whose product with the other party's is the leaf: gone when the leaves are done.
    leaves: Wiped,
    generate: Wiped,
    propagate: Wiped,
    carry_in: CarryIn,
    open: Option<Open>,
}

/// What is added to the sum.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CarryIn {
    Zero,
    One,
}

enum Open {
    Leaves(BitProducts),
    Joins(Box<Joins>),
}

/// The products of one level: the lowest pair of nodes apart, the others have two products each.
struct Joins {
    lowest: [BitProducts; 2],
    chosen: ChosenPairs,
    offered: [BitProducts; 2],
    /// Nodes before this level.
    nodes: usize,
}

/// Nodes of the next level.
fn halved(nodes: usize) -> usize {
    nodes.div_ceil(2)
}

impl Carry {
    /// The carry of `mine + theirs + carry_in`, from the planes of my number.
    pub(super) fn private(width: usize, mine: Wiped, carry_in: CarryIn) -> Self {
        let generate = Wiped::zeros(mine.len());
        Self { width, propagate: mine.clone(), leaves: mine, generate, carry_in, open: None }
    }

    /// The carry of a number of the client's and one that is held as XOR shares. The client gives its number
    /// and its share, the server its share alone.
    pub(super) fn shared(width: usize, number: Option<Wiped>, share: Wiped) -> Self {
        let Some(number) = number else { return Self::private(width, share, CarryIn::Zero) };
        let generate = number.iter().zip(share.iter()).map(|(u, v)| u & v).collect();
        let propagate = number.iter().zip(share.iter()).map(|(u, v)| u ^ v).collect();
        Self { width, leaves: number, generate, propagate, carry_in: CarryIn::Zero, open: None }
    }

    /// What the carry of a number of `bits` bits takes.
    pub(super) fn usage(bits: u32) -> Usage {
        let mut nodes = bits as usize;
        if nodes == 0 {
            return Usage::default();
        }
        let mut usage = Usage::bits(Role::Client, nodes);
        while nodes > 1 {
            let lane = PerLane { bits: [1, 1], pairs: nodes / 2 - 1, ..PerLane::default() };
            usage = usage.then(Usage { lane, rounds: 1 });
            nodes = halved(nodes);
        }
        usage
    }

    /// Whether the carry is known, as shares.
    pub(super) fn is_done(&self) -> bool {
        self.leaves.is_empty() && self.generate.len() <= self.width
    }

    /// The carry, once done.
    pub(super) fn into_bit(mut self, role: Role) -> Wiped {
        if self.generate.is_empty() {
            let constant = self.carry_in == CarryIn::One && role == Role::Client;
            return vec![u64::from(constant).wrapping_neg(); self.width].into();
        }
        std::mem::take(&mut self.generate)
    }

    /// Opens the next level; nothing if done.
    pub(super) fn open(&mut self, party: &mut Party<'_>) -> Result<(), MpcError> {
        if self.is_done() {
            return Ok(());
        }
        if !self.leaves.is_empty() {
            let planes = self.leaves.len() / self.width;
            let taken = match party.role {
                Role::Client => party.stock.choose_bits(planes),
                Role::Server => party.stock.offer_bits(planes),
            };
            let products = party.taken(taken)?;
            party.tell(masked(&self.leaves, &products.factor));
            party.expect(self.leaves.len());
            self.open = Some(Open::Leaves(products));
            return Ok(());
        }
        let w = self.width;
        let nodes = self.generate.len() / w;
        let others = nodes / 2 - 1;
        let lowest = [party.stock.choose_bits(1), party.stock.offer_bits(1)];
        let [chosen, offered] = lowest;
        let lowest = [party.taken(chosen)?, party.taken(offered)?];
        let chosen = party.stock.choose_pairs(others);
        let chosen = party.taken(chosen)?;
        let offered = party.stock.offer_pairs(others);
        let offered = party.taken(offered)?;
        party.tell(masked(&self.propagate[w..2 * w], &lowest[0].factor));
        party.tell(masked(&self.generate[..w], &lowest[1].factor));
        for j in 0..others {
            let (low, high) = pair(j, w);
            let range = j * w..(j + 1) * w;
            party.tell(masked(&self.propagate[high..high + w], &chosen.factor[range.clone()]));
            party.tell(masked(&self.generate[low..low + w], &offered[0].factor[range.clone()]));
            party.tell(masked(&self.propagate[low..low + w], &offered[1].factor[range]));
        }
        party.expect((2 + 3 * others) * w);
        self.open = Some(Open::Joins(Box::new(Joins { lowest, chosen, offered, nodes })));
        Ok(())
    }

    /// Closes what was opened.
    pub(super) fn close(&mut self, party: &mut Party<'_>) -> Result<(), MpcError> {
        match self.open.take() {
            None => Ok(()),
            Some(Open::Leaves(products)) => self.close_leaves(party, &products),
            Some(Open::Joins(joins)) => self.close_joins(party, &joins),
        }
    }

    fn close_leaves(&mut self, party: &mut Party<'_>, products: &BitProducts) -> Result<(), MpcError> {
        let role = party.role;
        let mine = std::mem::take(&mut self.leaves);
        let theirs = party.told(mine.len())?;
        // (d + c)(e + b) for opened d, e and my c or b: the chooser takes e (d + c), the other d b.
        let factor = match role {
            Role::Client => &*mine,
            Role::Server => &products.factor,
        };
        for (((g, f), e), share) in self.generate.iter_mut().zip(factor).zip(theirs).zip(&products.share) {
            *g ^= f & e ^ share;
        }
        if self.carry_in == CarryIn::One {
            for (g, p) in self.generate.iter_mut().zip(&self.propagate[..self.width]) {
                *g ^= p;
            }
        }
        Ok(())
    }

    fn close_joins(&mut self, party: &mut Party<'_>, joins: &Joins) -> Result<(), MpcError> {
        let Joins { lowest, chosen, offered, nodes } = joins;
        let w = self.width;
        let others = nodes / 2 - 1;
        let told = party.told((2 + 3 * others) * w)?;
        let left = self.generate.len() - (others + 1) * w;
        let mut generate = Wiped::from(Vec::with_capacity(left));
        generate.extend_from_slice(&self.generate[w..2 * w]);
        let product = Product {
            x: &self.propagate[w..2 * w],
            their_x: &told[..w],
            my_factor: &lowest[1].factor,
            shares: [&lowest[0].share, &lowest[1].share],
        };
        product.add_to(&mut generate, &self.generate[..w], &told[w..2 * w]);
        let mut propagate = Wiped::from(Vec::with_capacity(left));
        propagate.resize(w, 0);
        for j in 0..others {
            let (low, high) = pair(j, w);
            let range = j * w..(j + 1) * w;
            let (their_x, rest) = told[(2 + 3 * j) * w..(5 + 3 * j) * w].split_at(w);
            let (their_g, their_p) = rest.split_at(w);
            let x = &self.propagate[high..high + w];
            let of = |i: usize| Product {
                x,
                their_x,
                my_factor: &offered[i].factor[range.clone()],
                shares: [&chosen.shares[i][range.clone()], &offered[i].share[range.clone()]],
            };
            let start = generate.len();
            generate.extend_from_slice(&self.generate[high..high + w]);
            of(0).add_to(&mut generate[start..], &self.generate[low..low + w], their_g);
            propagate.resize(start + w, 0);
            of(1).add_to(&mut propagate[start..], &self.propagate[low..low + w], their_p);
        }
        if nodes % 2 == 1 {
            generate.extend_from_slice(&self.generate[(nodes - 1) * w..]);
            propagate.extend_from_slice(&self.propagate[(nodes - 1) * w..]);
        }
        (self.generate, self.propagate) = (generate, propagate);
        Ok(())
    }
}

/// Where the nodes of the join `j`, counted without the lowest, lie.
fn pair(j: usize, width: usize) -> (usize, usize) {
    ((2 * j + 2) * width, (2 * j + 3) * width)
}

pub(super) fn masked<'a>(x: &'a [u64], factor: &'a [u64]) -> impl Iterator<Item = u64> + 'a {
    x.iter().zip(factor).map(|(x, f)| x ^ f)
}

/// A product of two XOR-shared planes x and y: my own part, and the two parts across, in one of which I chose
/// and in the other I offered.
pub(super) struct Product<'a> {
    pub(super) x: &'a [u64],
    pub(super) their_x: &'a [u64],
    /// What masks my y.
    pub(super) my_factor: &'a [u64],
    /// Of the product that I chose in, and of the one that I offered in.
    pub(super) shares: [&'a [u64]; 2],
}

impl Product<'_> {
    /// Adds my share of it, with my y and the other party's masked one.
    pub(super) fn add_to(&self, sum: &mut [u64], y: &[u64], their_y: &[u64]) {
        let n = sum.len();
        let (x, y, their_x, their_y) = (&self.x[..n], &y[..n], &self.their_x[..n], &their_y[..n]);
        let (factor, [a, b]) = (&self.my_factor[..n], self.shares);
        let (a, b) = (&a[..n], &b[..n]);
        for i in 0..n {
            sum[i] ^= x[i] & (y[i] ^ their_y[i]) ^ their_x[i] & factor[i] ^ a[i] ^ b[i];
        }
    }
}

/// A product of two XOR-shared planes, under way: one exchange.
pub(super) struct And {
    x: Wiped,
    y: Wiped,
    chosen: BitProducts,
    offered: BitProducts,
}

impl And {
    pub(super) fn usage() -> Usage {
        Usage { lane: PerLane { bits: [1, 1], ..PerLane::default() }, rounds: 1 }
    }

    pub(super) fn open(party: &mut Party<'_>, x: Wiped, y: Wiped) -> Result<Self, MpcError> {
        let chosen = party.stock.choose_bits(1);
        let chosen = party.taken(chosen)?;
        let offered = party.stock.offer_bits(1);
        let offered = party.taken(offered)?;
        party.tell(masked(&x, &chosen.factor));
        party.tell(masked(&y, &offered.factor));
        party.expect(2 * x.len());
        Ok(Self { x, y, chosen, offered })
    }

    pub(super) fn close(self, party: &mut Party<'_>) -> Result<Wiped, MpcError> {
        let (their_x, their_y) = party.told(2 * self.x.len())?.split_at(self.x.len());
        let mut product = Wiped::zeros(self.x.len());
        let shares = [&self.chosen.share[..], &self.offered.share[..]];
        let parts = Product { x: &self.x, their_x, my_factor: &self.offered.factor, shares };
        parts.add_to(&mut product, &self.y, their_y);
        Ok(product)
    }
}
