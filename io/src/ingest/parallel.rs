//! Independent jobs on a given number of threads (stage 2). Results come back in the order of the jobs; of several
//! errors the one of the first job is returned.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::sequence::lock;
use crate::error::Result;
use crate::watch::Cancel;

/// Do job 0 to `jobs - 1`.
///
/// # Errors
/// Of the first job that failed, or [`crate::Error::Interrupted`].
pub fn each<T: Send>(
    threads: usize,
    jobs: usize,
    cancel: &Cancel,
    job: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(jobs));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= jobs {
                return;
            }
            let result = cancel.check().and_then(|()| job(number));
            if result.is_err() {
                next.store(jobs, Ordering::Relaxed);
            }
            lock(&done).push((number, result));
        }
    };
    std::thread::scope(|scope| {
        (1..threads.min(jobs)).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn results_come_in_order_and_the_first_error_wins() {
        let cancel = Cancel::new();
        assert_eq!(each(3, 100, &cancel, Ok).unwrap(), (0..100).collect::<Vec<_>>());
        let failed = each(3, 100, &cancel, |n| if n >= 7 { Err(Error::Usage(n.to_string())) } else { Ok(n) });
        assert_eq!(failed.unwrap_err().to_string(), "7");
        cancel.request();
        assert!(matches!(each(2, 5, &cancel, Ok), Err(Error::Interrupted)));
    }
}
