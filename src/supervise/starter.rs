//! What starts the ranks: mpirun of Open MPI, mpirun of MPICH (Hydra, Intel MPI), or srun; each has its own flags.
//!
//! | | ranks | hosts | how hosts are reached | no binding to cores |
//! |---|---|---|---|---|
//! | Open MPI | `-n` | `--host a:2,b:2` | `--mca plm_rsh_agent` | `--bind-to none` |
//! | Hydra | `-n` | `-hosts a:2,b:2` | `-launcher ssh -launcher-exec` | `-bind-to none` |
//! | srun | `-n` | `--nodelist a,b` | its own | its own |
//!
//! Binding is left off under mpirun because a rank has several threads and shares the cores of its node by itself; Slurm
//! binds each rank to the cores that it was given, which is right.

use std::process::Command;

use super::hosts::Host;
use crate::error::{Error, Result};

/// A program that starts ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Starter {
    /// Its name or path.
    pub program: String,
    /// Its flags.
    pub kind: Kind,
    /// Words for it that were given by hand, before those of ours.
    pub more: Vec<String>,
}

/// Whose flags a starter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Open MPI.
    OpenMpi,
    /// MPICH and what is made of it.
    Hydra,
    /// Slurm.
    Srun,
    /// Nothing: one rank is a process.
    Nothing,
}

impl Starter {
    /// For one rank on this host.
    pub fn nothing() -> Starter {
        Starter { program: String::new(), kind: Kind::Nothing, more: Vec::new() }
    }

    /// The starter of that name; none named: srun inside a Slurm job, else mpirun.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn find(name: Option<&str>, more: Vec<String>) -> Result<Starter> {
        let inside_slurm = std::env::var_os("SLURM_JOB_ID").is_some();
        let program = name.map_or(if inside_slurm { "srun" } else { "mpirun" }, |name| name).to_string();
        if program.rsplit('/').next() == Some("srun") {
            return Ok(Starter { program, kind: Kind::Srun, more });
        }
        let found = Command::new(&program).arg("--version").output().map_err(|error| {
            Error::usage(format!(
                "{program} cannot be run: {error}. Install an MPI library (Debian: openmpi-bin or mpich), or name its mpirun \
                 with --launcher"
            ))
        })?;
        let says = String::from_utf8_lossy(&found.stdout);
        let kind = if says.contains("Open MPI") || says.contains("OpenRTE") { Kind::OpenMpi } else { Kind::Hydra };
        Ok(Starter { program, kind, more })
    }

    /// The whole command line that starts `ranks` ranks of `words` on `hosts` (none: where the starter puts them).
    pub fn line(&self, ranks: usize, hosts: &[Host], agent: &str, words: &[String]) -> Vec<String> {
        if self.kind == Kind::Nothing {
            return words.to_vec();
        }
        let mut line = vec![self.program.clone()];
        let mut add = |more: &[&str]| line.extend(more.iter().map(|word| (*word).to_string()));
        let even = ranks.div_ceil(hosts.len().max(1));
        let with_slots: Vec<String> =
            hosts.iter().map(|host| format!("{}:{}", host.name, host.slots.unwrap_or(even))).collect();
        let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        let (with_slots, names, number) = (with_slots.join(","), names.join(","), ranks.to_string());
        match self.kind {
            Kind::OpenMpi => {
                add(&["--bind-to", "none"]);
                if !hosts.is_empty() {
                    add(&["--host", &with_slots, "--mca", "plm_rsh_agent", agent]);
                }
            }
            Kind::Hydra => {
                add(&["-bind-to", "none"]);
                if !hosts.is_empty() {
                    add(&["-hosts", &with_slots, "-launcher", "ssh", "-launcher-exec", agent]);
                }
            }
            Kind::Srun if !hosts.is_empty() => add(&["--nodelist", &names]),
            Kind::Srun | Kind::Nothing => {}
        }
        line.extend(self.more.iter().cloned());
        line.extend(["-n".to_string(), number]);
        line.extend(words.iter().cloned());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: Kind, hosts: &[&str]) -> String {
        let starter = Starter { program: "start".into(), kind, more: vec!["--extra".into()] };
        let hosts: Vec<Host> = hosts.iter().map(|host| host.parse().expect("a host")).collect();
        starter.line(6, &hosts, "ssh", &["gristmill".into(), "resume".into(), "my run".into()]).join(" ")
    }

    #[test]
    fn each_starter_has_its_flags() {
        assert_eq!(line(Kind::OpenMpi, &[]), "start --bind-to none --extra -n 6 gristmill resume my run");
        assert_eq!(
            line(Kind::OpenMpi, &["a", "b:2"]),
            "start --bind-to none --host a:3,b:2 --mca plm_rsh_agent ssh --extra -n 6 gristmill resume my run"
        );
        assert_eq!(
            line(Kind::Hydra, &["a:4", "b"]),
            "start -bind-to none -hosts a:4,b:3 -launcher ssh -launcher-exec ssh --extra -n 6 gristmill resume my run"
        );
        assert_eq!(line(Kind::Srun, &["a", "b"]), "start --nodelist a,b --extra -n 6 gristmill resume my run");
        assert_eq!(line(Kind::Srun, &[]), "start --extra -n 6 gristmill resume my run");
    }

    #[test]
    fn one_rank_needs_no_starter() {
        assert_eq!(Starter::nothing().line(1, &[], "ssh", &["a".into(), "b".into()]), ["a", "b"]);
    }

    #[test]
    fn a_starter_that_is_not_there_is_named() {
        let found = Starter::find(Some("/nowhere/mpirun"), Vec::new());
        assert!(matches!(found, Err(Error::Usage(message)) if message.contains("/nowhere/mpirun")));
        assert_eq!(Starter::find(Some("/opt/bin/srun"), Vec::new()).expect("needs no look").kind, Kind::Srun);
    }
}
