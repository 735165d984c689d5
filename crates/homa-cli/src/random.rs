//! Random numbers that a seed fixes, on every machine and in every version.
//!
//! SplitMix64: far better than sampling a few million arrivals needs, and short enough that its
//! sequence can never change under us, which a dependency does not promise.

/// A sequence of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// The sequence that `seed` and `purpose` name. Different purposes give unrelated sequences.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        let mut mixer = Self { state: seed };
        let state = mixer.next() ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93);
        Self { state }
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Uniform in (0, 1]: never 0, so that its logarithm is finite.
    pub(crate) fn fraction(&mut self) -> f64 {
        const STEPS: f64 = (1_u64 << 53) as f64;
        ((self.next() >> 11) + 1) as f64 / STEPS
    }

    /// Exponentially distributed around `mean`: the gaps of Poisson arrivals.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -self.fraction().ln() * mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_sequence_for_good() {
        let mut random = Random::new(1, 0);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
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
        assert!((0..100).all(|_| arrivals.next() != sizes.next()));
    }

    #[test]
    fn exponential_gaps_have_the_mean_that_was_asked_for() {
        let mut random = Random::new(7, 0);
        let sum: f64 = (0..200_000).map(|_| random.exponential(40.0)).sum();
        let mean = sum / 200_000.0;
        assert!((39.5..40.5).contains(&mean), "mean {mean}");
    }
}
