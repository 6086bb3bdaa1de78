//! The clock of a thread: how long it ran, without the time in which others had its core.
//!
//! Wall time of a pass on a machine that also does other work says how much of the machine there was, and of two threads that were
//! started together one may not have run at all for a while. The time a thread spent on a core (`CLOCK_THREAD_CPUTIME_ID`
//! of POSIX, nanoseconds) leaves that out on both sides of a ratio. What stays in it is what cores share: memory, caches,
//! the clock rate.

use rustix::time::{ClockId, clock_gettime};

/// A stretch of work of the calling thread.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    start: f64,
}

impl Stretch {
    /// Begins now.
    pub fn start() -> Stretch {
        Stretch { start: now() }
    }

    /// Seconds that the calling thread, the one that began, has run since; at least a nanosecond.
    pub fn seconds(&self) -> f64 {
        (now() - self.start).max(1e-9)
    }
}

/// Seconds that the calling thread has run.
fn now() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn counts_work_and_leaves_out_sleep() {
        let (stretch, wall) = (Stretch::start(), Instant::now());
        std::thread::sleep(Duration::from_millis(50));
        let slept = stretch.seconds();
        assert!(slept < 0.04, "{slept} s of a thread that slept");
        let mut sum = 0_u64;
        while stretch.seconds() < 0.02 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(wall.elapsed().as_secs_f64() >= stretch.seconds());
    }
}
