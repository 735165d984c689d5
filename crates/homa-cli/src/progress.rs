//! A progress bar with the time left.

use core::time::Duration;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

/// Drawing disturbs the measurement a little, so it is done rarely, and never by a measuring thread.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// A bar on standard error; where that is no terminal, nothing is drawn.
pub(crate) struct Progress {
    bar: ProgressBar,
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
        let (stop, stopped) = mpsc::channel();
        let (started, drawn) = (Instant::now(), bar.clone());
        let drawing = thread::spawn(move || {
            while stopped.recv_timeout(DRAW_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                show(&drawn, started.elapsed(), expected);
            }
        });
        Self { bar, stop, drawing }
    }

    /// Says what is being done.
    pub(crate) fn say(&self, what: &'static str) {
        self.bar.set_message(what);
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        drop(self.stop);
        self.drawing.join().expect("drawing does not panic");
        self.bar.finish_and_clear();
    }
}

/// Draws the time that has passed and the time left.
fn show(bar: &ProgressBar, passed: Duration, expected: Duration) {
    // The last tick is kept for the end, however long that takes to come.
    let passed = passed.min(expected.saturating_sub(Duration::from_millis(1)));
    bar.set_prefix(format!(
        "{:.0} s left",
        (expected - passed).as_secs_f64().ceil()
    ));
    bar.set_position(passed.as_millis() as u64);
}
