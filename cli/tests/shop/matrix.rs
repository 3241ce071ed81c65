//! Who may do what: every route and every RPC × every kind of caller. The routes are those of the OpenAPI documents, the
//! RPCs those of the descriptors: one that has no row here fails.

mod callers;
mod provider;
mod routes;
mod rpcs;

use std::collections::BTreeSet;

use callers::{ALL, Caller, World};
use reqwest::Method;
use routes::ROUTES;
use rpcs::RPCS;
use sagashop::ports::Role;
use serde_json::Value;

use crate::room_for_a_small_shop;
use crate::rpc::{Rpc, as_http, methods, own_files};

/// Whom a route or an RPC is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// Everybody; whoever shows a token shows one that is good.
    Everybody,
    /// Users, each on their own things.
    Users,
    /// Whom the thing belongs to, and administrators. To all others it is not there.
    Owner,
    /// Whom the thing belongs to. To all others it is not there.
    OwnerAlone,
    /// Administrators.
    Admins,
    /// The shop's own services.
    Services,
    /// Whoever signs the body with a secret that they share with the shop; no token opens it.
    Signers,
}

/// A request that succeeds when somebody makes it who may. `$words` stand for what a [`World`] knows.
struct Row {
    role: Role,
    /// `GET /orders/{id}`, as its document names it; or `order.OrderService/GetOrder`.
    what: &'static str,
    open_to: For,
    /// For `{…}` in the path; with a query, if it needs one.
    on: &'static str,
    body: &'static str,
    /// What those are answered who may.
    good: &'static [u16],
    /// It ends a session or an account: whoever may makes it with one of their own.
    is_last: bool,
}

impl Row {
    const fn new(role: Role, what: &'static str, open_to: For, on: &'static str, body: &'static str) -> Self {
        Self { role, what, open_to, on, body, good: &[200], is_last: false }
    }

    const fn good(self, good: &'static [u16]) -> Self {
        Self { good, ..self }
    }

    const fn last(self) -> Self {
        Self { is_last: true, ..self }
    }

    /// What this caller must be answered.
    fn expected(&self, caller: Caller) -> &'static [u16] {
        use Caller::{Admin, Expired, Locked, Nobody, Owner, Refresh, Service, Stranger};
        match (self.open_to, caller) {
            (For::Everybody, Nobody | Owner | Stranger | Admin) => self.good,
            // A locked user's access token may live on for the minutes that it has, for what is theirs.
            (For::Everybody, Locked) => &[200, 201, 401, 403],
            // Where nothing is private, a token need not even be looked at.
            (For::Everybody, Expired | Refresh | Service) => &[200, 201, 202, 204, 401],
            // Where no secret is shared, there is nothing.
            (For::Signers, _) => &[401, 404],
            (For::Services, Service) => self.good,
            (For::Services, _) | (_, Nobody | Expired | Refresh | Service) => &[401],
            (For::Users, Owner | Stranger | Admin) => self.good,
            (For::Users, Locked) => &[200, 201, 202, 204, 401, 403, 404, 409],
            (For::Owner | For::OwnerAlone, Owner) | (For::Owner | For::Admins, Admin) => self.good,
            (For::Owner | For::OwnerAlone, Stranger) | (For::OwnerAlone, Admin) => &[404],
            (For::Owner | For::OwnerAlone, Locked) => &[401, 403, 404],
            (For::Admins, Owner | Stranger) => &[403],
            (For::Admins, Locked) => &[401, 403],
        }
    }

    fn is_good(&self, caller: Caller) -> bool {
        self.expected(caller) == self.good
    }

    /// A good caller of a request that ends something is somebody whom nobody else needs.
    async fn words(&self, world: &World, caller: Caller) -> (String, String) {
        let who = if self.is_last && self.is_good(caller) { world.once(caller).await } else { world.who(caller) };
        let path = self.what.split_once(' ').map_or(self.what, |(_, path)| path);
        let path = match path.split_once('{') {
            Some((start, rest)) => {
                let (_, end) = rest.split_once('}').expect("a closed brace");
                let (on, query) = self.on.split_once('?').unwrap_or((self.on, ""));
                format!("{start}{on}{end}?{query}")
            }
            None => path.to_owned(),
        };
        let filled = world.fill(&format!("{path}\n{}", self.body), &who);
        (filled, who.token)
    }
}

/// The operations of a role's document, and whether each asks for a token.
fn documented(role: Role) -> Vec<(String, bool)> {
    let document: Value = serde_json::from_str(&role.openapi()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("an item").iter();
        methods.filter(|(_, operation)| operation["responses"].is_object()).map(move |(method, operation)| {
            (format!("{} {path}", method.to_uppercase()), operation["security"].is_array())
        })
    });
    operations.collect()
}

#[test]
fn every_route_and_every_rpc_has_its_row() {
    let key = |row: &Row| (row.role.name(), row.what.to_owned());
    let routes: BTreeSet<_> = ROUTES.iter().map(key).collect();
    assert_eq!(routes.len(), ROUTES.len(), "a route has two rows");
    let documented: BTreeSet<_> = Role::ALL
        .into_iter()
        .flat_map(|role| documented(role).into_iter().map(move |(what, _)| (role.name(), what)))
        .collect();
    let missing: Vec<_> = documented.difference(&routes).collect();
    let stale: Vec<_> = routes.difference(&documented).collect();
    assert!(missing.is_empty() && stale.is_empty(), "without a row: {missing:#?}; gone: {stale:#?}");

    let rows: BTreeSet<_> = RPCS.iter().map(|row| row.what.to_owned()).collect();
    let described: BTreeSet<_> = methods(&own_files()).into_iter().collect();
    assert_eq!(rows, described, "the RPCs of the descriptors are not those of the rows");
}

#[test]
fn a_document_asks_for_a_token_wherever_one_is_needed() {
    for row in ROUTES {
        let documented = documented(row.role);
        let asks = documented.iter().find(|(what, _)| what == row.what).map(|(_, asks)| *asks);
        // A route for everybody may know a token; one for some must ask for it.
        let needed = !matches!(row.open_to, For::Everybody | For::Signers);
        assert!(asks == Some(true) || !needed, "{}: {} does not ask for a token", row.role.name(), row.what);
    }
}

/// Where a request comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// At the service's own port.
    Service,
    /// Through the gateway, which has all but what is of one process.
    Gateway,
}

impl Door {
    fn leads_to(self, row: &Row) -> bool {
        self == Self::Service || !row.what.contains(" /admin/")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_open_to_whom_it_is_for_and_to_nobody_else() {
    everybody_tries_every_route(Door::Service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_opens_nothing_that_a_service_keeps_shut() {
    everybody_tries_every_route(Door::Gateway).await;
}

async fn everybody_tries_every_route(door: Door) {
    let _room = room_for_a_small_shop().await;
    let world = World::open().await;
    let mut wrong = Vec::new();
    // Those who may not come first: nothing changes by them.
    for refused in [true, false] {
        for row in ROUTES.iter().filter(|row| door.leads_to(row)) {
            for caller in ALL.into_iter().filter(|caller| row.is_good(*caller) != refused) {
                let (status, said) = ask(&world, door, row, caller).await;
                if !row.expected(caller).contains(&status) {
                    wrong.push(format!("{} {} as {caller:?}: {status} {said}", row.role.name(), row.what));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn ask(world: &World, door: Door, row: &Row, caller: Caller) -> (u16, Value) {
    let (method, _) = row.what.split_once(' ').expect("a method and a path");
    let (filled, token) = row.words(world, caller).await;
    let (path, body) = filled.split_once('\n').expect("a line each");
    let method: Method = method.parse().expect("a method");
    let mut request = match door {
        Door::Service => world.shop.request(method, row.role, path, &token),
        Door::Gateway => world.shop.request_through_gateway(method, path, &token),
    };
    if !body.is_empty() {
        let form = if body.starts_with('{') { "application/json" } else { "text/csv" };
        request = request.header("content-type", form).body(body.to_owned());
    }
    let answer = world.shop.send(request).await;
    if answer.status >= 400 {
        assert_eq!(answer.content_type, "application/problem+json", "{} as {caller:?}", row.what);
    }
    (answer.status, answer.body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_list_tells_of_what_is_anothers() {
    let _room = room_for_a_small_shop().await;
    let world = World::open().await;
    let stranger = world.who(Caller::Stranger);
    for (role, path) in [
        (Role::Order, "/orders"),
        (Role::Payment, "/payments"),
        (Role::Payment, "/payments?order_id=$order"),
        (Role::Notification, "/notifications"),
        (Role::Notification, "/notifications?order_id=$order"),
    ] {
        let listed = world.shop.get(role, &world.fill(path, &stranger), &stranger.token).await.expect(200).to_string();
        for others in ["$order", "$payment", "$notification", "$owner"] {
            assert!(!listed.contains(&world.fill(others, &stranger)), "{path} tells of {others}: {listed}");
        }
    }
    for (role, path) in [
        (Role::Order, "/orders?all=true"),
        (Role::Order, "/orders?customer_id=$owner"),
        (Role::Notification, "/notifications?user_id=$owner"),
    ] {
        world.shop.get(role, &world.fill(path, &stranger), &stranger.token).await.expect(403);
        world.shop.get(role, &world.fill(path, &stranger), &world.who(Caller::Admin).token).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rpc_is_open_to_whom_it_is_for_and_to_nobody_else() {
    let _room = room_for_a_small_shop().await;
    let world = World::open().await;
    let mut wrong = Vec::new();
    for row in RPCS {
        let rpc = Rpc::known(row.role, world.shop.folder.offset);
        for refused in [true, false] {
            for caller in ALL.into_iter().filter(|caller| row.is_good(*caller) != refused) {
                let (filled, token) = row.words(&world, caller).await;
                let (_, body) = filled.split_once('\n').expect("a line each");
                let answer = rpc.call(row.what, &serde_json::from_str(body).expect("JSON"), &token).await;
                if !row.expected(caller).contains(&as_http(&answer)) {
                    wrong.push(format!("{} as {caller:?}: {answer:?}", row.what));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
