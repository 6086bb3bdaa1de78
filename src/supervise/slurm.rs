//! A batch script for Slurm that carries a training over time limits and preemption.
//!
//! Slurm warns the script ([`WARNING_SECONDS`] before the limit, and where the site allows it, at preemption) by SIGUSR1. The
//! script has the job stop, which leaves a checkpoint, and puts itself back into the queue; the next time it goes on from
//! there. When a node fails Slurm requeues by itself (`--requeue`).

/// How long before the time limit the script is warned: a pass ends, and a checkpoint is written, in that time.
pub const WARNING_SECONDS: u32 = 120;

/// What the script asks of Slurm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Ranks.
    pub ranks: usize,
    /// Nodes, where said.
    pub nodes: Option<usize>,
    /// Cores of a rank.
    pub threads: usize,
    /// Time limit as Slurm takes it.
    pub time: String,
    /// Restarts within one run of the script.
    pub restarts: u32,
    /// The program, and the command and its words.
    pub program: String,
    /// The command and its words.
    pub words: Vec<String>,
}

/// A time as Slurm takes it: minutes, `HH:MM:SS`, `D-HH:MM:SS`; or `90m`, `4h`. None is 0, which Slurm takes for no limit.
///
/// # Errors
/// What was expected.
pub fn time(text: &str) -> Result<String, String> {
    let wrong = || format!("'{text}' is no time limit; 90m, 4h, 04:00:00 or 2-00:00:00 was expected");
    let minutes = |factor: u64| -> Result<String, String> {
        let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
        let minutes = number.checked_mul(factor).filter(|minutes| *minutes > 0).ok_or_else(wrong)?;
        Ok(format!("{:02}:{:02}:00", minutes / 60, minutes % 60))
    };
    match text.chars().next_back() {
        Some('m') => minutes(1),
        Some('h') => minutes(60),
        _ => {
            let (days, rest) = text.split_once('-').unwrap_or(("0", text));
            let parts: Vec<&str> = std::iter::once(days).chain(rest.split(':')).collect();
            let numbers: Option<Vec<u32>> = parts.iter().map(|part| part.parse().ok()).collect();
            // A sign is no part of a number here.
            let plain = text.chars().all(|c| c.is_ascii_digit() || c == ':' || c == '-') && parts.len() <= 4;
            let some = plain && numbers.is_some_and(|numbers| numbers.iter().any(|number| *number > 0));
            if some { Ok(text.to_string()) } else { Err(wrong()) }
        }
    }
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

impl Batch {
    /// The script.
    pub fn script(&self) -> String {
        let nodes = self.nodes.map_or(String::new(), |nodes| format!("#SBATCH --nodes={nodes}\n"));
        let words: Vec<String> = self.words.iter().map(|word| quoted(word)).collect();
        let (program, words) = (quoted(&self.program), words.join(" "));
        let Batch { ranks, threads, time, restarts, .. } = self;
        format!(
            "#!/bin/bash\n\
             #SBATCH --job-name=gristmill\n\
             #SBATCH --ntasks={ranks}\n\
             {nodes}\
             #SBATCH --cpus-per-task={threads}\n\
             #SBATCH --time={time}\n\
             #SBATCH --signal=B:USR1@{WARNING_SECONDS}\n\
             #SBATCH --requeue\n\
             #SBATCH --open-mode=append\n\
             \n\
             # Slurm warns this script before its time is over: the job stops with a checkpoint, and the script goes back\n\
             # into the queue. The next time the job goes on from there.\n\
             requeue() {{\n\
             \x20   trap '' USR1\n\
             \x20   kill -TERM \"$job\"\n\
             \x20   wait \"$job\"\n\
             \x20   code=$?\n\
             \x20   # It may have come to its end in the meantime: what did not stop at the signal has nothing to go on with.\n\
             \x20   [ $code -gt 128 ] || exit $code\n\
             \x20   scontrol requeue \"$SLURM_JOB_ID\"\n\
             \x20   exit 0\n\
             }}\n\
             trap requeue USR1\n\
             {program} launch --launcher srun -n {ranks} --restarts {restarts} --resume -- {words} &\n\
             job=$!\n\
             wait \"$job\"\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_are_those_of_slurm() {
        for (typed, meant) in
            [("90m", "01:30:00"), ("4h", "04:00:00"), ("2-00:00:00", "2-00:00:00"), ("2-1", "2-1"), ("30", "30")]
        {
            assert_eq!(time(typed).as_deref(), Ok(meant));
        }
        for bad in
            ["", "h", "0h", "4d", "soon", "x4h", "1;2", "-1", "0", "0:0:0", "0-0", "+5", "5:", "1:2:3:4", "1-2-3"]
        {
            assert!(time(bad).is_err_and(|message| message.contains("04:00:00")), "{bad}");
        }
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        for (word, meant) in
            [("run-1", "run-1"), ("my run", "'my run'"), ("it's", r"'it'\''s'"), ("", "''"), ("$HOME", "'$HOME'")]
        {
            assert_eq!(quoted(word), meant);
        }
    }
}
