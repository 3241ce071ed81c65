//! How many requests a caller may send.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter as Governor};
use kernel::UserId;

use crate::{Problem, Rate, RateLimits};

/// So many callers are told apart.
const CALLERS_MAX: usize = 100_000;
/// Callers beyond them share this many places.
const SHARED_PLACES: u64 = 1_024;
/// How often it is looked who has not been heard of lately.
const CHECKS_BETWEEN_LOOKS: u32 = 4_096;

/// One rate for each of a bounded number of callers (GCRA). Whoever has not been heard of for long enough to be as good
/// as new is forgotten; beyond 100,000 the newest ones share places.
pub struct RateLimiter {
    rate: Rate,
    governor: Governor<u64, DashMapStateStore<u64>, MonotonicClock, StateInformationMiddleware>,
    hasher: RandomState,
    checks: AtomicU32,
    full: AtomicBool,
}

/// What a caller has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// So many at once at most.
    pub limit: u32,
    /// So many are left now.
    pub remaining: u32,
    /// After this all of them are there again.
    pub reset: Duration,
}

impl RateLimiter {
    /// A limiter in which every caller has `rate`.
    pub fn new(rate: Rate) -> Self {
        let quota = Quota::with_period(rate.period()).unwrap_or(Quota::per_second(rate.count)).allow_burst(rate.burst);
        let governor = Governor::dashmap_with_clock(quota, MonotonicClock);
        Self {
            rate,
            governor: governor.with_middleware::<StateInformationMiddleware>(),
            hasher: RandomState::new(),
            checks: AtomicU32::new(0),
            full: AtomicBool::new(false),
        }
    }

    /// Takes one from what `caller` has left.
    ///
    /// # Errors
    /// Nothing is left: how long until there is.
    pub fn check(&self, caller: impl Hash) -> Result<Allowance, Duration> {
        if self.checks.fetch_add(1, Ordering::Relaxed).is_multiple_of(CHECKS_BETWEEN_LOOKS) {
            self.look();
        }
        let mut place = self.hasher.hash_one(caller);
        if self.full.load(Ordering::Relaxed) {
            place %= SHARED_PLACES;
        }
        match self.governor.check_key(&place) {
            Ok(state) => Ok(self.allowance(state.remaining_burst_capacity())),
            Err(refused) => Err(refused.wait_time_from(MonotonicClock.now())),
        }
    }

    /// What somebody with so many left has.
    fn allowance(&self, remaining: u32) -> Allowance {
        let limit = self.rate.burst.get();
        Allowance { limit, remaining, reset: self.rate.period() * limit.saturating_sub(remaining) }
    }

    fn look(&self) {
        if self.governor.len() >= CALLERS_MAX / 2 {
            self.governor.retain_recent();
            self.full.store(self.governor.len() >= CALLERS_MAX, Ordering::Relaxed);
        }
    }
}

/// The limits of a service.
pub(crate) struct Limits {
    address: Option<RateLimiter>,
    account: Option<RateLimiter>,
    sign_in: Option<RateLimiter>,
}

impl Limits {
    pub fn new(rates: &RateLimits) -> Self {
        let limiter = |rate: Option<Rate>| rate.map(RateLimiter::new);
        Self { address: limiter(rates.address), account: limiter(rates.account), sign_in: limiter(rates.sign_in) }
    }

    /// Counts a request from an address; `guarded` ones have a rate of their own beside the usual one.
    pub fn address(&self, address: IpAddr, guarded: bool) -> Result<Option<Allowance>, Refused> {
        let address = network(address);
        let sign_in = self.sign_in.as_ref().filter(|_| guarded);
        let guard = check(sign_in, address, "This address tries to sign in too often")?;
        let usual = check(self.address.as_ref(), address, "This address sends too many requests")?;
        Ok(scarcer(guard, usual))
    }

    /// Counts a request with an account's token.
    pub fn account(&self, user: UserId) -> Result<Option<Allowance>, Refused> {
        check(self.account.as_ref(), user, "This account sends too many requests")
    }
}

/// A caller who has nothing left.
pub(crate) struct Refused {
    pub allowance: Allowance,
    pub problem: Problem,
}

/// The allowance of which less is left.
pub(crate) fn scarcer(a: Option<Allowance>, b: Option<Allowance>) -> Option<Allowance> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if a.remaining <= b.remaining { a } else { b }),
        (one, other) => one.or(other),
    }
}

fn check(limiter: Option<&RateLimiter>, caller: impl Hash, detail: &str) -> Result<Option<Allowance>, Refused> {
    let Some(limiter) = limiter else { return Ok(None) };
    limiter.check(caller).map(Some).map_err(|wait| {
        let wait = wait.max(Duration::from_millis(1));
        let allowance = Allowance { reset: wait, ..limiter.allowance(0) };
        Refused { allowance, problem: Problem::too_many_requests(detail, wait) }
    })
}

/// What counts as one address: of IPv6 the network that a household gets.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_its_own_rate() {
        let limiter = RateLimiter::new("1/h:3".parse().unwrap());
        let left = |caller: &str| limiter.check(caller).map(|allowance| allowance.remaining);
        assert_eq!((left("a"), left("a"), left("a")), (Ok(2), Ok(1), Ok(0)));
        let wait = left("a").unwrap_err();
        assert!(wait > Duration::from_secs(3_500) && wait <= Duration::from_secs(3_600), "{wait:?}");
        assert_eq!(left("b"), Ok(2));
    }

    #[test]
    fn what_is_left_and_when_all_is_back() {
        let limiter = RateLimiter::new("60/m:10".parse().unwrap());
        let expected = Allowance { limit: 10, remaining: 9, reset: Duration::from_secs(1) };
        assert_eq!(limiter.check(1), Ok(expected));
    }

    #[test]
    fn memory_is_bounded_however_many_call() {
        let limiter = RateLimiter::new("1/h".parse().unwrap());
        for caller in 0..150_000 {
            let _ = limiter.check(caller);
        }
        assert!(limiter.governor.len() <= CALLERS_MAX + 5_120 + 1_024, "{}", limiter.governor.len());
    }

    #[test]
    fn one_household_is_one_address() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
