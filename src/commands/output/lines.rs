//! Progress for logs: now and then a line of what a terminal would show.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressDrawTarget, TermLike};

/// Far more than a line of progress takes.
const WIDTH: u16 = 500;

/// What a bar is drawn on where there is no terminal.
#[derive(Debug)]
pub(super) struct Lines<W> {
    every: Duration,
    state: Mutex<State<W>>,
}

#[derive(Debug)]
struct State<W> {
    out: W,
    /// When the last line was written; at first, when the work began.
    said: Instant,
    /// What has been drawn since the last flush.
    drawn: String,
}

impl<W: Write + std::fmt::Debug + Send + 'static> Lines<W> {
    /// Where a bar is drawn for it to be a line on `out` each time that `every` has passed.
    pub(super) fn target(out: W, every: Duration) -> ProgressDrawTarget {
        let state = Mutex::new(State { out, said: Instant::now(), drawn: String::new() });
        ProgressDrawTarget::term_like_with_hz(Box::new(Self { every, state }), 1)
    }
}

impl<W> Lines<W> {
    fn state(&self) -> MutexGuard<'_, State<W>> {
        // A panic elsewhere leaves at worst half a line.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write + std::fmt::Debug + Send> TermLike for Lines<W> {
    fn width(&self) -> u16 {
        WIDTH
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.state().drawn += text;
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.state();
        let drawn = std::mem::take(&mut state.drawn);
        let line = drawn.trim();
        if line.is_empty() || state.said.elapsed() < self.every {
            return Ok(());
        }
        state.said = Instant::now();
        writeln!(state.out, "{line}")
    }

    // A log has no cursor.
    fn move_cursor_up(&self, _lines: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _lines: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _columns: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _columns: usize) -> io::Result<()> {
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::{ProgressBar, ProgressStyle};
    use std::sync::Arc;

    /// Bytes that two can see.
    #[derive(Debug, Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(every: Duration) -> String {
        let page = Page::default();
        let bar = ProgressBar::with_draw_target(Some(10), Lines::target(page.clone(), every));
        bar.set_style(ProgressStyle::with_template("dig {pos}/{len} {msg}").unwrap());
        bar.set_message("deep");
        bar.set_position(3);
        bar.force_draw();
        bar.finish_and_clear();
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_log_has_whole_lines_and_nothing_that_moves_a_cursor() {
        let log = log(Duration::ZERO);
        assert!(log.ends_with("dig 3/10 deep\n"), "{log:?}");
        assert!(log.lines().all(|line| line.starts_with("dig ") && !line.contains(['\r', '\x1b'])), "{log:?}");
    }

    #[test]
    fn work_that_is_quickly_done_leaves_no_lines() {
        assert_eq!(log(Duration::from_secs(3600)), "");
    }
}
