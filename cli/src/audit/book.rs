//! The payment provider's own book, where it is behind HTTP; that of the simulated one is a table of the payment service.

use crate::args::ProviderArgs;
use anyhow::Context;
use event_store::clock;
use payment_service::Choice;
use payment_service::provider::{HttpProvider, HttpSettings};
use psp::protocol::Operation;
use std::time::Duration;

/// A page of it is read within this.
const PAGE_MAX: Duration = Duration::from_secs(10);
/// More than this is not held at once.
const OPERATIONS_MAX: usize = 5_000_000;

/// Reads the whole book of the provider behind HTTP; nothing where there is none.
pub(super) async fn read(args: &ProviderArgs) -> anyhow::Result<Vec<Operation>> {
    let Choice::Http { url, key } = args.choice()? else { return Ok(Vec::new()) };
    let settings = HttpSettings { url, key: *key, timeout: PAGE_MAX, connections_max: 1 };
    let provider = HttpProvider::new(&settings, clock::system())?;
    let (mut book, mut after) = (Vec::new(), None);
    loop {
        let page = provider.operations(after.as_deref()).await.context("the payment provider's book cannot be read")?;
        anyhow::ensure!(page.next > after || page.next.is_none(), "the payment provider's book turns in a circle");
        book.extend(page.operations);
        anyhow::ensure!(book.len() <= OPERATIONS_MAX, "the payment provider's book is too long");
        after = page.next;
        if after.is_none() {
            return Ok(book);
        }
    }
}
