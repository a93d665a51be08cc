//! `weft bench`: what real routers carry on this machine, beside what its kernel does without them.
//!
//! ```text
//! for each round: for each place ─► build (namespaces, wire, routers, containers) ─► traffic ─► tear down
//!     all figures of all rounds ─► medians ─► table or JSON
//! ```
//! Places take turns within a round, so that a machine that is busy for a while is so for all of them. Wires carry
//! packets of 1500 bytes, as cables do: no super-frame crosses ([`fastpath::wire::carry_packets`]).

mod place;
mod report;
mod traffic;

use crate::demo::janitor::Janitor;
use crate::demo::limits::Limits;
use anyhow::{Context, Result, bail};
use clap::Args;
use place::{Kind, Place};
use report::{Figures, Report};
use std::time::Duration;

/// The MTU of containers and tunnels, in bytes: the same for all, so that segments are of one size.
const INNER_MTU: u16 = 1380;
/// What building a place may take, and what is not traffic by the clock, in seconds.
const BUILD: u64 = 25;
/// Pings, and round trips of TCP.
const PINGS: usize = 300;

/// Options of `weft bench`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// How often each place is measured; the table shows medians.
    #[arg(long, env = "WEFT_ROUNDS", value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// How long each kind of traffic runs, in seconds.
    #[arg(long, env = "WEFT_SECONDS", value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Measure only these.
    #[arg(value_enum, value_name = "PLACE")]
    places: Vec<Kind>,
}

/// Runs the benchmark. To be called before any thread is started.
pub(crate) fn run(options: &Bench, json: bool) -> Result<()> {
    if !fastpath::user::is_root() {
        fastpath::user::enter_user_namespace()?;
    }
    let program = std::env::current_exe().context("find this program's own file")?;
    let places = match options.places.as_slice() {
        [] => Kind::ALL,
        chosen => chosen,
    };
    let each = Duration::from_secs(BUILD + 4 * options.seconds);
    let rounds = u32::try_from(options.rounds).context("the number of rounds")?;
    let count = u32::try_from(places.len()).context("the number of places")?;
    let limits = Limits::start(each * rounds * count)?;
    let mut janitor = Janitor::start(&program)?;
    let seconds = Duration::from_secs(options.seconds);
    let mut report = Report::new(places);
    for round in 1..=options.rounds {
        for &kind in places {
            limits.check()?;
            let mut place = Place::build(kind, &program, &mut janitor, &limits)
                .with_context(|| format!("build {kind}"))?;
            let figures = measure(&place, seconds, &limits);
            if figures.is_err() && !limits.interrupted() {
                place.print_logs();
            }
            place.remove()?;
            let figures = figures.with_context(|| format!("measure {kind}"))?;
            if !json {
                eprintln!("round {round}, {kind}: {figures}");
            }
            report.add(kind, figures);
        }
    }
    if limits.interrupted() {
        bail!("interrupted");
    }
    report.print(json)
}

fn measure(place: &Place, seconds: Duration, limits: &Limits) -> Result<Figures> {
    let ends = place.ends();
    let idle = traffic::pings(ends, PINGS, limits)?;
    let round_trips = traffic::round_trips(ends, seconds.min(Duration::from_secs(2)), limits)?;
    let before = place.spent()?;
    let stream = traffic::stream(ends, seconds, limits)?;
    let spent = place.spent()? - before;
    let (_, loaded) = std::thread::scope(|scope| {
        let stream = scope.spawn(|| traffic::stream(ends, seconds, limits));
        let loaded = traffic::pings_for(ends, seconds, limits);
        let stream = stream
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the stream's thread panicked")));
        Ok::<_, anyhow::Error>((stream?, loaded?))
    })?;
    let small = traffic::datagrams(ends, seconds, limits)?;
    Ok(Figures {
        gbit_per_s: stream.bits() / 1e9,
        cpu_s_per_gib: place.has_routers().then(|| spent.as_secs_f64() / stream.gib()),
        kpps: small / 1e3,
        ping_us: report::microseconds(&idle),
        loaded_ping_us: report::microseconds(&loaded),
        round_trips,
        rss_mib: place.resident()?,
    })
}
