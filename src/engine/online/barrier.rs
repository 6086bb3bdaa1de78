//! Where the workers of a batch wait for each other: a barrier that spins for a moment, then yields.
//!
//! A batch takes some hundred microseconds, and a thread that sleeps takes tens to wake up; a short spin costs less. Where
//! other programs want the processor, a spinning thread gives way after `SPINS` looks. A worker that fails breaks the
//! barrier, so that the others stop as well.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Looks before a waiting thread yields: about 20 microseconds.
const SPINS: u32 = 2_000;

/// See the head of the file.
pub struct Barrier {
    workers: usize,
    spins: u32,
    arrived: AtomicUsize,
    generation: AtomicUsize,
    broken: AtomicBool,
}

/// A worker failed.
#[derive(Debug)]
pub struct Broken;

impl Barrier {
    /// For so many workers on so many processors.
    pub fn new(workers: usize, processors: usize) -> Barrier {
        Barrier {
            workers,
            spins: if workers <= processors { SPINS } else { 0 },
            arrived: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// Returns when all workers have called it.
    pub fn wait(&self) -> Result<(), Broken> {
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.workers {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.store(generation.wrapping_add(1), Ordering::Release);
        } else {
            let mut looks = 0;
            while self.generation.load(Ordering::Acquire) == generation {
                if self.broken.load(Ordering::Relaxed) {
                    return Err(Broken);
                }
                looks += 1;
                if looks < self.spins { std::hint::spin_loop() } else { std::thread::yield_now() }
            }
        }
        if self.broken.load(Ordering::Relaxed) { Err(Broken) } else { Ok(()) }
    }

    /// A guard that breaks the barrier when it is dropped before [`Guard::done`]: by an error or a panic.
    pub fn guard(&self) -> Guard<'_> {
        Guard { barrier: self, done: false }
    }
}

/// See [`Barrier::guard`].
pub struct Guard<'a> {
    barrier: &'a Barrier,
    done: bool,
}

impl Guard<'_> {
    /// All is well.
    pub fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.barrier.broken.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody is a turn ahead of anybody, also with more workers than processors; and a broken barrier lets all go.
    #[test]
    fn workers_go_in_step() {
        for (workers, processors) in [(1, 2), (2, 2), (5, 2)] {
            let barrier = Barrier::new(workers, processors);
            let turns: Vec<AtomicUsize> = (0..workers).map(|_| AtomicUsize::new(0)).collect();
            std::thread::scope(|scope| {
                for worker in 0..workers {
                    let (barrier, turns) = (&barrier, &turns);
                    scope.spawn(move || {
                        for turn in 0..500 {
                            turns[worker].store(turn, Ordering::Relaxed);
                            barrier.wait().expect("nobody failed");
                            assert!(turns.iter().all(|other| other.load(Ordering::Relaxed) == turn));
                            barrier.wait().expect("nobody failed");
                        }
                    });
                }
            });
            std::thread::scope(|scope| {
                let handles: Vec<_> = (1..workers).map(|_| scope.spawn(|| while barrier.wait().is_ok() {})).collect();
                drop(barrier.guard());
                assert!(handles.into_iter().all(|handle| handle.join().is_ok()));
            });
        }
    }
}
