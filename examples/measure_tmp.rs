use stria::backend::SchemeParams;
use stria::backend::bfv::*;
use stria::cost::OpCosts;
use stria::params::*;
fn main() {
    for (ring, primes, bits) in [
        (8192u32, 3usize, 50u32),
        (8192, 4, 45),
        (16384, 4, 50),
        (16384, 6, 50),
        (32768, 4, 50),
        (32768, 6, 50),
    ] {
        let t = plain_prime(ring, 1 << 18, None).unwrap();
        let shallow = Depth { input_switches: 0, terms: 1, sums: 1, output_switches: 1 };
        let p = SchemeParams {
            ring,
            plain_modulus: t,
            modulus_bits: vec![bits; primes],
            key_switch: KeySwitching::Special { special: 1, primes_per_digit: 1 },
            workload: Workload::of([shallow], 1),
        };
        match OpCosts::measure::<BfvKeys, BfvEvaluator>(&p, 5) {
            Ok(c) => {
                let us = |x: f64| (x * 1e6 * 10.0).round() / 10.0;
                println!(
                    "({ring}, {primes}, [{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}]),",
                    us(c.rotate),
                    us(c.hoisted),
                    us(c.mult),
                    us(c.encode),
                    us(c.add),
                    us(c.add_plain),
                    us(c.load),
                    us(c.store),
                    us(c.encrypt),
                    us(c.decrypt),
                    us(c.keygen)
                );
            }
            Err(e) => println!("{ring} {primes}: {e}"),
        }
    }
}
