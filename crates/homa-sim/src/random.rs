//! Random numbers that a seed fixes, on every machine and in every version.
//!
//! SplitMix64: far better than sampling a few million arrivals needs, and short enough that its
//! sequence can never change under us, which a dependency does not promise.

/// A sequence of random numbers: SplitMix64, whose every seed gives a good one.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that `seed` and `purpose` name; different purposes are unrelated.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut mixer = Self(seed);
        let first = mixer.bits();
        Self(first ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    /// A number of `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// `true` in `permille` of 1,000 cases.
    pub fn chance(&mut self, permille: u32) -> bool {
        self.below(1_000) < u64::from(permille)
    }

    /// Uniform in (0, 1]: never 0, so that its logarithm is finite.
    pub fn fraction(&mut self) -> f64 {
        const STEPS: f64 = (1_u64 << 53) as f64;
        ((self.bits() >> 11) + 1) as f64 / STEPS
    }

    /// Exponentially distributed around `mean`: the gaps of Poisson arrivals.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -self.fraction().ln() * mean
    }

    /// One of `choices`, which are at least one.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A number of `1..=max`, evenly over its magnitudes.
    pub fn magnitude(&mut self, max: u64) -> u64 {
        let bits = u64::from(u64::BITS - max.leading_zeros());
        let limit = (1 << self.between(1, bits)).min(max);
        self.between(1, limit)
    }
}

/// Spreads the bits of a number over all 64.
pub(crate) const fn mix(number: u64) -> u64 {
    let z = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_purpose_fix_the_sequence() {
        let draw = |seed, purpose| Random::new(seed, purpose).bits();
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let mut random = Random::new(1, 0);
        let drawn: Vec<u64> = (0..1_000).map(|_| random.between(3, 5)).collect();
        assert_eq!(
            (drawn.iter().min(), drawn.iter().max()),
            (Some(&3), Some(&5))
        );
        assert!((0..1_000).all(|_| (1..=1_000_000).contains(&random.magnitude(1_000_000))));
    }

    #[test]
    fn a_seed_fixes_the_sequence_for_good() {
        let mut random = Random::new(1, 0);
        let first: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        assert_eq!(
            first,
            [
                6791897765849424158,
                17405687883870564846,
                834844254806117752
            ]
        );
    }

    #[test]
    fn purposes_have_unrelated_sequences() {
        let (mut arrivals, mut sizes) = (Random::new(1, 0), Random::new(1, 1));
        assert!((0..100).all(|_| arrivals.bits() != sizes.bits()));
    }

    #[test]
    fn exponential_gaps_have_the_mean_that_was_asked_for() {
        let mut random = Random::new(7, 0);
        let sum: f64 = (0..200_000).map(|_| random.exponential(40.0)).sum();
        let mean = sum / 200_000.0;
        assert!((39.5..40.5).contains(&mean), "mean {mean}");
    }
}
