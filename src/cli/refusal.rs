//! The parser's complaint about a command line, as one line that says what to write instead.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory};

use super::Cli;
use crate::error::Error;
use crate::synonyms::{self, instead};

/// The complaint about these arguments.
pub fn usage(error: &clap::Error, arguments: &[OsString]) -> Error {
    let named = |kind| match error.get(kind) {
        Some(ContextValue::String(name)) => name.as_str(),
        _ => "",
    };
    Error::usage(match error.kind() {
        ErrorKind::UnknownArgument => unknown_flag(named(ContextKind::InvalidArg), arguments),
        ErrorKind::InvalidSubcommand => unknown_command(named(ContextKind::InvalidSubcommand)),
        _ => said(error),
    })
}

fn unknown_command(name: &str) -> String {
    let all = Cli::command();
    let known = all.get_subcommands().map(Command::get_name);
    let advice = instead(synonyms::COMMANDS, name, known, |_| true);
    format!("unknown command '{name}'.{advice} Commands: see `gristmill --help`")
}

/// A flag that the command does not have: others may, or other programs.
fn unknown_flag(given: &str, arguments: &[OsString]) -> String {
    let all = Cli::command();
    let command = arguments.iter().skip(1).find_map(|word| all.find_subcommand(word)).unwrap_or(&all);
    let name = given.trim_start_matches('-');
    if !given.starts_with('-') {
        return format!("unexpected '{given}': see `{}`", help_of(command));
    }
    let advice = match owners(&all, name) {
        owners if owners.is_empty() => {
            let known = longs(command).map(|long| format!("--{long}"));
            instead(synonyms::FLAGS, given, known, |advice| is_possible(command, advice))
        }
        owners => format!(" It is a flag of {}.", owners.join(", ")),
    };
    format!("unknown flag '{given}'.{advice} Flags: see `{}`", help_of(command))
}

/// What shows the flags of a command, or of the program.
fn help_of(command: &Command) -> String {
    if command.has_subcommands() {
        return "gristmill --help".into();
    }
    format!("gristmill {} --help", command.get_name())
}

fn longs(command: &Command) -> impl Iterator<Item = &str> {
    command.get_arguments().filter_map(Arg::get_long)
}

/// The commands that have this flag.
fn owners<'a>(all: &'a Command, flag: &str) -> Vec<&'a str> {
    let own = |command: &&Command| longs(command).any(|long| long == flag);
    all.get_subcommands().filter(own).map(Command::get_name).collect()
}

/// True when the command has all flags that an advice names.
pub fn is_possible(command: &Command, advice: &str) -> bool {
    let named = advice.split_whitespace().filter_map(|word| word.strip_prefix("--"));
    let mut names = named.map(|word| word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()));
    names.all(|name| longs(command).any(|long| long == name))
}

/// What the parser says, on one line.
fn said(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.trim().trim_start_matches("error: "))
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let said = lines.join(". ").replace(". tip:", "; tip:").replace(":. ", ": ");
    // What the standard library says of a number does not say what was expected.
    let whole = ["invalid digit found in string", "cannot parse integer from empty string"];
    let said = whole.iter().fold(said, |said, words| said.replace(words, "a whole number was expected"));
    let said = said.replace("number too large to fit in target type", "a smaller number was expected");
    said.replace("invalid float literal", "a number was expected")
}
