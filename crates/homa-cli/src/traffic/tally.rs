//! What the measurements are: latency and slowdown by message size, and everything that went wrong.

use core::ops::Range;
use core::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use homa_sim::Workload;

/// The part of `counted` to which `at` belongs; `None` outside of it.
pub(crate) fn part_of(counted: &Range<Duration>, at: Duration) -> Option<usize> {
    let share = || (at - counted.start).as_secs_f64() / (counted.end - counted.start).as_secs_f64();
    let part = || (share() * PARTS_COUNT as f64) as usize;
    counted.contains(&at).then(|| part().min(PARTS_COUNT - 1))
}

/// Bins of message sizes, each with about the same share of the messages.
const BINS_COUNT: usize = 10;

/// Histograms keep three digits; slowdowns are kept in thousandths.
const DIGITS: u8 = 3;
const SLOWDOWN_SCALE: f64 = 1000.0;

/// Equal parts of the time that counts; each has what was carried in it.
pub(crate) const PARTS_COUNT: usize = 32;

/// Message sizes in a few ranges: each up to one limit, and above the one before.
#[derive(Clone, Debug)]
pub(crate) struct Bins {
    limits: Vec<usize>,
}

impl Bins {
    /// Bins that end at `limits`, which rise.
    pub(crate) const fn new(limits: Vec<usize>) -> Self {
        Self { limits }
    }

    /// Bins that hold about equally many messages of `workload`.
    pub(crate) fn of(workload: &Workload) -> Self {
        let fractions = (1..=BINS_COUNT).map(|bin| bin as f64 / BINS_COUNT as f64);
        let mut limits: Vec<usize> = fractions.map(|f| workload.quantile(f)).collect();
        limits.dedup();
        Self::new(limits)
    }

    /// The same, but the first holds none longer than `first_max`.
    pub(crate) fn with_first(workload: &Workload, first_max: usize) -> Self {
        let mut bins = Self::of(workload);
        if bins.limits[0] > first_max && workload.size_min() <= first_max {
            bins.limits.insert(0, first_max);
        }
        bins
    }

    /// The share of the messages of `workload` that belong to the first.
    pub(crate) fn first_share(&self, workload: &Workload) -> f64 {
        const STEPS: u32 = 10_000;
        let steps = (0..STEPS).map(|step| (f64::from(step) + 0.5) / f64::from(STEPS));
        let first = steps.filter(|share| workload.quantile(*share) <= self.limits[0]);
        first.count().max(1) as f64 / f64::from(STEPS)
    }

    /// Where a message of `size` bytes belongs.
    fn index(&self, size: usize) -> usize {
        self.limits
            .partition_point(|limit| *limit < size)
            .min(self.limits.len() - 1)
    }
}

/// The fastest round trip by message size, with nothing else under way.
#[derive(Clone, Debug)]
pub(crate) struct Unloaded {
    points: Vec<(usize, Duration)>,
}

impl Unloaded {
    /// From sizes, which rise, and their round trips; there is at least one.
    pub(crate) fn new(points: Vec<(usize, Duration)>) -> Self {
        assert!(
            !points.is_empty(),
            "slowdown needs something to compare with"
        );
        Self { points }
    }

    /// The round trip of `size` bytes, on the line between the measured sizes next to it.
    pub(crate) fn rtt(&self, size: usize) -> Duration {
        let above = self
            .points
            .partition_point(|(measured, _)| *measured < size);
        let above = above.min(self.points.len() - 1);
        let ((low, fast), (high, slow)) =
            (self.points[above.saturating_sub(1)], self.points[above]);
        if size >= high || size <= low {
            return if size <= low { fast } else { slow };
        }
        let share = (size - low) as f64 / (high - low) as f64;
        let nanos = fast.as_nanos() as f64 * (1.0 - share) + slow.as_nanos() as f64 * share;
        Duration::from_nanos(nanos as u64)
    }
}

/// What one protocol did under load.
pub(crate) struct Tally {
    bins: Bins,
    unloaded: Unloaded,
    by_bin: Vec<BinTally>,
    lateness_ns: Histogram<u64>,
    answered_bytes: u64,
    carried_bytes: [u64; PARTS_COUNT],
    started_count: u64,
    unfinished_count: u64,
    time: Duration,
}

/// What a tally holds, as it travels between processes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Recorded {
    /// Values and their counts, of latency and of slowdown, bin by bin.
    bins: Vec<[Vec<(u64, u64)>; 2]>,
    lateness: Vec<(u64, u64)>,
    answered_bytes: u64,
    carried_bytes: [u64; PARTS_COUNT],
    unfinished_count: u64,
}

struct BinTally {
    latency_ns: Histogram<u64>,
    slowdown: Histogram<u64>,
}

/// The figures of one bin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BinFigures {
    /// Longest message of the bin, in bytes.
    pub(crate) size_max: usize,
    pub(crate) count: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) slowdown_p50: f64,
    pub(crate) slowdown_p99: f64,
}

impl Tally {
    /// An empty tally; slowdown is latency divided by what `unloaded` says.
    pub(crate) fn new(bins: &Bins, unloaded: &Unloaded) -> Self {
        let by_bin = bins.limits.iter().map(|_| BinTally {
            latency_ns: histogram(),
            slowdown: histogram(),
        });
        Self {
            by_bin: by_bin.collect(),
            bins: bins.clone(),
            unloaded: unloaded.clone(),
            lateness_ns: histogram(),
            answered_bytes: 0,
            carried_bytes: [0; PARTS_COUNT],
            started_count: 0,
            unfinished_count: 0,
            time: Duration::ZERO,
        }
    }

    /// An RPC was started, `late` after its planned time.
    pub(crate) fn record_start(&mut self, late: Duration) {
        self.started_count += 1;
        self.lateness_ns.saturating_record(nanos(late));
    }

    /// An RPC with a request of `size` bytes was answered, `latency` after its planned time.
    pub(crate) fn record_answer(&mut self, size: usize, latency: Duration) {
        let bin = &mut self.by_bin[self.bins.index(size)];
        bin.latency_ns.saturating_record(nanos(latency));
        let slowdown = latency.as_secs_f64() / self.unloaded.rtt(size).as_secs_f64();
        bin.slowdown
            .saturating_record((slowdown * SLOWDOWN_SCALE) as u64);
        self.answered_bytes += size as u64;
    }

    /// A request of `size` bytes was answered in that part of the time that counts, whenever it was
    /// planned.
    pub(crate) const fn record_carried(&mut self, size: usize, part: usize) {
        self.carried_bytes[part] += size as u64;
    }

    /// A slice took `time`, and left RPCs unfinished.
    pub(crate) fn record_end(&mut self, time: Duration, unfinished_count: usize) {
        self.time += time;
        self.unfinished_count += unfinished_count as u64;
    }

    /// Bytes of requests answered.
    pub(crate) const fn answered_bytes(&self) -> u64 {
        self.answered_bytes
    }

    /// Bytes of requests answered in each part of the time that counts: what the network carried.
    pub(crate) const fn carried_bytes(&self) -> &[u64; PARTS_COUNT] {
        &self.carried_bytes
    }

    /// Latencies of the first bin, in microseconds, at these fractions of its messages; empty if
    /// there are none.
    pub(crate) fn first_latencies_us(&self, fractions: &[f64]) -> Vec<f64> {
        let histogram = &self.by_bin[0].latency_ns;
        if histogram.is_empty() {
            return Vec::new();
        }
        fractions.iter().map(|at| micros(histogram, *at)).collect()
    }

    /// What was recorded, for another process to [`merge`](Self::merge).
    pub(crate) fn to_recorded(&self) -> Recorded {
        let counts = |histogram: &Histogram<u64>| -> Vec<(u64, u64)> {
            let recorded = histogram.iter_recorded();
            recorded
                .map(|value| (value.value_iterated_to(), value.count_at_value()))
                .collect()
        };
        let bins = self.by_bin.iter();
        Recorded {
            bins: bins
                .map(|bin| [counts(&bin.latency_ns), counts(&bin.slowdown)])
                .collect(),
            lateness: counts(&self.lateness_ns),
            answered_bytes: self.answered_bytes,
            carried_bytes: self.carried_bytes,
            unfinished_count: self.unfinished_count,
        }
    }

    /// Adds what a process recorded with the same bins.
    pub(crate) fn merge(&mut self, recorded: &Recorded) {
        for (bin, [latency, slowdown]) in self.by_bin.iter_mut().zip(&recorded.bins) {
            for (value, count) in latency {
                bin.latency_ns.saturating_record_n(*value, *count);
            }
            for (value, count) in slowdown {
                bin.slowdown.saturating_record_n(*value, *count);
            }
        }
        for (value, count) in &recorded.lateness {
            self.lateness_ns.saturating_record_n(*value, *count);
        }
        self.answered_bytes += recorded.answered_bytes;
        for (sum, bytes) in self.carried_bytes.iter_mut().zip(recorded.carried_bytes) {
            *sum += bytes;
        }
        self.unfinished_count += recorded.unfinished_count;
    }

    /// RPCs with a right answer.
    pub(crate) fn answered_count(&self) -> u64 {
        self.by_bin.iter().map(|bin| bin.latency_ns.len()).sum()
    }

    /// Mean slowdown of all RPCs with a right answer; 0 if there is none.
    pub(crate) fn mean_slowdown(&self) -> f64 {
        let sum: f64 = self
            .by_bin
            .iter()
            .map(|bin| bin.slowdown.mean() * bin.slowdown.len() as f64)
            .sum();
        sum / SLOWDOWN_SCALE / self.answered_count().max(1) as f64
    }

    /// RPCs that had no answer when their slice was over, those never started among them.
    pub(crate) const fn unfinished_count(&self) -> u64 {
        self.unfinished_count
    }

    /// Bytes of requests answered per second.
    pub(crate) fn goodput(&self) -> f64 {
        if self.time.is_zero() {
            0.0
        } else {
            self.answered_bytes as f64 / self.time.as_secs_f64()
        }
    }

    /// How late 99 of 100 RPCs were started at most, in microseconds.
    pub(crate) fn late_p99_us(&self) -> f64 {
        micros(&self.lateness_ns, 0.99)
    }

    /// The figures of every bin, empty ones included.
    pub(crate) fn figures(&self) -> Vec<BinFigures> {
        let bins = self.bins.limits.iter().zip(&self.by_bin);
        bins.map(|(size_max, bin)| BinFigures {
            size_max: *size_max,
            count: bin.latency_ns.len(),
            p50_us: micros(&bin.latency_ns, 0.5),
            p99_us: micros(&bin.latency_ns, 0.99),
            slowdown_p50: bin.slowdown.value_at_quantile(0.5) as f64 / SLOWDOWN_SCALE,
            slowdown_p99: bin.slowdown.value_at_quantile(0.99) as f64 / SLOWDOWN_SCALE,
        })
        .collect()
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(600_000_000_000, DIGITS).expect("ten minutes in ns is a valid range")
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn micros(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

/// What went wrong, in all of a run.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    /// RPCs that failed.
    pub(crate) errors: u64,
    /// Responses that were not the echo of their request, or that nobody waited for.
    pub(crate) corrupt: u64,
    first: Option<String>,
}

impl Problems {
    pub(crate) fn error(&mut self, what: String) {
        self.errors += 1;
        self.first.get_or_insert(what);
    }

    pub(crate) fn corrupt(&mut self, what: String) {
        self.corrupt += 1;
        self.first.get_or_insert(what);
    }

    /// The first of them, in words.
    pub(crate) fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICRO: Duration = Duration::from_micros(1);

    #[test]
    fn bins_hold_about_equally_many_messages() {
        let bins = Bins::of(&crate::workload::named("w4").unwrap());
        assert_eq!(bins.limits.len(), 10);
        assert!(bins.limits.is_sorted());
        assert_eq!(bins.limits.last(), Some(&1_000_000));
        let one_size = Workload::parse("x", "size_bytes,cumulative_fraction\n9,1\n").unwrap();
        assert_eq!(Bins::of(&one_size).limits, [9]);
    }

    #[test]
    fn the_first_bin_may_be_cut_at_a_length() {
        let w5 = crate::workload::named("w5").unwrap();
        let (all, cut) = (Bins::of(&w5), Bins::with_first(&w5, 1_500));
        assert_eq!((cut.limits[0], &cut.limits[1..]), (1_500, &all.limits[..]));
        let share = cut.first_share(&w5);
        assert!((0.02..0.04).contains(&share), "{share}");
        let w2 = crate::workload::named("w2").unwrap();
        assert_eq!(Bins::with_first(&w2, 1_500).limits, Bins::of(&w2).limits);
    }

    #[test]
    fn a_message_belongs_to_the_first_bin_that_reaches_its_size() {
        let bins = Bins::new(vec![10, 20, 30]);
        let found = [1, 10, 11, 20, 30].map(|size| bins.index(size));
        assert_eq!(found, [0, 0, 1, 1, 2]);
    }

    #[test]
    fn unloaded_round_trips_lie_on_lines_between_the_measured_ones() {
        let unloaded = Unloaded::new(vec![
            (100, 10 * MICRO),
            (300, 30 * MICRO),
            (400, 30 * MICRO),
        ]);
        let found = [1, 100, 200, 300, 350, 400, 9999].map(|s| unloaded.rtt(s).as_micros());
        assert_eq!(found, [10, 10, 20, 30, 30, 30, 30]);
    }

    #[test]
    fn figures_are_percentiles_of_latency_and_of_each_message_s_own_slowdown() {
        let unloaded = Unloaded::new(vec![(10, 10 * MICRO), (20, 20 * MICRO)]);
        let mut tally = Tally::new(&Bins::new(vec![10, 20]), &unloaded);
        for latency in 1..=100 {
            tally.record_answer(10, latency * 10 * MICRO);
        }
        tally.record_answer(20, 60 * MICRO);
        let figures = tally.figures();
        let close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.002;
        assert_eq!((figures[0].size_max, figures[0].count), (10, 100));
        assert!(close(figures[0].p50_us, 500.0) && close(figures[0].p99_us, 990.0));
        assert!(close(figures[0].slowdown_p50, 50.0) && close(figures[0].slowdown_p99, 99.0));
        assert_eq!((figures[1].size_max, figures[1].count), (20, 1));
        assert!(close(figures[1].slowdown_p50, 3.0));
        assert!(close(tally.mean_slowdown(), (5050.0 + 3.0) / 101.0));
    }

    #[test]
    fn what_is_recorded_elsewhere_can_be_added() {
        let unloaded = Unloaded::new(vec![(10, 10 * MICRO)]);
        let bins = Bins::new(vec![10, 20]);
        let mut elsewhere = Tally::new(&bins, &unloaded);
        (1..=9).for_each(|latency| elsewhere.record_answer(15, latency * 10 * MICRO));
        elsewhere.record_end(MICRO, 2);
        let mut here = Tally::new(&bins, &unloaded);
        here.record_answer(5, 20 * MICRO);
        here.merge(&elsewhere.to_recorded());
        let figures = here.figures();
        assert_eq!((figures[0].count, figures[1].count), (1, 9));
        assert!((figures[1].p50_us - 50.0).abs() < 0.1);
        assert_eq!((here.answered_bytes(), here.unfinished_count()), (140, 2));
    }

    #[test]
    fn goodput_is_bytes_answered_over_the_time_of_all_slices() {
        let unloaded = Unloaded::new(vec![(10, MICRO)]);
        let mut tally = Tally::new(&Bins::new(vec![10]), &unloaded);
        assert_eq!(tally.goodput(), 0.0);
        (0..30).for_each(|_| tally.record_answer(10, MICRO));
        tally.record_end(Duration::from_secs(1), 2);
        tally.record_end(Duration::from_secs(2), 3);
        assert_eq!((tally.goodput(), tally.unfinished_count()), (100.0, 5));
    }
}
