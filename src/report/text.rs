//! The report as text for a terminal: one line a layer that costs something, then totals.

use super::{Accounting, Missing, Report, megabytes};
use std::fmt;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.accounting == Accounting::Cryptflow2 {
            writeln!(f, "{}, as CrypTFlow2 would run it", self.model)?;
            return self.layers_text(f);
        }
        let bits: Vec<String> = self.modulus_bits.iter().map(u32::to_string).collect();
        writeln!(
            f,
            "{}: ring {}, t = {} ({} bits{}), q = {} bits ({}), {}-bit security",
            self.model,
            self.ring,
            self.plain_modulus,
            u64::BITS - self.plain_modulus.leading_zeros(),
            Missing::words(self.assumed_without),
            self.modulus_bits.iter().sum::<u32>(),
            bits.join("+"),
            self.security_bits
        )?;
        writeln!(f, "{}", self.moduli)?;
        if let Some(set) = &self.coefficients {
            let bits: Vec<String> = set.modulus_bits.iter().map(u32::to_string).collect();
            let bits = bits.join("+");
            let fit = match (set.noise_bits, set.flood_bits, set.room_bits) {
                (Some(noise), Some(flood), Some(room)) => {
                    format!("noise of {noise:.0} bits, flooded to {flood:.0}, below {room:.0}")
                }
                _ => "no secure moduli hold them".into(),
            };
            writeln!(f, "layers in coefficients: ring {}, q = {bits} bits, no Galois keys; {fit}", set.ring)?;
        }
        self.layers_text(f)
    }
}

impl Report {
    fn layers_text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = self.layers.iter().map(|l| l.name.len()).max().unwrap_or(0).clamp(5, 40);
        writeln!(
            f,
            "\n{:widest$}  {:15} {:>14} {:>14} {:>6} {:>5} {:>7} {:>7} {:>9} {:>8} {:>9} {:>8} {:>7} {:>9} {:>9}",
            "layer",
            "kind",
            "in",
            "out",
            "c_n",
            "cts",
            "int",
            "ext",
            "mults",
            "cts out",
            "ReLU",
            "est. s",
            "rounds",
            "MB online",
            "MB ahead"
        )?;
        for layer in &self.layers {
            let c = &layer.counters;
            let shape = |dims: &[usize]| dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
            let millions = |bytes: u64| match bytes {
                0 => String::new(),
                _ => megabytes(bytes).trim_end_matches(" MB").into(),
            };
            let nonzero = |n: u64| if n == 0 { String::new() } else { n.to_string() };
            let linear = |n: u64| if layer.kernel.is_some() { n.to_string() } else { String::new() };
            let line = format!(
                "{:widest$}  {:15} {:>14} {:>14} {:>6} {:>5} {:>7} {:>7} {:>9} {:>8} {:>9} {:>8} {:>7} {:>9} {:>9}",
                layer.name,
                layer.kind,
                shape(&layer.shape_in),
                shape(&layer.shape_out),
                layer.channel_capacity.map_or(String::new(), |n| n.to_string()),
                nonzero(c.ciphertexts_in),
                linear(c.rotations.internal),
                linear(c.rotations.external),
                nonzero(c.plain_mults),
                nonzero(c.ciphertexts_out),
                nonzero(c.relu + c.requant + c.comparisons),
                if c.estimated_seconds > 0.0 { format!("{:.3}", c.estimated_seconds) } else { String::new() },
                nonzero(c.rounds + c.rounds_preprocess),
                millions(c.bytes_up + c.bytes_down + c.bytes_nonlinear),
                millions(c.bytes_preprocess),
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        self.plan_text(f)?;
        self.totals_text(f)
    }

    fn totals_text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.totals;
        write!(
            f,
            "\nrotations     {} = {} internal + {} external",
            t.rotations.total, t.rotations.internal, t.rotations.external
        )?;
        if self.accounting == Accounting::Cryptflow2 {
            writeln!(f, "\nplain mults   {}, additions {}", t.plain_mults, t.adds)?;
            return write!(f, "ciphertexts   {} up, {} down", t.ciphertexts_in, t.ciphertexts_out);
        }
        writeln!(f, ", in {} hoisted groups", t.hoisted_groups)?;
        writeln!(f, "key switches  {}, {} divisions by the special primes", t.key_switches, t.divisions)?;
        writeln!(f, "plain mults   {}, additions {}", t.plain_mults, t.adds)?;
        writeln!(
            f,
            "ciphertexts   {} up ({}), {} down ({})",
            t.ciphertexts_in,
            megabytes(t.bytes_up),
            t.ciphertexts_out,
            megabytes(t.bytes_down)
        )?;
        writeln!(f, "Galois keys   {} ({}, sent once)", t.galois_keys, megabytes(self.galois_key_bytes))?;
        writeln!(
            f,
            "set-up        {} of evaluation keys, {} for base transfers, once a connection",
            megabytes(self.setup.bytes_keys),
            megabytes(self.setup.bytes_transfers)
        )?;
        writeln!(f, "memory        {} predicted for one image", megabytes(self.peak_memory_estimate))?;
        writeln!(
            f,
            "non-linear    {} ReLUs, {} other shifts and clamps, {} comparisons of max pools",
            t.relu, t.requant, t.comparisons
        )?;
        writeln!(f, "quantisation  {}", self.quantisation)?;
        let needs = self.quantisation.needs();
        if !needs.is_empty() {
            writeln!(f, "layers need   {needs}")?;
        }
        writeln!(f, "{}", self.quantisation.table())?;
        writeln!(f, "passes        {}", self.passes)?;
        if let Some(leak) = &self.sparsity {
            writeln!(f, "shown         {leak}")?;
        }
        writeln!(
            f,
            "two-party     {} rounds with the linear layers, {} online, {} for transfers made ahead",
            t.rounds,
            megabytes(t.bytes_nonlinear),
            megabytes(t.bytes_preprocess)
        )?;
        writeln!(
            f,
            "linear part   {:.2} s predicted on one core ({} costs); two-party part {:.2} s",
            t.estimated_seconds, self.cost_table, self.estimated_nonlinear_seconds
        )?;
        writeln!(f, "predicted     {}", self.predicted)?;
        for (plan, what) in self.plans.iter().zip(["plans        ", "             ", "             "]) {
            writeln!(f, "{what} {plan}")?;
        }
        for hint in &self.hints {
            writeln!(f, "hint          {hint}")?;
        }
        write!(
            f,
            "one image     {:.2} s over a LAN (3 Gbit/s, 0.8 ms), {:.1} s over a WAN (200 Mbit/s, 40 ms), predicted \
             ({} costs)",
            self.estimated_lan_seconds, self.estimated_wan_seconds, self.cost_table
        )
    }
}
