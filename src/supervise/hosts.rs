//! Hosts that ranks run on: `node1,node2:4` (a name, and how many ranks it takes), and whether they still answer.

use std::process::{Command, Stdio};
use std::str::FromStr;

/// A host as named by `--hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Ranks that it takes, where that was said.
    pub slots: Option<usize>,
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Host, String> {
        let wrong = || format!("'{text}' is no host; NAME or NAME:RANKS was expected, such as node1:4");
        let (name, slots) = match text.rsplit_once(':') {
            Some((name, slots)) => (name, Some(slots.parse().ok().filter(|slots| *slots > 0).ok_or_else(wrong)?)),
            None => (text, None),
        };
        // A name that begins with a dash would be taken for a flag of the agent.
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._@".contains(c);
        if name.is_empty() || name.starts_with('-') || !name.chars().all(fits) {
            return Err(wrong());
        }
        Ok(Host { name: name.to_string(), slots })
    }
}

impl Host {
    /// True for this machine, and where the agent can run a command there.
    pub fn answers(&self, agent: &str) -> bool {
        let own = rustix::system::uname();
        if self.name == "localhost" || own.nodename().to_string_lossy() == self.name.as_str() {
            return true;
        }
        let mut words = agent.split_whitespace();
        let Some(program) = words.next() else { return false };
        let mut command = Command::new(program);
        command.args(words);
        if program.rsplit('/').next() == Some("ssh") {
            command.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]);
        }
        command.args([self.name.as_str(), "true"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

/// How many of the `asked` ranks run when only the hosts `alive` of `all` are left: no more than these take. A host for
/// which no number was given takes its even share of the ranks asked for.
pub fn ranks_on(alive: &[Host], all: &[Host], asked: usize) -> usize {
    let even = asked.div_ceil(all.len().max(1));
    alive.iter().map(|host| host.slots.unwrap_or(even)).sum::<usize>().min(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_with_numbers() {
        assert_eq!("node1".parse(), Ok(Host { name: "node1".into(), slots: None }));
        assert_eq!("node1.x:16".parse(), Ok(Host { name: "node1.x".into(), slots: Some(16) }));
        for bad in ["", ":4", "a:0", "a:b", "-oProxyCommand=x", "a b", "a;b"] {
            assert!(bad.parse::<Host>().is_err_and(|message| message.contains("NAME:RANKS")), "{bad}");
        }
    }

    #[test]
    fn fewer_hosts_take_fewer_ranks() {
        let host = |name: &str, slots| Host { name: name.into(), slots };
        let all = [host("a", None), host("b", None), host("c", None)];
        assert_eq!(ranks_on(&all, &all, 8), 8);
        assert_eq!(ranks_on(&all[..2], &all, 8), 6);
        assert_eq!(ranks_on(&all[..1], &all, 2), 1);
        let numbered = [host("a", Some(4)), host("b", Some(2))];
        assert_eq!(ranks_on(&numbered, &numbered, 6), 6);
        assert_eq!(ranks_on(&numbered[1..], &numbered, 6), 2);
    }

    #[test]
    fn this_host_answers_and_one_without_a_way_does_not() {
        assert!(Host { name: "localhost".into(), slots: None }.answers("no-such-agent"));
        let other = Host { name: "some-other-host".into(), slots: None };
        assert!(!other.answers("no-such-agent") && !other.answers(""));
        assert!(!other.answers("false") && other.answers("true"));
    }
}
