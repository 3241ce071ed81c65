//! The settings of the private cluster.

use std::path::Path;

/// The file of ours that `postgresql.conf` includes. It is rewritten at every start; what a user wants different
/// goes into `postgresql.conf` below the include.
pub(super) const FILE: &str = "sagashop.conf";
/// The line that includes it.
pub(super) const INCLUDE: &str = "include = 'sagashop.conf'";
/// Names the socket in the socket folder; no TCP port is opened.
pub(super) const PORT: u16 = 5432;
/// The cluster's superuser.
pub(super) const USER: &str = "postgres";

/// Who may connect: whoever can reach the socket, and its folder opens for its owner alone.
pub(super) const HBA: &str = "local all all trust\n";

/// The settings, with the sockets in this folder.
pub(super) fn text(sockets: &Path) -> String {
    let mut lines = vec![
        "# Written by sagashop at every start. Put your own settings below the include in postgresql.conf.".to_owned(),
        String::new(),
        "# Reached by its socket alone.".to_owned(),
        "listen_addresses = ''".to_owned(),
        format!("port = {PORT}"),
        format!("unix_socket_directories = {}", folder_list(sockets)),
        "unix_socket_permissions = 0700".to_owned(),
        "max_connections = 200".to_owned(),
        String::new(),
        "# What is committed is on disk.".to_owned(),
        "fsync = on".to_owned(),
        "full_page_writes = on".to_owned(),
        "synchronous_commit = on".to_owned(),
        String::new(),
        "# A forgotten session must not hold every reader up.".to_owned(),
        "idle_in_transaction_session_timeout = 1min".to_owned(),
    ];
    if cfg!(target_os = "macos") {
        // The others leave the data in the drive's cache there.
        lines.push("wal_sync_method = fsync_writethrough".to_owned());
    }
    lines.extend([
        String::new(),
        "# Checkpoints far apart and spread out: each makes the next change of every page costlier.".to_owned(),
        "max_wal_size = 2GB".to_owned(),
        "min_wal_size = 256MB".to_owned(),
        "checkpoint_timeout = 15min".to_owned(),
        "checkpoint_completion_target = 0.9".to_owned(),
        String::new(),
        "# Short statements by the thousand: nothing is won by compiling or dividing them, and the shared memory"
            .to_owned(),
        "# that parallel ones want is scarce in containers.".to_owned(),
        "shared_buffers = 256MB".to_owned(),
        "jit = off".to_owned(),
        "max_parallel_workers_per_gather = 0".to_owned(),
        "max_parallel_maintenance_workers = 0".to_owned(),
        "random_page_cost = 1.1".to_owned(),
    ]);
    if cfg!(target_os = "linux") {
        // Elsewhere the server refuses to start with it.
        lines.extend([
            String::new(),
            "# A statement whose client is gone is given up, and with it the locks that it holds.".to_owned(),
            "client_connection_check_interval = 5s".to_owned(),
        ]);
    }
    lines.extend([
        String::new(),
        "timezone = 'UTC'".to_owned(),
        "log_timezone = 'UTC'".to_owned(),
        "log_checkpoints = off".to_owned(),
        "# A refused append is part of normal work, and said by the service that made it.".to_owned(),
        "log_min_messages = log".to_owned(),
        "lc_messages = 'C'".to_owned(),
        String::new(),
    ]);
    lines.join("\n")
}

/// A list of one folder: in double quotes for the list, in single quotes (which know escapes) for the file.
fn folder_list(folder: &Path) -> String {
    let in_list = folder.to_string_lossy().replace('"', "\"\"");
    format!("'\"{}\"'", in_list.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_is_on_and_tcp_is_off() {
        let text = text(Path::new("/d/run"));
        for line in ["fsync = on", "synchronous_commit = on", "full_page_writes = on", "listen_addresses = ''"] {
            assert!(text.lines().any(|written| written == line), "{line} is missing");
        }
    }

    #[test]
    fn a_folder_with_quotes_and_commas_stays_one_folder() {
        assert_eq!(folder_list(Path::new("/it's a, b/run")), "'\"/it''s a, b/run\"'");
    }
}
