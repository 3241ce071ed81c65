//! `sagashop up`.

use std::fs;
use std::ops::Deref;
use std::sync::Arc;

use sagashop::ports::Role;
use sagashop::shop::Accounts;
use testkit::eventually;

use crate::PATIENCE;
use crate::folder::Folder;
use crate::http::Http;
use crate::process::{Process, assert_audit_clean};

/// A whole shop in one process. It is its own HTTP client.
pub struct Up {
    pub process: Process,
    http: Http,
    /// Dropped after the process.
    pub folder: Arc<Folder>,
}

impl Deref for Up {
    type Target = Http;

    fn deref(&self) -> &Http {
        &self.http
    }
}

impl Up {
    /// A new shop, as soon as it says that it is ready.
    pub async fn start(arguments: &[&str]) -> Self {
        Self::start_in(Arc::new(Folder::new()), arguments).await
    }

    /// The shop of this folder.
    pub async fn start_in(folder: Arc<Folder>, arguments: &[&str]) -> Self {
        Self::start_with(folder, arguments, &[]).await
    }

    /// The same, with this in its environment.
    pub async fn start_with(folder: Arc<Folder>, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        // A folder's later shops say it once more, in the same file.
        let said = || fs::read_to_string(folder.path().join("up.out")).unwrap_or_default();
        let times_ready = || said().matches("Sagashop is ready").count();
        let before = times_ready();
        let mut process = Self::spawn_with(&folder, "up", arguments, environment);
        eventually(PATIENCE, async || {
            let ended = process.has_ended();
            assert!(ended.is_none(), "`up` ended with {ended:?}: {}", process.last_words());
            times_ready() > before
        })
        .await;
        Self { process, http: Http::new(folder.offset), folder }
    }

    /// The process alone, ready or not.
    pub fn spawn(folder: &Folder, name: &str, arguments: &[&str]) -> Process {
        Self::spawn_with(folder, name, arguments, &[])
    }

    fn spawn_with(folder: &Folder, name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Process {
        let (data, offset) = (folder.data(), folder.offset.to_string());
        let own = ["up", "--data-dir", data.to_str().expect("text"), "--port-offset", &offset];
        Process::start(folder.path(), name, own.iter().chain(arguments), environment)
    }

    pub fn accounts(&self) -> Accounts {
        Accounts::read(&self.folder.data()).expect("readable").expect("made at the start")
    }

    pub async fn admin(&self) -> String {
        let accounts = self.accounts();
        self.login(&accounts.admin_email, &accounts.admin_password).await
    }

    /// Waits until nothing is underway, then has the shop audited.
    pub async fn assert_clean(&self) {
        settled(&self.folder).await;
        assert_audit_clean(&self.folder.data(), None).await;
    }
}

/// Waits until every order and every saga has ended.
pub async fn settled(folder: &Folder) {
    eventually(PATIENCE, async || {
        let orders = folder.count(Role::Order, "orders WHERE status = 'pending'").await;
        let sagas = folder.count(Role::Orchestrator, "sagas WHERE ended_at IS NULL").await;
        if orders + sagas == 0 { Ok(()) } else { Err(format!("{orders} orders are pending, {sagas} sagas are open")) }
    })
    .await;
}
