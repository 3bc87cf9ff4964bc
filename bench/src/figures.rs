//! Medians, and lines for people.

/// Values of one kind, one per round.
#[derive(Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        if sorted.len().is_multiple_of(2) { (at(middle.wrapping_sub(1)) + at(middle)) / 2.0 } else { at(middle) }
    }

    /// The ratio of each pair.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(one, another)| one / another).collect())
    }

    /// `median (least to most)`.
    pub(crate) fn show(&self, digits: usize) -> String {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{:.digits$} ({least:.digits$} to {most:.digits$})", self.median())
    }
}

/// A heading.
pub(crate) fn heading(text: &str) {
    println!("\n== {text}");
}

/// What was measured, and its value with unit.
pub(crate) fn line(what: &str, value: &str) {
    println!("   {what:<58} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        let series = |values: &[f64]| Series(values.to_vec());
        assert!((series(&[3.0, 1.0, 2.0]).median() - 2.0).abs() < 1e-9);
        assert!((series(&[4.0, 1.0, 2.0, 3.0]).median() - 2.5).abs() < 1e-9);
        assert!(series(&[]).median().is_nan());
        let ratio = series(&[4.0, 9.0, 1.0]).over(&series(&[2.0, 3.0, 1.0]));
        assert_eq!(ratio.show(1), "2.0 (1.0 to 3.0)");
    }
}
