//! The ports that an instance listens on, so that a failure can name a wrong one. Linux tells in /proc; where nothing
//! does, none are known.

use std::collections::BTreeSet;
use std::fs;

use crate::guard::descendants;

/// Ports on which the processes below `guard` accept TCP connections; `None` where the system does not tell.
pub(crate) fn ports(guard: u32) -> Option<BTreeSet<u16>> {
    let processes = descendants(guard);
    let first = processes.first()?;
    let sockets: BTreeSet<String> = processes.iter().flat_map(|process| sockets(*process)).collect();
    let mut found = BTreeSet::new();
    // They share the machine's network, so that the tables of one are those of all.
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{first}/net/{table}")).unwrap_or_default();
        found.extend(listed(&text, &sockets));
    }
    Some(found)
}

/// Inodes of the sockets that a process has open.
fn sockets(process: i32) -> Vec<String> {
    let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let targets = files.filter_map(|file| fs::read_link(file.path()).ok());
    targets
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect()
}

/// Ports of the lines in state LISTEN whose inode is one of `sockets` (the format is proc_net_tcp(5)'s).
fn listed<'a>(table: &'a str, sockets: &'a BTreeSet<String>) -> impl Iterator<Item = u16> + 'a {
    const LISTEN: &str = "0A";
    table.lines().skip(1).filter_map(move |line| {
        let mut words = line.split_whitespace();
        let (local, state, inode) = (words.nth(1)?, words.nth(1)?, words.nth(5)?);
        let ours = state == LISTEN && sockets.contains(inode);
        ours.then(|| u16::from_str_radix(local.rsplit(':').next()?, 16).ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0
   1: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0
   2: 0100007F:1F92 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0 100 0 0 10 0
";

    #[test]
    fn only_own_sockets_that_listen_count() {
        let own = ["11", "13"].map(str::to_owned).into();
        assert_eq!(listed(TABLE, &own).collect::<Vec<_>>(), [8080]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_tables_of_this_system_are_read() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = std::process::id();
        let table = fs::read_to_string(format!("/proc/{own}/net/tcp")).unwrap();
        let sockets = sockets(i32::try_from(own).unwrap()).into_iter().collect();
        assert!(listed(&table, &sockets).any(|found| found == port));
    }
}
