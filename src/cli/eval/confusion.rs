//! The confusion matrix: how often each label got each answer.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The most classes whose whole matrix is held and written.
const MATRIX: usize = 256;
/// The most classes whose matrix a terminal shows.
const SHOWN: usize = 20;
/// How many confusions are listed.
const LISTED: usize = 20;

/// Labels against answers.
#[derive(Serialize)]
pub(super) struct Confusion {
    /// Row: label, column: answer; none for more classes than a matrix is written for.
    matrix: Option<Vec<Vec<usize>>>,
    /// The most frequent wrong answers, most frequent first.
    worst: Vec<Confused>,
}

/// A wrong answer.
#[derive(Serialize)]
struct Confused {
    label: usize,
    answer: usize,
    n: usize,
}

impl Confusion {
    /// Counts; answers are below `classes`, labels need not be.
    pub(super) fn new(labels: &[usize], answers: &[usize], classes: usize) -> Self {
        let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for (label, answer) in labels.iter().zip(answers) {
            *counts.entry((*label, *answer)).or_default() += 1;
        }
        let cell = |label, answer| counts.get(&(label, answer)).copied().unwrap_or(0);
        let row = |label| (0..classes).map(|answer| cell(label, answer)).collect();
        let matrix = (classes <= MATRIX).then(|| (0..classes).map(row).collect());
        let wrong = counts.iter().filter(|((label, answer), _)| label != answer);
        let mut worst: Vec<_> = wrong.map(|(&(label, answer), &n)| Confused { label, answer, n }).collect();
        worst.sort_by_key(|c| (std::cmp::Reverse(c.n), c.label, c.answer));
        worst.truncate(LISTED);
        Self { matrix, worst }
    }
}

impl fmt::Display for Confusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(matrix) = self.matrix.as_ref().filter(|matrix| matrix.len() <= SHOWN) {
            let widest = matrix.iter().flatten().max().map_or(1, |n| n.to_string().len()).max(2);
            write!(f, "label \\ answer")?;
            (0..matrix.len()).try_for_each(|answer| write!(f, " {answer:>widest$}"))?;
            writeln!(f)?;
            for (label, row) in matrix.iter().enumerate() {
                write!(f, "{label:14}")?;
                for n in row {
                    let n = if *n == 0 { ".".to_owned() } else { n.to_string() };
                    write!(f, " {n:>widest$}")?;
                }
                writeln!(f)?;
            }
            return Ok(());
        }
        writeln!(f, "most frequent wrong answers")?;
        self.worst.iter().try_for_each(|c| writeln!(f, "label {}, answer {}: {}", c.label, c.answer, c.n))
    }
}
