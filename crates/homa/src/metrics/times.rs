//! How long RPCs took, in buckets by powers of two. It decides nothing.

use core::fmt::Write as _;
use core::time::Duration;

/// The first bucket has what took up to 2^13 ns, 8 µs, the last but one up to 2^34 ns, 17 s; each is
/// twice as wide as the one before.
const FIRST: u32 = 13;
const BOUNDS: usize = 22;

/// What a host's RPCs took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    /// From a call to its response.
    pub(crate) calls: Histogram,
    /// From a whole request to the application's response.
    pub(crate) service: Histogram,
}

/// A histogram of durations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    /// By bound; the last is for what took longer than all.
    counts: [u64; BOUNDS + 1],
    sum_nanos: u64,
}

impl Histogram {
    /// Enters a duration.
    #[inline]
    pub(crate) fn observe(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // The power of two at or above it.
        let power = u64::BITS - nanos.saturating_sub(1).leading_zeros();
        let bucket = power.saturating_sub(FIRST) as usize;
        self.counts[bucket.min(BOUNDS)] += 1;
        self.sum_nanos = self.sum_nanos.saturating_add(nanos);
    }

    /// Writes its samples.
    pub(super) fn write(&self, text: &mut String, name: &str, host: usize) {
        let mut total = 0;
        for (index, count) in self.counts.iter().enumerate() {
            total += count;
            let bound = match index {
                BOUNDS => "+Inf".to_owned(),
                _ => seconds(1 << (FIRST as usize + index)),
            };
            // A String takes all that is written.
            let _ = writeln!(
                text,
                "homa_{name}_bucket{{host=\"{host}\",le=\"{bound}\"}} {total}"
            );
        }
        let sum = seconds(self.sum_nanos);
        let _ = writeln!(text, "homa_{name}_sum{{host=\"{host}\"}} {sum}");
        let _ = writeln!(text, "homa_{name}_count{{host=\"{host}\"}} {total}");
    }
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_whose_bound_is_not_below_it() {
        let mut histogram = Histogram::default();
        for nanos in [0, 1, 8_192, 8_193, 16_384, 1 << 34, (1 << 34) + 1, u64::MAX] {
            histogram.observe(Duration::from_nanos(nanos));
        }
        assert_eq!(histogram.counts[..3], [3, 2, 0]);
        assert_eq!(histogram.counts[BOUNDS - 1..], [1, 2]);
        let mut text = String::new();
        histogram.write(&mut text, "x", 3);
        let has = |line: &str| text.lines().any(|it| it == line);
        assert!(
            has("homa_x_bucket{host=\"3\",le=\"0.000008192\"} 3"),
            "{text}"
        );
        assert!(
            has("homa_x_bucket{host=\"3\",le=\"0.000016384\"} 5"),
            "{text}"
        );
        assert!(has("homa_x_bucket{host=\"3\",le=\"+Inf\"} 8"), "{text}");
        assert!(has("homa_x_count{host=\"3\"} 8"), "{text}");
    }
}
