//! How a failure looks: one line on standard error, `gristmill: error: ...`, with what to do; no backtrace.

use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use crate::error::Error;

/// Where to report a fault of this program.
const ISSUES: &str = "the project's issue tracker";

/// How the standard library begins when the system refuses it a thread.
const NO_THREAD: &str = "failed to spawn thread";

/// Print a failure.
pub fn print(error: &Error) {
    let text = one_line(&error.to_string());
    super::to_stderr(&format!("gristmill: error: {text}\n"));
}

/// The name of this rank, where there are several.
static RANK: OnceLock<String> = OnceLock::new();

/// From now on an internal fault is said to be this rank's.
pub fn name_rank(name: String) {
    // Set once, at the start of the program.
    let _ = RANK.set(name);
}

/// Turn an internal panic into a message that says what to report; the program ends with exit code 1.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| super::to_stderr(&panic_text(info))));
}

fn panic_text(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let what = payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_string());
    let place = info.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
    let rank = RANK.get().map_or_else(String::new, |name| format!("{name}: "));
    if what.starts_with(NO_THREAD) {
        return format!(
            "gristmill: error: {rank}the system refuses to start one more thread. Raise the limit on processes or on memory (`ulimit -a`), \
             or pass fewer --threads\n"
        );
    }
    format!(
        "gristmill: error: {rank}internal fault: {} ({}{place}). This is a defect of gristmill, not of your data: please \
         report it at {ISSUES} with this line, the command, and the output of `gristmill doctor`\n",
        one_line(&what),
        concat!("version ", env!("CARGO_PKG_VERSION")),
    )
}

/// The text on one line, so that logs and scripts keep it whole, with control characters spelt out: a message quotes the data, and
/// data must not speak to the terminal.
fn one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<&str>>().join(" ");
    spelt_out(&line)
}

/// The text with control characters spelt out, as names and values of the data are shown.
pub fn spelt_out(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => shown.push(' '),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_on_one_line() {
        assert_eq!(one_line("a\n  b\n\n"), "a b");
    }

    #[test]
    fn what_data_would_say_to_a_terminal_is_spelt_out() {
        assert_eq!(one_line("found '\u{1b}[31mX\u{0}\u{9b}', é\tand"), "found '\\u{1b}[31mX\\u{0}\\u{9b}', é and");
    }
}
