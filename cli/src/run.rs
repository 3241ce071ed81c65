//! From the command line to the command.

use crate::args::{
    Args, BenchCommand, Command, ConfigCommand, DatabaseArgs, GlobalArgs, LogFormat, SagaCommand, ServerArgs,
};
use crate::config::{self, Loaded};
use crate::exit::{Code, Failure};
use crate::output::Format;
use crate::postgres::Server;
use crate::{
    audit, bench, canary, demo, doctor, events, health, keys, manual, mend, metrics, migrate, openapi, output,
    projection, replay, restore, saga, schemas, shop, state, stream, trace, users,
};
use clap::CommandFactory;
use std::io::IsTerminal;

/// What is logged unless `RUST_LOG` says otherwise: a shop in one process keeps to what matters,
/// a service by itself tells more.
const LOG_UP: &str = "warn,rskafka=off,sagashop=info,access=info";
/// Tools measure and look: a slow statement is no news there.
const LOG_TOOLS: &str = "warn,sqlx=error,rskafka=off";
const LOG_SERVE: &str = "info,sqlx=warn,rskafka=off,tonic=warn,h2=warn,hyper=warn";

/// Runs the command; its result is the exit code.
///
/// # Errors
/// What the command failed of; [`crate::exit::code_of`] knows its exit code.
pub async fn run(loaded: Loaded) -> anyhow::Result<Code> {
    config::accept(&loaded.args)?;
    let Args { global, command } = loaded.args;
    if global.output == Format::Mermaid && !matches!(command, Command::Trace(_) | Command::Saga(SagaCommand::Graph(_)))
    {
        return Err(Failure::new(Code::Usage, "--output mermaid is for trace and saga graph alone").into());
    }
    let _telemetry = telemetry(&global, &command)?;
    for warning in loaded.warnings {
        tracing::warn!("{warning}");
    }
    match command {
        Command::Up(args) => shop::up(&global, &args).await,
        Command::Serve(args) => shop::serve(&global, &args).await,
        Command::Migrate(args) => migrate::migrate(&global, &args).await,
        Command::Health(args) => health::health(global.output, &args).await,
        Command::Openapi(args) => openapi::run(global.output, &args),
        Command::Metrics(args) => metrics::metrics(global.output, &args),
        Command::Completions(args) => {
            // Into memory first: a reader that has seen enough is no reason to panic.
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Args::command(), "sagashop", &mut script);
            output::page(global.output, "script", &String::from_utf8_lossy(&script))?;
            Ok(Code::Done)
        }
        Command::Man(args) => manual::man(global.output, &args),
        Command::Config(ConfigCommand::Show(args)) => config::show(global.output, &args, &loaded.settings),
        Command::Config(ConfigCommand::Check(args)) => config::check(global.output, &args, &loaded.settings),
        Command::Saga(command) => saga::run(&global, &command).await,
        Command::Events(command) => events::run(&global, &command).await,
        Command::Stream(args) => stream::stream(&global, &args).await,
        Command::Trace(args) => trace::trace(&global, &args).await,
        Command::State(args) => state::state(&global, &args).await,
        Command::Replay(args) => replay::replay(&global, &args).await,
        Command::Schemas(command) => schemas::run(&global, &command),
        Command::Projection(command) => projection::run(&global, &command).await,
        Command::DeadLetters(command) => mend::letters::run(&global, &command).await,
        Command::Ops(command) => mend::ops::run(&global, &command).await,
        Command::Offsets(command) => mend::offsets::run(&global, &command).await,
        Command::Relay(command) => mend::relay::run(&global, &command).await,
        Command::Idempotency(command) => mend::idempotency::run(&global, &command).await,
        Command::Keys(command) => keys::run(&global, &command).await,
        Command::Users(command) => users::run(&global, &command).await,
        Command::Bench(BenchCommand::Canary(canary)) => bench_canary(&global, &canary.database).await,
        Command::Bench(BenchCommand::Orders(args)) => bench::orders::orders(&global, &args).await,
        Command::Bench(BenchCommand::Http(args)) => bench::http::http(&global, &args).await,
        Command::Bench(BenchCommand::Store(args)) => bench::store::store(&global, &args).await,
        Command::Bench(BenchCommand::Rebuild(args)) => bench::rebuild::rebuild(&global, &args).await,
        Command::Bench(BenchCommand::Generate(args)) => bench::rebuild::generate(&global, &args).await,
        Command::Demo(args) => demo::demo(&global, &args).await,
        Command::Audit(args) => audit::audit(&global, &args).await,
        Command::Doctor(args) => doctor::doctor(&global, &args).await,
        Command::RestoreCheck(args) => restore::restore_check(&global, &args).await,
    }
}

fn telemetry(global: &GlobalArgs, command: &Command) -> anyhow::Result<telemetry::Guard> {
    let (service, filter, servers) = match command {
        Command::Up(args) => ("sagashop", LOG_UP, Some(&args.servers)),
        Command::Serve(args) => (args.part.name(), LOG_SERVE, Some(&args.servers)),
        _ => ("sagashop", LOG_TOOLS, None),
    };
    let endpoint = servers.and_then(ServerArgs::trace_endpoint);
    let alone = matches!(command, Command::Serve(_));
    let filter = std::env::var("RUST_LOG").ok().filter(|value| !value.is_empty()).unwrap_or_else(|| filter.to_owned());
    telemetry::init(telemetry::Options {
        service,
        traces: endpoint.map(|endpoint| telemetry::Collector { endpoint, alone }),
        trace_url: global.trace_url.clone().filter(|url| !url.is_empty()),
        format: log_format(global.log_format, servers.is_some()),
        filter: &filter,
    })
}

/// Machines read the log of a service; people that of a tool, and whatever stands on their terminal.
fn log_format(wanted: LogFormat, serves: bool) -> telemetry::Format {
    match wanted {
        LogFormat::Auto if serves && !std::io::stderr().is_terminal() => telemetry::Format::Json,
        LogFormat::Auto | LogFormat::Pretty => telemetry::Format::Pretty,
        LogFormat::Json => telemetry::Format::Json,
    }
}

async fn bench_canary(global: &GlobalArgs, database: &DatabaseArgs) -> anyhow::Result<Code> {
    let server = Server::open(&database.options(global)?).await?;
    let measured = canary::measure(&server).await;
    server.stop().await?;
    output::one(global.output, &measured?)?;
    Ok(Code::Done)
}
