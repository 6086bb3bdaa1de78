//! Decoders of untrusted bytes, fenced in: a panic inside becomes an error that names the file.
//!
//! The libraries that decode Parquet and Arrow files return errors for what they check, but some inconsistent inputs still make
//! them panic. The message of such a panic is part of the error, not of the terminal.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Once;

use crate::error::{Error, Result};

thread_local! {
    /// True while this thread runs inside [`decoding`].
    static FENCED: Cell<bool> = const { Cell::new(false) };
}

/// Run a decoder over the content of `path`.
///
/// # Errors
/// What `decode` returns, or an error of the file's content where it panicked.
pub fn decoding<T>(path: &Path, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    silence_fenced_panics();
    let before = FENCED.replace(true);
    // The closure's captures are dropped or never used again after a panic: every caller returns the error at once.
    let outcome = catch_unwind(AssertUnwindSafe(decode));
    FENCED.set(before);
    outcome.unwrap_or_else(|panic| {
        let reason = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("the decoder gave no reason");
        Err(Error::data(path, format!("the content is inconsistent ({reason})")).help(DAMAGED))
    })
}

/// What to do about a file that does not decode.
pub const DAMAGED: &str = "The file is probably damaged or cut short: write or copy it again";

/// Panics inside a fence are reported as errors, so the default printing hook stays quiet for them.
fn silence_fenced_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !FENCED.get() {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_names_the_file() {
        let error = decoding(Path::new("x.bin"), || -> Result<()> { panic!("index {} of 3", 7) }).unwrap_err();
        assert!(error.to_string().starts_with("x.bin: the content is inconsistent (index 7 of 3)"), "{error}");
        assert_eq!(decoding(Path::new("x.bin"), || Ok(3)).unwrap(), 3);
    }
}
