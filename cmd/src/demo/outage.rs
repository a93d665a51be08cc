//! Pulls a cable out and plugs it in again, and measures how long the routers take to notice either.

use super::host::Host;
use super::limits::Limits;
use super::ping::Pinger;
use super::world::{ALICE, BOB, FIRST, RELAY, World};
use anyhow::{Result, bail};
use fastpath::wire;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The loss must be noticed in this time: three keepalives of a second, one more, and some for a slow machine.
const NOTICE: Duration = Duration::from_secs(8);
/// The link must be back in this time.
const RETURN: Duration = Duration::from_secs(15);
/// A ping that has not come back in this time is lost.
const SILENCE: Duration = Duration::from_millis(300);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// How long it took from the cut until the routers knew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noticed {
    /// Until alice knew that bob was out of reach.
    pub(crate) near: Duration,
    /// Until bob, who still has his link, had heard of it.
    pub(crate) far: Duration,
}

/// Cuts the wire between alice and the relay.
pub(crate) fn cut(world: &World, pinger: &mut Pinger, limits: &Limits) -> Result<Noticed> {
    wire::set_up(world.inner_end(FIRST), false)?;
    let start = Instant::now();
    if pinger.once(SILENCE)?.is_some() {
        bail!("a ping from alice reached bob although the wire is cut");
    }
    let (mut near, mut far) = (None, None);
    limits
        .wait("alice and bob to notice the cut", NOTICE, PAUSE, || {
            notice(&world.alice, &[RELAY, BOB], start, &mut near, limits)?;
            notice(&world.bob, &[ALICE], start, &mut far, limits)?;
            Ok(near.zip(far).map(|(near, far)| Noticed { near, far }))
        })
        .map(|(noticed, _)| noticed)
}

fn notice(
    host: &Host,
    lost: &[&str],
    start: Instant,
    noticed: &mut Option<Duration>,
    limits: &Limits,
) -> Result<()> {
    if noticed.is_none() {
        let status = host.status(limits)?;
        if lost.iter().all(|name| !status.reaches(name)) {
            *noticed = Some(start.elapsed());
        }
    }
    Ok(())
}

/// Heals the wire; returns how long it took until a ping passed again.
pub(crate) fn heal(world: &World, container: IpAddr, limits: &Limits) -> Result<Duration> {
    wire::set_up(world.inner_end(FIRST), true)?;
    // A fresh socket: what the old one's requests may still bring back does not count.
    let mut pinger = Pinger::open(&world.alice.container, container)?;
    let back = pinger.first(RETURN, limits)?;
    limits.wait("alice to see both others again", NOTICE, PAUSE, || {
        let status = world.alice.status(limits)?;
        Ok((status.reachable() == 3).then_some(()))
    })?;
    Ok(back)
}
