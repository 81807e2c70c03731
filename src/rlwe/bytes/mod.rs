//! Objects as bytes, and back with nothing believed.
//!
//! Every object is `magic, version, kind, parameter fingerprint, body length, body`, numbers little-endian,
//! residues packed to the bits of their prime. On reading, the length that header and parameters imply is
//! compared with the bytes that are there before any memory is taken, and every residue with its prime.
//! Nothing here panics, whatever the bytes.

mod pack;

use super::cipher::Ciphertext;
use super::error::{Flaw, RlweError};
use super::galois::Automorphism;
use super::galois_keys::{SeededGaloisKey, SeededGaloisKeys};
use super::keys::{PublicKey, SecretKey, SeededCiphertext};
use super::multiply::SeededRelinearisationKey;
use super::ntt::Limb;
use super::params::Parameters;
use super::poly::{Ntt, Poly};
use super::random::{Seed, expand};
use super::reply::{Reply, Sent};
use super::switch_key::SeededSwitchKey;
use pack::{Packer, Reader, packed_len};
use std::collections::BTreeSet;
use std::sync::Arc;
use zeroize::Zeroizing;

const MAGIC: [u8; 4] = *b"STRL";
const VERSION: u8 = 1;
/// Magic, version, kind, fingerprint, body length.
const HEADER: usize = 4 + 1 + 1 + 16 + 8;
const SEED: usize = 32;
/// Tag and step of an automorphism.
const STEP: usize = 1 + 4;
/// Bits of a ternary coefficient.
const TERNARY_BITS: u32 = 2;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    SecretKey = 1,
    PublicKey = 2,
    GaloisKeys = 3,
    Seeded = 4,
    Ciphertext = 5,
    Reply = 6,
    RelinearisationKey = 7,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::SecretKey => "secret key",
            Self::PublicKey => "public key",
            Self::GaloisKeys => "Galois keys",
            Self::Seeded => "seeded ciphertext",
            Self::Ciphertext => "ciphertext",
            Self::Reply => "reply",
            Self::RelinearisationKey => "relinearisation key",
        }
    }

    fn malformed(self, flaw: Flaw) -> RlweError {
        RlweError::Malformed { what: self.name(), flaw }
    }

    /// An object's header, with room for its body.
    fn begin(self, params: &Parameters, body: usize) -> Packer {
        let mut packer = Packer::with_capacity(HEADER + body);
        packer.bytes(&MAGIC);
        packer.bytes(&[VERSION, self as u8]);
        packer.bytes(&params.fingerprint());
        packer.bytes(&(body as u64).to_le_bytes());
        packer
    }

    /// The body, after the header is checked.
    fn open<'a>(self, params: &Parameters, bytes: &'a [u8]) -> Result<Reader<'a>, RlweError> {
        let length = |expected| self.malformed(Flaw::Length { expected, found: bytes.len() });
        let (header, body) = bytes.split_at_checked(HEADER).ok_or_else(|| length(HEADER))?;
        if header[..4] != MAGIC || header[5] != self as u8 {
            return Err(self.malformed(Flaw::Kind));
        }
        if header[4] != VERSION {
            return Err(self.malformed(Flaw::Version(header[4])));
        }
        if header[6..22] != params.fingerprint() {
            return Err(self.malformed(Flaw::Fingerprint));
        }
        let mut told = [0; 8];
        told.copy_from_slice(&header[22..]);
        match usize::try_from(u64::from_le_bytes(told)) {
            Ok(told) if told == body.len() => Ok(Reader::new(body)),
            Ok(told) => Err(length(HEADER.saturating_add(told))),
            Err(_) => Err(length(usize::MAX)),
        }
    }

    /// Refuses a body that is not as long as it must be.
    fn expect(self, reader: &Reader<'_>, expected: usize) -> Result<(), RlweError> {
        let found = reader.left();
        if found == expected {
            Ok(())
        } else {
            Err(self
                .malformed(Flaw::Length { expected: HEADER.saturating_add(expected), found: HEADER + found }))
        }
    }

    fn poly(self, reader: &mut Reader<'_>, ring: usize, primes: &[Limb]) -> Result<Poly<Ntt>, RlweError> {
        let mut poly = Poly::zero(ring, primes.len());
        for (prime, limb) in primes.iter().zip(poly.limbs_mut()) {
            let largest =
                reader.residues(prime.modulus.bits(), limb).ok_or_else(|| self.malformed(Flaw::Residue))?;
            if largest >= prime.modulus.value {
                return Err(self.malformed(Flaw::Residue));
            }
        }
        Ok(poly)
    }

    fn seed(self, reader: &mut Reader<'_>) -> Result<Seed, RlweError> {
        reader.array().ok_or_else(|| self.malformed(Flaw::Field { field: "the seed" }))
    }

    fn switch_key(self, reader: &mut Reader<'_>, params: &Parameters) -> Result<SeededSwitchKey, RlweError> {
        let seed = self.seed(reader)?;
        let digits = 0..params.gadget.digits();
        let masked = digits.map(|_| self.poly(reader, params.ring(), &params.primes));
        Ok(SeededSwitchKey { seed, masked: masked.collect::<Result<_, _>>()? })
    }

    fn byte(self, reader: &mut Reader<'_>, field: &'static str) -> Result<u8, RlweError> {
        reader.array().map(|[byte]| byte).ok_or_else(|| self.malformed(Flaw::Field { field }))
    }

    fn count(self, reader: &mut Reader<'_>, field: &'static str, most: usize) -> Result<usize, RlweError> {
        let count = reader.array().map(u32::from_le_bytes).and_then(|count| usize::try_from(count).ok());
        count.filter(|&count| count <= most).ok_or_else(|| self.malformed(Flaw::Field { field }))
    }
}

fn poly_len(ring: usize, primes: &[Limb]) -> usize {
    primes.iter().map(|prime| packed_len(ring, prime.modulus.bits())).sum()
}

fn put_poly(packer: &mut Packer, primes: &[Limb], poly: &Poly<Ntt>) {
    for (prime, limb) in primes.iter().zip(poly.limbs()) {
        packer.residues(prime.modulus.bits(), limb);
    }
}

fn switch_key_len(params: &Parameters) -> usize {
    SEED + params.gadget.digits() * poly_len(params.ring(), &params.primes)
}

fn put_switch_key(packer: &mut Packer, params: &Parameters, key: &SeededSwitchKey) {
    packer.bytes(&key.seed);
    key.masked.iter().for_each(|poly| put_poly(packer, &params.primes, poly));
}

fn count(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()
}

impl SecretKey {
    /// The key as bytes, wiped when dropped.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let ring = self.params.ring();
        let mut packer = Kind::SecretKey.begin(&self.params, packed_len(ring, TERNARY_BITS));
        let shifted: Vec<u64> = self.coefficients.iter().map(|&x| (x + 1).cast_unsigned()).collect();
        packer.residues(TERNARY_BITS, &Zeroizing::new(shifted));
        Zeroizing::new(packer.finish())
    }

    /// Reads a key.
    ///
    /// # Errors
    /// If the bytes are no secret key of these parameters.
    pub fn from_bytes(params: &Arc<Parameters>, bytes: &[u8]) -> Result<Self, RlweError> {
        let kind = Kind::SecretKey;
        let mut reader = kind.open(params, bytes)?;
        kind.expect(&reader, packed_len(params.ring(), TERNARY_BITS))?;
        let mut shifted = Zeroizing::new(vec![0; params.ring()]);
        let largest = reader.residues(TERNARY_BITS, &mut shifted);
        if largest.is_none_or(|largest| largest > 2) {
            return Err(kind.malformed(Flaw::Residue));
        }
        let coefficients = shifted.iter().map(|&x| x.cast_signed() - 1).collect();
        Ok(Self::from_coefficients(params, Zeroizing::new(coefficients)))
    }
}

impl PublicKey {
    /// The key as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let primes = self.params.own();
        let mut packer = Kind::PublicKey.begin(&self.params, SEED + poly_len(self.params.ring(), primes));
        packer.bytes(&self.seed);
        put_poly(&mut packer, primes, &self.masked);
        packer.finish()
    }

    /// Reads a key.
    ///
    /// # Errors
    /// If the bytes are no public key of these parameters.
    pub fn from_bytes(params: &Arc<Parameters>, bytes: &[u8]) -> Result<Self, RlweError> {
        let (kind, ring) = (Kind::PublicKey, params.ring());
        let mut reader = kind.open(params, bytes)?;
        kind.expect(&reader, SEED + poly_len(ring, params.own()))?;
        let seed = kind.seed(&mut reader)?;
        let masked = kind.poly(&mut reader, ring, params.own())?;
        let uniform = expand(&seed, 0, ring, params.own());
        Ok(Self { params: params.clone(), seed, masked, uniform })
    }
}

impl SeededCiphertext {
    /// The ciphertext as bytes: half of what a ciphertext takes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let primes = self.params.own();
        let mut packer = Kind::Seeded.begin(&self.params, SEED + poly_len(self.params.ring(), primes));
        packer.bytes(&self.seed);
        put_poly(&mut packer, primes, &self.masked);
        packer.finish()
    }

    /// Reads a ciphertext.
    ///
    /// # Errors
    /// If the bytes are no seeded ciphertext of these parameters.
    pub fn from_bytes(params: &Arc<Parameters>, bytes: &[u8]) -> Result<Self, RlweError> {
        let kind = Kind::Seeded;
        let mut reader = kind.open(params, bytes)?;
        kind.expect(&reader, SEED + poly_len(params.ring(), params.own()))?;
        let seed = kind.seed(&mut reader)?;
        let masked = kind.poly(&mut reader, params.ring(), params.own())?;
        Ok(Self { params: params.clone(), seed, masked })
    }
}

impl Ciphertext {
    /// The ciphertext as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let primes = &self.params.primes[..self.primes()];
        let mut packer = Kind::Ciphertext.begin(&self.params, 4 + 2 * poly_len(self.params.ring(), primes));
        packer.bytes(&count(primes.len()));
        self.parts.iter().for_each(|part| put_poly(&mut packer, primes, part));
        packer.finish()
    }

    /// Reads a ciphertext.
    ///
    /// # Errors
    /// If the bytes are no ciphertext of these parameters.
    pub fn from_bytes(params: &Arc<Parameters>, bytes: &[u8]) -> Result<Self, RlweError> {
        let (kind, ring) = (Kind::Ciphertext, params.ring());
        let mut reader = kind.open(params, bytes)?;
        let field = "the number of primes";
        let primes = kind.count(&mut reader, field, params.top())?;
        if primes == 0 {
            return Err(kind.malformed(Flaw::Field { field }));
        }
        let primes = &params.primes[..primes];
        kind.expect(&reader, 2 * poly_len(ring, primes))?;
        let parts = [kind.poly(&mut reader, ring, primes)?, kind.poly(&mut reader, ring, primes)?];
        Ok(Self { params: params.clone(), parts })
    }
}

impl Reply {
    /// The reply as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = self.parts.iter().map(|part| packed_len(part.len(), self.bits)).sum::<usize>();
        let mut packer = Kind::Reply.begin(&self.params, 1 + body);
        packer.bytes(&[self.bits.to_le_bytes()[0]]);
        self.parts.iter().for_each(|part| packer.residues(self.bits, part));
        packer.finish()
    }

    /// Reads a reply that carries the values that `sent` names.
    ///
    /// # Errors
    /// If the bytes are no such reply of these parameters.
    pub fn from_bytes(params: &Arc<Parameters>, sent: Sent<'_>, bytes: &[u8]) -> Result<Self, RlweError> {
        let (kind, ring) = (Kind::Reply, params.ring());
        let mut reader = kind.open(params, bytes)?;
        let field = "the number of bits";
        let bits = u32::from(kind.byte(&mut reader, field)?);
        if !(1..=params.primes[0].modulus.bits()).contains(&bits) {
            return Err(kind.malformed(Flaw::Field { field }));
        }
        let lengths = [sent.len(ring), ring];
        kind.expect(&reader, lengths.iter().map(|&len| packed_len(len, bits)).sum())?;
        let mut parts = lengths.map(|len| vec![0; len]);
        for part in &mut parts {
            reader.residues(bits, part).ok_or_else(|| kind.malformed(Flaw::Residue))?;
        }
        Ok(Self { params: params.clone(), bits, parts })
    }
}

impl SeededGaloisKeys {
    /// Bytes of one key of these parameters.
    fn key_len(params: &Parameters) -> usize {
        STEP + switch_key_len(params)
    }

    /// The keys as bytes: half of what they take in use.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let params = &self.params;
        let mut packer = Kind::GaloisKeys.begin(params, 4 + self.keys.len() * Self::key_len(params));
        packer.bytes(&count(self.keys.len()));
        for key in &self.keys {
            let (tag, step) = match key.automorphism {
                Automorphism::Rotate(step) => (0, step),
                Automorphism::SwapRows => (1, 0),
            };
            packer.bytes(&[tag]);
            packer.bytes(&step.to_le_bytes());
            put_switch_key(&mut packer, params, &key.key);
        }
        packer.finish()
    }

    /// Reads keys.
    ///
    /// # Errors
    /// If the bytes are no Galois keys of these parameters, or two are for one automorphism.
    pub fn from_bytes(params: &Arc<Parameters>, bytes: &[u8]) -> Result<Self, RlweError> {
        let (kind, ring) = (Kind::GaloisKeys, params.ring());
        let mut reader = kind.open(params, bytes)?;
        let keys = kind.count(&mut reader, "the number of keys", ring)?;
        kind.expect(&reader, keys.saturating_mul(Self::key_len(params)))?;
        let mut exponents = BTreeSet::from([1]);
        let mut read = Vec::with_capacity(keys);
        for _ in 0..keys {
            let flaw = || kind.malformed(Flaw::Field { field: "an automorphism" });
            let tag = kind.byte(&mut reader, "an automorphism")?;
            let step = reader.array().map(i32::from_le_bytes).ok_or_else(flaw)?;
            let automorphism = match (tag, step) {
                (0, step) => Automorphism::Rotate(step),
                (1, 0) => Automorphism::SwapRows,
                _ => return Err(flaw()),
            };
            if !exponents.insert(automorphism.exponent(ring)) {
                return Err(flaw());
            }
            read.push(SeededGaloisKey { automorphism, key: kind.switch_key(&mut reader, params)? });
        }
        Ok(Self { params: params.clone(), keys: read })
    }
}

impl SeededRelinearisationKey {
    /// The key as bytes: half of what it takes in use.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut packer = Kind::RelinearisationKey.begin(&self.params, switch_key_len(&self.params));
        put_switch_key(&mut packer, &self.params, &self.key);
        packer.finish()
    }

    /// Reads a key.
    ///
    /// # Errors
    /// If the bytes are no relinearisation key of these parameters.
    pub fn from_bytes(params: &Arc<Parameters>, bytes: &[u8]) -> Result<Self, RlweError> {
        let kind = Kind::RelinearisationKey;
        let mut reader = kind.open(params, bytes)?;
        kind.expect(&reader, switch_key_len(params))?;
        Ok(Self { params: params.clone(), key: kind.switch_key(&mut reader, params)? })
    }
}
