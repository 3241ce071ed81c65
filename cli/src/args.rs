//! The command line. What can be set for longer than one call is a flag with a variable: the configuration file
//! ([`crate::config`]) knows it by the flag's name.

mod edge;
mod evidence;
mod examples;
mod groups;
mod kafka;
mod look;
mod mend;
mod moment;
mod operate;
mod payment;
mod projection;
mod replay;
mod saga;
mod schemas;
mod shop;
mod transfer;
mod user;
mod values;

pub use edge::{EdgeArgs, Limit};
pub use evidence::{AuditArgs, EvidenceArgs};
pub use groups::{DatabaseArgs, PeerArgs, SecretArgs, ServerArgs};
pub use kafka::{KafkaArgs, Mechanism};
pub use look::{
    By, EventsCommand, EventsCountArgs, EventsListArgs, EventsShowArgs, EventsTailArgs, FilterArgs, StateArgs,
    StoreArgs, StreamArgs, TraceArgs,
};
pub use mend::{
    ActArgs, DeadLettersCommand, DiscardArgs, EditArgs, IdempotencyCommand, IdempotencyShowArgs, LettersListArgs,
    LettersShowArgs, OffsetsCommand, OffsetsListArgs, OffsetsSetArgs, OpsCommand, OpsLogArgs, RelayCommand,
    RelayPendingArgs, RelayRewindArgs, RelayStatusArgs, RetryArgs,
};
pub use moment::Moment;
pub(crate) use operate::roles_of;
pub use operate::{DoctorArgs, RestoreCheckArgs};
pub use payment::{PaymentArgs, ProviderArgs, ProviderKind};
pub use projection::{
    From, ProjectionCommand, ProjectionDropOldArgs, ProjectionListArgs, ProjectionRebuildArgs, ProjectionVerifyArgs,
};
pub use replay::{ReplayArgs, ReplayFrom, ReplayTo};
pub use saga::{SagaActArgs, SagaCommand, SagaFilterArgs, SagaGraphArgs, SagaListArgs, SagaRestartArgs, SagaShowArgs};
pub use schemas::{
    SchemasCheckArgs, SchemasCommand, SchemasDiffArgs, SchemasListArgs, SchemasShowArgs, SchemasWriteArgs,
};
pub use shop::{ServeArgs, UpArgs};
pub use transfer::{EventsCopyArgs, EventsExportArgs, EventsImportArgs};
pub use user::{AccountArgs, CreateAdminArgs, KeysArgs, KeysCommand, KeysRetireArgs, UserDatabaseArgs, UsersCommand};

use crate::bench::http::Scenario;
use crate::openapi;
use crate::output::Format;
use crate::ports::{Part, Role};
use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// An event-sourced shop: five services, a saga that takes each order through them, and the tools to prove that
/// nothing was lost.
///
/// `sagashop up` starts all of it; nothing needs to be installed. Results go to stdout, logs to stderr.
#[derive(Debug, Parser)]
#[command(name = "sagashop", version = web::VERSION, arg_required_else_help = true, after_help = AFTER_HELP)]
pub struct Args {
    /// What applies to every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done · 1 checked, and something is violated · 2 command line or configuration not accepted ·
3 could not check · 4 failed · 5 port or folder in use · 6 a named server is unavailable · 130 interrupted
Environment: RUST_LOG chooses what is logged; NO_COLOR turns colours off.";

/// What applies to every command.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Every command")]
pub struct GlobalArgs {
    /// The form of results on stdout.
    #[arg(long, global = true, value_enum, default_value_t, env = "SAGASHOP_OUTPUT", hide_env = true)]
    pub output: Format,
    /// The form of logs on stderr.
    #[arg(long, global = true, value_enum, default_value_t, env = "LOG_FORMAT")]
    pub log_format: LogFormat,
    /// The folder that everything of this shop lives in.
    #[arg(long, global = true, value_name = "FOLDER", default_value = "./.sagashop", env = "SAGASHOP_DATA_DIR")]
    pub data_dir: PathBuf,
    /// The configuration file; without it, sagashop.toml in the working folder, if there is one.
    #[arg(long, global = true, value_name = "FILE", env = "SAGASHOP_CONFIG")]
    pub config: Option<PathBuf>,
    /// In production, nothing starts with a secret that is missing or weak, or with what is meant for development.
    #[arg(long, global = true, value_name = "MODE", value_enum, default_value_t, env = "SAGASHOP_MODE")]
    pub mode: Mode,
    /// Where people look at a trace: an address with {trace_id} in it, such as http://localhost:16686/trace/{trace_id}.
    #[arg(long, global = true, value_name = "URL", env = "TRACE_URL", value_parser = values::trace_url)]
    pub trace_url: Option<String>,
    /// Every setting that was given as a flag, by its variable: for a shop that is started as a process of its own.
    #[arg(skip)]
    pub flags: Vec<(String, String)>,
}

/// What the shop is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Trying and building: accounts and secrets are made up where none are given.
    #[default]
    Development,
    /// Real customers: every secret is given, and none is weak.
    Production,
}

/// The form of logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Pretty on a terminal and for tools; JSON where up and serve write to something else.
    #[default]
    Auto,
    /// Lines for people.
    #[value(alias = "text")]
    Pretty,
    /// A JSON document a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the whole shop in one process.
    ///
    /// Without DATABASE_URL or DB_HOST it runs a PostgreSQL of its own under the data folder: by the programs on this
    /// machine, else by a PostgreSQL 17 that is fetched once into the cache. Without KAFKA_BROKER, messages go through
    /// that PostgreSQL too. Ctrl-C stops it; the next start goes on where it was.
    #[command(after_help = examples::UP)]
    Up(Box<UpArgs>),
    /// Run one service, or the orchestrator, as its own process.
    #[command(after_help = examples::SERVE)]
    Serve(Box<ServeArgs>),
    /// Create the databases of all roles, or of some, and bring them up to date.
    #[command(after_help = examples::MIGRATE)]
    Migrate(MigrateArgs),
    /// Ask a part on this machine whether it is ready: for a container's health check. Exits with 1 when it is not.
    #[command(after_help = examples::HEALTH)]
    Health(HealthArgs),
    /// Place a mix of orders, follow each to its end, tell one order's story, and audit the shop.
    ///
    /// Uses the shop that runs, else starts one for the time.
    #[command(after_help = examples::DEMO)]
    Demo(DemoArgs),
    /// Check every promise against the live databases. Exits with 1 when one is broken, 3 when one could not be checked.
    Audit(AuditArgs),
    /// Look at a deployment: settings, rights, schemas, topics, lag, clocks, versions; says what to do about each. Exits with
    /// 1 when something fails, 3 when something could not be checked.
    #[command(after_help = examples::DOCTOR)]
    Doctor(Box<DoctorArgs>),
    /// Check databases that were restored from a backup, and make them fit their server and the broker.
    #[command(after_help = examples::RESTORE_CHECK)]
    RestoreCheck(Box<RestoreCheckArgs>),
    /// Measure; each benchmark but the canary runs the canary before and after itself.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Print a service's OpenAPI document or the payment provider's, or write them all.
    #[command(after_help = examples::OPENAPI)]
    Openapi(OpenapiArgs),
    /// List what is measured, or print the page that docs/metrics.md holds.
    #[command(after_help = examples::METRICS)]
    Metrics(MetricsArgs),
    /// Print the completions of a shell.
    #[command(after_help = examples::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands into a folder.
    #[command(after_help = examples::MAN)]
    Man(ManArgs),
    /// Look at the configuration: flags before the environment, before the file, before the defaults.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at the sagas, and mend them: alone, or many at once.
    #[command(subcommand)]
    Saga(SagaCommand),
    /// Look at the events of the services' stores, and take them elsewhere.
    #[command(subcommand)]
    Events(EventsCommand),
    /// Show an aggregate's events, its state at any time, and what each event changed.
    #[command(after_help = look::STREAM_HELP)]
    Stream(StreamArgs),
    /// Tell an order's story across all services, from their event stores alone: what followed from what, and when.
    ///
    /// Any correlation id tells its story too. With --output mermaid it is a sequence diagram.
    #[command(after_help = look::TRACE_HELP)]
    Trace(TraceArgs),
    /// Show the shop as of any moment, from the services' events: orders by status, stock, money.
    #[command(after_help = look::STATE_HELP)]
    State(StateArgs),
    /// Read history again: publish it for a consumer that is new, or make its decisions again and compare.
    #[command(after_help = replay::REPLAY_HELP)]
    Replay(Box<ReplayArgs>),
    /// Look at the forms of all events, and check that a change breaks nobody.
    #[command(subcommand)]
    Schemas(SchemasCommand),
    /// Look at the read models, make them anew while they serve, and compare them with their events.
    #[command(subcommand)]
    Projection(ProjectionCommand),
    /// Look at messages that could not be handled, correct them, have them handled again, or give them up.
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Look at what operators did.
    #[command(subcommand)]
    Ops(OpsCommand),
    /// Look at where consumers stand, and move them.
    #[command(subcommand)]
    Offsets(OffsetsCommand),
    /// Look at what is published and what is not, and publish again.
    #[command(subcommand)]
    Relay(RelayCommand),
    /// Look at what requests with an idempotency key were answered.
    #[command(subcommand)]
    Idempotency(IdempotencyCommand),
    /// The keys that access tokens are signed with.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Accounts that no API makes.
    #[command(subcommand)]
    Users(UsersCommand),
}

/// `sagashop migrate`.
#[derive(Clone, Debug, clap::Args)]
pub struct MigrateArgs {
    /// Whose databases; all when none is named.
    #[arg(value_enum)]
    pub roles: Vec<Role>,
    /// Then let this database role work in each: add to the events and read them, but never change them. {role} in it
    /// stands for the part's name: {role}_service. Without it, whoever migrates is who works.
    #[arg(long, value_name = "NAME", env = "GRANT_TO")]
    pub grant_to: Option<String>,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop health`.
#[derive(Clone, Debug, clap::Args)]
pub struct HealthArgs {
    /// Which part; without one, all that listen on their usual ports, of which there must be one.
    #[arg(value_enum)]
    pub part: Option<Part>,
    /// Its HTTP port, where that is not the usual one.
    #[arg(long, value_name = "PORT", env = "HTTP_PORT")]
    pub http_port: Option<u16>,
    /// It serves TLS with this certificate: then it is enough that it takes connections.
    #[arg(long, value_name = "FILE", env = "TLS_CERTIFICATE")]
    pub tls_certificate: Option<PathBuf>,
}

/// `sagashop demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// How many orders to place.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub orders: u32,
    /// Orders a second; as fast as they are answered when not given.
    #[arg(long, value_name = "R", value_parser = values::rate)]
    pub rate: Option<f64>,
    /// The same seed places the same mix.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// The shop to start when none runs, and the one to look for.
    #[command(flatten)]
    pub up: UpArgs,
}

/// `sagashop bench …`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// How fast this server is today: durable single-row commits and 100-row inserts, three seconds each.
    #[command(after_help = examples::BENCH_CANARY)]
    Canary(BenchCanaryArgs),
    /// Orders over HTTP, from POST to confirmed as the client sees it.
    #[command(after_help = examples::BENCH_ORDERS)]
    Orders(BenchOrdersArgs),
    /// Requests over HTTP on connections that stay open, with access tokens checked and rate limits on.
    #[command(after_help = examples::BENCH_HTTP)]
    Http(BenchHttpArgs),
    /// Appends to the event store, beside stock postgres-es and a raw batched INSERT.
    #[command(after_help = examples::BENCH_STORE)]
    Store(BenchStoreArgs),
    /// The list of orders made anew from a million events, compared with them, and what traffic feels of it.
    #[command(after_help = examples::BENCH_REBUILD)]
    Rebuild(BenchRebuildArgs),
    /// Write orders into the order service's store of a shop that is for trying, and does not run: to make read models
    /// anew from, and to look for things in. They are not published, and the other services know nothing of them.
    #[command(after_help = examples::BENCH_GENERATE)]
    Generate(BenchGenerateArgs),
}

/// `sagashop bench canary`.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchCanaryArgs {
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop bench orders`.
#[derive(Clone, Debug, clap::Args)]
#[command(group = ArgGroup::new("load").args(["rate", "clients"]))]
pub struct BenchOrdersArgs {
    /// Orders a second, placed on time whether earlier ones are answered or not (open loop).
    #[arg(long, value_name = "R", value_parser = values::rate)]
    pub rate: Option<f64>,
    /// Clients that each wait for their order's end before the next (closed loop); 64 when no rate is given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub clients: Option<u32>,
    /// How long to place orders.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::duration)]
    pub duration: Duration,
    /// Instead: what tracing costs, by the same load on shops that trace everything or nothing, in turn.
    #[arg(long)]
    pub trace_price: bool,
    /// The shop to start when none runs, and the one to look for.
    #[command(flatten)]
    pub up: UpArgs,
}

/// `sagashop bench http`.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchHttpArgs {
    /// What to measure, in this order.
    #[arg(long, value_name = "WHAT,…", value_enum, value_delimiter = ',', conflicts_with = "overload",
          default_values = ["products", "logins", "orders", "accepted"])]
    pub only: Vec<Scenario>,
    /// Instead: find the most orders a second, offer three times as many, and see what becomes of them and of the
    /// shop's health.
    #[arg(long)]
    pub overload: bool,
    /// How long each measurement takes.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = values::duration)]
    pub duration: Duration,
    /// The shop to start when none runs, and the one to look for.
    #[command(flatten)]
    pub up: UpArgs,
}

/// `sagashop bench store`.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchStoreArgs {
    /// Concurrent writers, one run each.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 8, 32, 128, 512])]
    pub writers: Vec<u32>,
    /// How long each run takes.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = values::duration)]
    pub duration: Duration,
    /// Chain the events of ours by their hashes, as HASH_CHAIN does.
    #[arg(long)]
    pub hash_chain: bool,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop bench rebuild`.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchRebuildArgs {
    /// How many events to rebuild from.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub events: u64,
    /// Workers that fill the table and compare it. Beside traffic, one does.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: u16,
    /// Orders a second that are placed beside a rebuild.
    #[arg(long, value_name = "R", default_value_t = 100.0, value_parser = values::rate)]
    pub rate: f64,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop bench generate`.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchGenerateArgs {
    /// How many orders.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub orders: u64,
    /// Fill the stores of all services, and the topics, instead of the order service's store alone: a shop of thirty
    /// days, at rest. Its databases must be empty.
    #[arg(long)]
    pub all: bool,
    /// With --all: what customers do follows from it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// With --all: chain the events by their hashes, as HASH_CHAIN does.
    #[arg(long)]
    pub hash_chain: bool,
    /// With --all: partitions of each topic.
    #[arg(long, value_name = "N", env = "KAFKA_PARTITIONS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub partitions: u16,
    /// With --all: what wraps the keys of personal data.
    #[command(flatten)]
    pub secrets: SecretArgs,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop openapi`.
#[derive(Clone, Debug, clap::Args)]
#[command(group = ArgGroup::new("which").args(["of", "all"]).required(true))]
pub struct OpenapiArgs {
    /// Whose document to print.
    #[arg(value_name = "ROLE", value_enum)]
    pub of: Option<openapi::Of>,
    /// Instead: write all documents into this folder, as docs/api holds them. A document that would break its clients
    /// needs a new version first.
    #[arg(long, value_name = "FOLDER")]
    pub all: Option<PathBuf>,
}

/// `sagashop metrics`.
#[derive(Clone, Debug, clap::Args)]
pub struct MetricsArgs {
    /// The page, in Markdown.
    #[arg(long)]
    pub markdown: bool,
}

/// `sagashop completions`.
#[derive(Clone, Debug, clap::Args)]
pub struct CompletionsArgs {
    /// For which shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `sagashop man`.
#[derive(Clone, Debug, clap::Args)]
pub struct ManArgs {
    /// The folder for the pages of all commands; it is made if it is not there.
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
}

/// `sagashop config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show every setting of a command with its source, secrets masked.
    #[command(after_help = examples::CONFIG_SHOW)]
    Show(ConfigArgs),
    /// Check the configuration as the command would at its start, without starting it.
    #[command(after_help = examples::CONFIG_CHECK)]
    Check(ConfigArgs),
}

/// `sagashop config show` and `check`.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    /// The command with its flags, such as: serve order --http-port 9082. Without one, `show` means up, and `check` all
    /// that serve runs.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_anywhere() {
        let args = Args::parse_from(["sagashop", "bench", "canary", "--output", "json", "--data-dir", "/d"]);
        assert_eq!(args.global.output, Format::Json);
        assert_eq!(args.global.data_dir, PathBuf::from("/d"));
    }

    #[test]
    fn rate_and_clients_exclude_each_other() {
        let both = ["sagashop", "bench", "orders", "--rate", "50", "--clients", "8"];
        assert!(Args::try_parse_from(both).is_err());
    }
}
