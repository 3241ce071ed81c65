//! kill -9 of anything at any moment: every acknowledged order ends, and the audit finds nothing.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use sagashop::ports::Role;
use testkit::eventually;

use crate::fleet::Fleet;
use crate::http::Http;
use crate::kafka::Kafka;
use crate::traffic::{Catalogue, Traffic};
use crate::up::Up;
use crate::{PATIENCE, room_for_a_large_shop};

const CUSTOMERS: usize = 5;

async fn customers(http: &Http) -> Vec<String> {
    let mut tokens = Vec::new();
    for n in 0..CUSTOMERS {
        tokens.push(http.customer(&format!("customer-{n}")).await);
    }
    tokens
}

/// Kills each role so often, in a random order and at random moments.
async fn kill_everything(mut fleet: Fleet, times: usize, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let admin = fleet.admin().await;
    let catalogue = Catalogue::fill(&fleet, &admin).await;
    let tokens = customers(&fleet).await;
    let traffic = Traffic::begin(&fleet, &catalogue, tokens, seed);
    eventually(PATIENCE, async || traffic.placed() >= 5).await;

    let mut victims = Role::ALL.repeat(times);
    victims.shuffle(&mut random);
    for (n, role) in victims.iter().enumerate() {
        fleet.kill(*role);
        fleet.begin(*role, &[]);
        // The moment of the next one, which does not wait for this one's recovery.
        tokio::time::sleep(Duration::from_millis(random.random_range(50..700))).await;
        if n % 6 == 5 {
            // Between the blows the shop does business.
            let before = traffic.placed();
            eventually(PATIENCE, async || traffic.placed() >= before + 5).await;
            fleet.assert_alive();
        }
    }
    let placed = traffic.end(&fleet).await;
    eprintln!("seed {seed}: {} kills, {placed} orders, all ended", victims.len());
    fleet.assert_clean().await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_is_killed_again_and_again_on_the_topic_log() {
    let _room = room_for_a_large_shop().await;
    kill_everything(Fleet::start(None).await, 4, 20_260_101).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_is_killed_on_kafka() {
    let _room = room_for_a_large_shop().await;
    let Some(kafka) = Kafka::start() else { return };
    kill_everything(Fleet::start(Some(kafka.address())).await, 2, 20_260_202).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_shop_is_killed_and_goes_on_where_it_was() {
    let _room = room_for_a_large_shop().await;
    let mut shop = Up::start(&["--empty"]).await;
    let admin = shop.admin().await;
    let catalogue = Catalogue::fill(&shop, &admin).await;
    let tokens = customers(&shop).await;
    let traffic = Traffic::begin(&shop, &catalogue, tokens, 20_260_303);
    // Its PostgreSQL runs on; the second time, that is killed as well, as in a power cut.
    for (kill, postgres_too) in [(1, false), (2, true)] {
        eventually(PATIENCE, async || traffic.placed() >= kill * 40).await;
        let Up { process, folder, .. } = shop;
        process.kill();
        if postgres_too {
            folder.kill_postgres();
        }
        shop = Up::start_in(folder, &["--empty"]).await;
    }
    let placed = traffic.end(&shop).await;
    assert!(placed >= 80, "{placed}");
    shop.assert_clean().await;
}
