//! A port for whoever looks after the process: what it measures, how it is, what it logs. The shop is not there.

use std::sync::Arc;

use poem::{Endpoint, Request, Response};

use crate::Problem;
use crate::edge::Edge;

/// What the port answers, of all that the service does.
const PATHS: [&str; 5] = ["/metrics", "/health", "/health/live", "/health/ready", "/admin/log-level"];

/// The service's edge, as far as it is for the process.
pub(super) struct OfTheProcess(pub(super) Arc<Edge>);

impl Endpoint for OfTheProcess {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        if PATHS.contains(&request.uri().path()) {
            return self.0.call(request).await;
        }
        Ok(Problem::not_found("There is nothing at this path").into_answer())
    }
}
