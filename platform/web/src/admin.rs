//! What administrators may do to every service's process: choose what it logs.

use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi, Tags};
use telemetry::logs;

use crate::auth::Admin;
use crate::{Problem, Text};

#[derive(Tags)]
enum Tag {
    /// Looking after the process itself. Administrators only, and not through the gateway.
    Process,
}

/// The operations that every service has beside its own.
pub(crate) struct ProcessApi;

/// What a process logs.
#[derive(Object)]
#[oai(deny_unknown_fields, example)]
struct LogLevel {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or several directives: `info,sqlx=warn`.
    #[oai(validator(min_length = 1, max_length = 2000))]
    filter: Text,
}

impl Example for LogLevel {
    fn example() -> Self {
        Self { filter: "info,order_service=debug".into() }
    }
}

#[OpenApi(tag = "Tag::Process")]
impl ProcessApi {
    /// Show what is logged
    #[oai(path = "/admin/log-level", method = "get", operation_id = "getLogLevel")]
    async fn log_level(&self, _admin: Admin) -> Result<Json<LogLevel>, Problem> {
        shown()
    }

    /// Choose what is logged
    ///
    /// From now on and for this process alone, until it ends. All roles of one process share a log.
    #[oai(path = "/admin/log-level", method = "put", operation_id = "setLogLevel")]
    async fn set_log_level(&self, admin: Admin, body: Json<LogLevel>) -> Result<Json<LogLevel>, Problem> {
        let filter = &body.0.filter;
        logs::set_filter(filter).map_err(|bad| {
            Problem::unprocessable(bad.to_string())
                .kind("bad-log-filter", "This is no log filter")
                .field("filter", bad.to_string())
        })?;
        tracing::warn!(log.filter = &**filter, user.id = %admin.0.user_id, "what is logged was changed");
        shown()
    }
}

fn shown() -> Result<Json<LogLevel>, Problem> {
    let filter = logs::filter().ok_or_else(|| Problem::internal("logging was not set up"))?;
    Ok(Json(LogLevel { filter: filter.as_str().into() }))
}
