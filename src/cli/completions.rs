//! `gristmill completions SHELL`: completion scripts, made from the same table of flags as the parser and help.

use clap::{Args, Command, ValueEnum};

use crate::error::Result;
use crate::report::Report;

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell: bash, zsh or fish
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Print the script.
///
/// # Errors
/// When standard output cannot be written to.
pub fn run(arguments: &Arguments, program: &mut Command) -> Result<()> {
    program.build();
    let script = match arguments.shell {
        Shell::Bash => bash(program),
        // zsh runs bash's completion functions.
        Shell::Zsh => format!("autoload -U +X bashcompinit && bashcompinit\n{}", bash(program)),
        Shell::Fish => fish(program),
    };
    Report::new(true, false).raw(&script)
}

/// Long flags of a command.
fn flags(command: &Command) -> Vec<(&str, String)> {
    let about = |flag: &clap::Arg| flag.get_help().map(ToString::to_string).unwrap_or_default();
    command.get_arguments().filter_map(|flag| Some((flag.get_long()?, about(flag)))).collect()
}

fn bash(program: &Command) -> String {
    let names: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
    let mut cases = String::new();
    for command in program.get_subcommands() {
        let flags: Vec<String> = flags(command).iter().map(|(name, _)| format!("--{name}")).collect();
        cases.push_str(&format!("    {}) words=\"{}\" ;;\n", command.get_name(), flags.join(" ")));
    }
    format!(
        "_gristmill() {{
  local words=\"{}\" current=\"${{COMP_WORDS[COMP_CWORD]}}\"
  if [ \"$COMP_CWORD\" -gt 1 ]; then
    case \"${{COMP_WORDS[1]}}\" in
{cases}    esac
    case \"$current\" in -*) ;; *) COMPREPLY=(); return ;; esac
  fi
  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))
}}
complete -o default -F _gristmill gristmill
",
        names.join(" ")
    )
}

fn fish(program: &Command) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let mut lines = Vec::new();
    for command in program.get_subcommands() {
        let (name, about) = (command.get_name(), command.get_about().map(ToString::to_string).unwrap_or_default());
        lines.push(format!("complete -c gristmill -n __fish_use_subcommand -a {name} -d '{}'", quoted(&about)));
        for (flag, about) in flags(command) {
            let about = quoted(&about);
            lines.push(format!("complete -c gristmill -n '__fish_seen_subcommand_from {name}' -l {flag} -d '{about}'"));
        }
    }
    lines.join("\n") + "\n"
}
