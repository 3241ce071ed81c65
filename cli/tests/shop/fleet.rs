//! A process for each role, on a cluster that the test owns: any of them can be killed.

use std::collections::BTreeMap;
use std::ops::Deref;

use sagashop::ports::Role;
use sagashop::postgres::{Options, Server};

use crate::database_roles;
use crate::folder::Folder;
use crate::http::Http;
use crate::process::{Process, assert_audit_clean};
use crate::up::settled;

const ADMIN_EMAIL: &str = "admin@sagashop.example";
const ADMIN_PASSWORD: &str = "correct horse battery staple";
const INTERNAL_TOKEN: &str = "of the tests, and long enough to be one";

/// It is its own HTTP client.
pub struct Fleet {
    processes: BTreeMap<Role, Process>,
    http: Http,
    kafka: Option<String>,
    /// What every process has in its environment beside the usual.
    environment: Vec<(String, String)>,
    server: Option<Server>,
    /// Dropped after the cluster.
    pub folder: Folder,
}

impl Deref for Fleet {
    type Target = Http;

    fn deref(&self) -> &Http {
        &self.http
    }
}

impl Fleet {
    /// All roles, as soon as they are ready; on this Kafka or on the topic log. On Kafka, each works as a database role of
    /// its own, which may not change an event.
    pub async fn start(kafka: Option<String>) -> Self {
        Self::start_with(kafka, &[]).await
    }

    /// The same, with this in the environment of each process.
    pub async fn start_with(kafka: Option<String>, environment: &[(&str, &str)]) -> Self {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let folder = Folder::new();
        let server = Server::start(&Options::private(folder.data())).await.expect("a cluster");
        let http = Http::new(folder.offset);
        if kafka.is_some() {
            database_roles::make(&server, &folder.data()).await;
        }
        let mut fleet = Self { processes: BTreeMap::new(), http, kafka, environment, server: Some(server), folder };
        for role in Role::ALL {
            fleet.begin(role, &[]);
        }
        for role in Role::ALL {
            fleet.ready(role).await;
        }
        fleet
    }

    /// Starts a role's process, with this in its environment beside the usual.
    pub fn begin(&mut self, role: Role, environment: &[(&str, &str)]) {
        let offset = self.folder.offset;
        let grpc = |role: Role| role.grpc_port().map(|port| port + offset);
        let at = |port: Option<u16>| format!("127.0.0.1:{}", port.unwrap_or_default());
        let mut arguments = vec!["serve".to_owned(), role.name().to_owned()];
        let mut option = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
        option("data-dir", self.folder.data().to_string_lossy().into_owned());
        option("listen", "127.0.0.1".to_owned());
        option("http-port", (role.http_port() + offset).to_string());
        if let Some(port) = grpc(role) {
            option("grpc-port", port.to_string());
        }
        option("product-service-grpc", at(grpc(Role::Product)));
        option("user-service-grpc", at(grpc(Role::User)));
        option("user-service-url", self.url(Role::User, ""));
        // Short: who was killed is replaced soon.
        option("lease", "2s".to_owned());
        if let Some(kafka) = &self.kafka {
            option("kafka-broker", kafka.clone());
        }
        let own = [
            ("ADMIN_EMAIL", ADMIN_EMAIL),
            ("ADMIN_PASSWORD", ADMIN_PASSWORD),
            ("INTERNAL_TOKEN", INTERNAL_TOKEN),
            ("RUST_LOG", "warn"),
        ];
        let (host, user) =
            (self.server.as_ref().map(database_roles::host).unwrap_or_default(), database_roles::of(role));
        let as_service = [("DB_HOST", host.as_str()), ("DB_USER", &user)];
        let as_service = if self.kafka.is_some() { as_service.as_slice() } else { &[] };
        let given: Vec<_> = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let environment = [&own, as_service, &given, environment].concat();
        let process = Process::start(self.folder.path(), role.name(), arguments, &environment);
        assert!(self.processes.insert(role, process).is_none(), "it runs already");
    }

    /// kill -9.
    pub fn kill(&mut self, role: Role) {
        self.take(role).kill();
    }

    /// Its process, which nobody restarts.
    pub fn take(&mut self, role: Role) -> Process {
        self.processes.remove(&role).expect("it runs")
    }

    /// The process ends by itself at a failpoint of this name, and is started anew.
    pub async fn restart_after_abort(&mut self, role: Role) {
        self.take(role).aborted().await;
        self.begin(role, &[]);
    }

    pub async fn admin(&self) -> String {
        self.login(ADMIN_EMAIL, ADMIN_PASSWORD).await
    }

    /// Every process still runs.
    pub fn assert_alive(&mut self) {
        for (role, process) in &mut self.processes {
            let ended = process.has_ended();
            assert!(ended.is_none(), "{} ended with {ended:?}: {}", role.name(), process.last_words());
        }
    }

    /// Waits until nothing is underway, then has the shop audited.
    pub async fn assert_clean(&mut self) {
        self.assert_alive();
        settled(&self.folder).await;
        assert_audit_clean(&self.folder.data(), self.kafka.as_deref()).await;
    }

    pub async fn stop(mut self) {
        self.processes.clear();
        self.server.take().expect("until now").stop().await.expect("stops");
    }
}
