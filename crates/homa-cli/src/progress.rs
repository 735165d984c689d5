//! A progress bar with the time left.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

/// Drawing disturbs the measurement a little, so it is done rarely, and never by a measuring thread.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// Where nobody sees a bar, a log gets a line so rarely.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// A bar on standard error; where that is no terminal, a line now and then.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// How long all of it takes, in milliseconds.
    expected_ms: Arc<AtomicU64>,
    /// Dropped to stop the drawing thread.
    stop: Sender<()>,
    drawing: JoinHandle<()>,
}

impl Progress {
    /// A bar that is full after `expected`.
    pub(crate) fn start(expected: Duration) -> Self {
        let bar = ProgressBar::new(expected.as_millis() as u64);
        let style = ProgressStyle::with_template("{msg:22} [{bar:40}] {prefix}")
            .expect("the template is valid")
            .progress_chars("=> ");
        bar.set_style(style);
        show(&bar, Duration::ZERO, expected);
        let expected_ms = Arc::new(AtomicU64::new(expected.as_millis() as u64));
        let (stop, stopped) = mpsc::channel();
        let (drawn, length) = (bar.clone(), Arc::clone(&expected_ms));
        let drawing = thread::spawn(move || draw(&drawn, &length, &stopped));
        Self {
            bar,
            expected_ms,
            stop,
            drawing,
        }
    }

    /// Says what is being done.
    pub(crate) fn say(&self, what: &'static str) {
        self.bar.set_message(what);
    }

    /// Something has to be done again, which takes so much longer.
    pub(crate) fn expect_more(&self, more: Duration) {
        let more = more.as_millis() as u64;
        self.expected_ms.fetch_add(more, Ordering::Relaxed);
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        drop(self.stop);
        self.drawing.join().expect("drawing does not panic");
        self.bar.finish_and_clear();
    }
}

/// Draws, or writes lines, until told to stop.
fn draw(bar: &ProgressBar, expected_ms: &AtomicU64, stopped: &Receiver<()>) {
    let started = Instant::now();
    let interval = if bar.is_hidden() {
        LOG_INTERVAL
    } else {
        DRAW_INTERVAL
    };
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let expected = Duration::from_millis(expected_ms.load(Ordering::Relaxed));
        show(bar, started.elapsed(), expected);
        if bar.is_hidden() {
            eprintln!("{}: {}", bar.message(), bar.prefix());
        }
    }
}

/// Draws the time that has passed and the time left.
fn show(bar: &ProgressBar, passed: Duration, expected: Duration) {
    // The last tick is kept for the end, however long that takes to come.
    let passed = passed.min(expected.saturating_sub(Duration::from_millis(1)));
    bar.set_length(expected.as_millis() as u64);
    bar.set_prefix(format!(
        "{:.0} s left",
        (expected - passed).as_secs_f64().ceil()
    ));
    bar.set_position(passed.as_millis() as u64);
}
