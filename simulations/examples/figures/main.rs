//! The figures of a large mesh, with the goals beside them:
//! `cargo run --release -p simulations --example figures -- [--routers N] [--seed S] [--threads N] [--max-links N]
//! [--placed] [--wired] [--hashed] [--together] [join|delta|stretch|steady|checks|faults|spread|heal|kill|all]`.
//!
//! Routers join from one bootstrap over 60 virtual seconds, whatever else is asked for, unless the mesh is `--placed`:
//! then it stands from the beginning, with links as the core chooses them, and every router is told all records
//! (`simulations/src/big/place.rs`). Each row then has the smallest world that is honest: `delta` one router that
//! knows all others, `checks` a hundred with their sleeves, `faults` fifty, `stretch` twenty, `kill` the survivors; all the rest a world in
//! which all know all. Wires take 0.5 to 100 ms one way, by the distance in a plane, and carry 100 Mb/s. With `--wired` each router is told to dial two near ones and two
//! at random, and nobody else: what the core does with links that are as they should be. With `--hashed` the delay of each
//! wire is drawn by itself, all equally likely, instead of following from places. With `--together` all start
//! within a second, each with the addresses of two near ones and two at random, as if kept from an earlier run: what
//! can be asked of a mesh whose join would take too long.
#![allow(clippy::print_stdout, clippy::print_stderr)]
mod asked;
mod blows;
mod checks;
mod delta;
mod faults;

use asked::Asked;
use mesh::{Input, Mac, Vni};
use simulations::{BigWorld, Class, Cost, HostId, Profile, Random, Traffic};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// Over which routers start.
const JOINING: Duration = Duration::from_secs(60);
/// What a stage may take at most, in virtual time.
const PATIENCE: Duration = Duration::from_secs(600);

fn main() {
    let Some(asked) = Asked::read() else {
        eprintln!(
            "usage: figures [--routers N] [--seed S] [--threads N] [--max-links N] [--placed] [--wired] [--hashed] \
             [--together] [STAGE…]"
        );
        eprintln!("stages: join delta stretch steady checks faults spread heal kill all");
        std::process::exit(2);
    };
    println!("{}", machine());
    println!(
        "{} routers, seed {}, {} threads; wires of 0.5–100 ms one way, {}, 100 Mb/s\n",
        asked.routers,
        asked.seed,
        asked.threads,
        if asked.hashed {
            "each by itself"
        } else {
            "in a plane"
        },
    );
    let mut bench = Bench::new(asked);
    if bench.asked.placed {
        bench.placed();
    } else {
        bench.joined();
    }
    println!("\n| what | figure | goal | |\n|---|---|---|---|");
    for [what, figure, goal, verdict] in &bench.rows {
        println!("| {what} | {figure} | {goal} | {verdict} |");
    }
    println!("\n{}", bench.world.trace_hash());
}

/// Which processor, how many of them, and the memory.
fn machine() -> String {
    let read = |path, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let value = text.lines().find(|line| line.starts_with(key));
        value
            .and_then(|line| line.split_once(':'))
            .map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = read("/proc/meminfo", "MemTotal");
    format!("{}, {cores} cores, {memory}", read("/proc/cpuinfo", "model name"))
}

struct Bench {
    asked: Asked,
    world: BigWorld,
    random: Random,
    rows: Vec<[String; 4]>,
}

/// Hosts, and wires between them.
fn world(asked: &Asked) -> BigWorld {
    let (least, most, seed) = (Duration::from_micros(500), Duration::from_millis(100), asked.seed);
    let profile = if asked.hashed {
        Profile::Hashed { least, most, seed }
    } else {
        Profile::Plane { least, most, seed }
    };
    let mut world = BigWorld::new(asked.seed, asked.routers, profile, asked.threads);
    if let Some(most) = asked.max_links {
        world.limit_links(most);
    }
    if asked.wired {
        world.forbid_discovery();
    }
    world
}

fn ms(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

fn mac(kind: u8, host: usize) -> Mac {
    let [_, _, _, _, a, b, c, d] = (host as u64).to_be_bytes();
    Mac([2, kind, a, b, c, d])
}

impl Bench {
    fn new(asked: Asked) -> Self {
        Self {
            world: world(&asked),
            random: Random::new(asked.seed).fork("figures", 0),
            asked,
            rows: Vec::new(),
        }
    }

    /// A mesh that joined, and what it does.
    fn joined(&mut self) {
        self.join();
        for (stage, run) in [
            ("stretch", Self::stretch as fn(&mut Self)),
            ("steady", Self::steady),
            ("checks", Self::checks),
            ("faults", Self::faults),
            ("spread", Self::spread),
            ("heal", Self::heal),
            ("kill", Self::kill),
        ] {
            if self.wants(stage) {
                run(self);
            }
        }
    }

    /// A mesh that was placed, each time as much of it as is needed.
    fn placed(&mut self) {
        if self.wants("delta") {
            self.delta();
        }
        if self.wants("checks") {
            self.checks();
        }
        if self.wants("faults") {
            self.faults();
        }
        if self.wants("stretch") {
            let sources = self.sources();
            self.place(|host| sources.contains(&host));
            self.stretch();
        }
        if self.wants("kill") {
            let survivors = self.draw_survivors();
            self.place(|host| survivors.contains(&host));
            self.kill_all_but(&survivors);
        }
        if self.wants("heal") {
            self.meet();
        }
        let whole = ["steady", "spread"].map(|stage| self.wants(stage));
        if whole.contains(&true) {
            self.place(|_| true);
            self.rest();
            self.memory();
        }
        for (is_wanted, run) in whole
            .into_iter()
            .zip([Self::steady as fn(&mut Self), Self::spread])
        {
            if is_wanted {
                run(self);
            }
        }
    }

    /// What a mesh takes in which all know all. (The time is none that a join takes.)
    fn memory(&mut self) {
        let peak = Cost::now().peak;
        let pairs = (self.asked.routers as u64).pow(2).max(1);
        let figure = format!(
            "{:.1} GiB, {} B a pair",
            peak as f64 / f64::from(1 << 30),
            peak / pairs
        );
        self.row(
            "memory of a mesh in which all know all",
            figure,
            "≤ 16 GiB",
            peak < 16 << 30,
        );
    }

    /// Another world, with a mesh of which these routers know all.
    fn place(&mut self, is_told: impl Fn(HostId) -> bool) {
        self.world = world(&self.asked);
        self.place_here(is_told);
    }

    /// Another world, with a mesh on either side of a cut. All know all on their own side.
    fn place_halves(&mut self, side: impl Fn(HostId) -> bool) {
        self.world = world(&self.asked);
        self.world.cut(side, None);
        self.place_here(|_| true);
    }

    fn place_here(&mut self, is_told: impl Fn(HostId) -> bool) {
        let started = Instant::now();
        let links = self.world.draw_links();
        let told = (0..self.asked.routers)
            .filter(|host| is_told(HostId(*host)))
            .count();
        self.world.place(&links, is_told);
        self.said(started, &format!("placed; {told} of the routers know all others"));
    }

    fn wants(&self, stage: &str) -> bool {
        let stages = &self.asked.stages;
        stages.is_empty() || stages.iter().any(|asked| asked == stage || asked == "all")
    }

    fn row(&mut self, what: &str, figure: String, goal: &str, is_met: bool) {
        let verdict = if is_met { "met" } else { "**missed**" };
        println!("{what}: {figure} (goal {goal}) {verdict}");
        self.rows
            .push([what.to_owned(), figure, goal.to_owned(), verdict.to_owned()]);
    }

    fn said(&self, started: Instant, what: &str) {
        let links: usize = self
            .world
            .running()
            .iter()
            .map(|host| self.world.linked_with(*host).len())
            .sum();
        let issued: u64 = self
            .world
            .running()
            .iter()
            .filter_map(|host| Some(self.world.mesh(*host)?.issued()))
            .sum();
        let running = self.world.running().len().max(1) as f64;
        eprintln!(
            "{:>6.1} s, virtual {:>6.1} s: {what}; {} of {} informed, {:.1} links and {:.1} records issued each, \
             {} events, {} MB",
            started.elapsed().as_secs_f64(),
            self.world.now().as_secs_f64(),
            self.world.informed(),
            self.world.running().len(),
            links as f64 / running,
            issued as f64 / running,
            self.world.happened(),
            Cost::now().peak >> 20,
        );
    }

    /// All agree, tried every so often.
    fn agree(&mut self, step: Duration) -> Option<Duration> {
        let (started, mut said) = (Instant::now(), Instant::now());
        let start = self.world.now();
        while !self.world.all_agree() {
            if self.world.now() - start > PATIENCE {
                return None;
            }
            self.world.run(step);
            if said.elapsed() > SECOND * 20 {
                self.said(started, "waiting until all agree");
                said = Instant::now();
            }
        }
        Some(self.world.now() - start)
    }

    fn join(&mut self) {
        let (started, before) = (Instant::now(), Cost::now());
        let routers = self.asked.routers;
        let joining = if self.asked.together { SECOND } else { JOINING };
        for host in 0..routers {
            let after = joining * host as u32 / routers as u32;
            let targets = self.targets(host);
            self.world.launch(HostId(host), after, &targets);
        }
        for second in 1..=joining.as_secs() {
            self.world.run(SECOND);
            if second % 5 == 0 || self.asked.together {
                self.said(started, "joining");
            }
        }
        let agreed = self.agree(SECOND / 4);
        let (wall, cost) = (started.elapsed(), Cost::now().since(before));
        self.said(started, "joined");
        let figure = format!(
            "{:.0} s ({:.0} s of CPU), {:.1} GiB; all agree {} after the last start",
            wall.as_secs_f64(),
            cost.cpu.as_secs_f64(),
            cost.peak as f64 / f64::from(1 << 30),
            agreed.map_or("not".to_owned(), ms),
        );
        let is_met = agreed.is_some() && wall < SECOND * 600 && cost.peak < 16 << 30;
        self.row(
            if self.asked.together {
                "all start within a second"
            } else {
                "join from one bootstrap over 60 s"
            },
            figure,
            "≤ 10 min, ≤ 16 GiB",
            is_met,
        );
        self.rest();
    }

    /// Whom a router is told to dial.
    fn targets(&mut self, host: usize) -> Vec<HostId> {
        let is_told = self.asked.wired || self.asked.together;
        if !is_told || (host < 5 && !self.asked.together) {
            return (host > 0).then_some(HostId(0)).into_iter().collect();
        }
        // Whoever starts later than this one is no use to it yet, unless all start together.
        let others = if self.asked.together {
            self.asked.routers
        } else {
            host
        };
        let mut drawn: Vec<_> = (0..64)
            .map(|_| HostId(self.random.below(others as u64) as usize))
            .filter(|other| other.0 != host)
            .collect();
        drawn[2..].sort_by_key(|other| self.world.delay(HostId(host), *other));
        drawn.dedup();
        drawn.truncate(4);
        drawn
    }

    /// Until links are chosen and the root of the shared tree is named.
    fn settle(&mut self) {
        let started = Instant::now();
        for _ in 0..4 {
            self.world.run(SECOND * 20);
            self.said(started, "resting");
        }
    }

    /// The same, until nothing changes any more.
    fn rest(&mut self) {
        self.settle();
        if self.agree(SECOND / 4).is_none() {
            println!("routers do not agree at rest");
        }
    }

    /// Some routers.
    fn sources(&self) -> Vec<HostId> {
        let routers = self.asked.routers;
        let count = routers.min(20);
        (0..count).map(|n| HostId(n * routers / count)).collect()
    }

    fn stretch(&mut self) {
        let sources = self.sources();
        let stretch = self.world.stretch(&sources);
        let figure = format!(
            "{:.3} × at most, {:.4} × in the mean of {} routes; {} missing",
            stretch.max, stretch.mean, stretch.routes, stretch.missing
        );
        let is_met = stretch.max <= 1.25 && stretch.missing == 0 && stretch.routes > 0;
        self.row("path cost at rest", figure, "≤ 1.25 × the optimum", is_met);
    }

    /// What all sent while `time` passed.
    fn traffic_over(&mut self, time: Duration) -> Traffic {
        let before = self.world.all_traffic();
        self.world.run(time);
        self.world.all_traffic() - before
    }

    fn steady(&mut self) {
        let traffic = self.traffic_over(SECOND * 60);
        let routers = self.asked.routers as f64 * 60.0;
        let sent = traffic.all_sent().bytes as f64 / routers;
        let classes = Class::ALL.map(|class| {
            let bytes = traffic.sent(class).bytes as f64 / routers;
            format!("{} {bytes:.0}", class.name())
        });
        let figure = format!(
            "{:.2} kB/s sent, as much received ({})",
            sent / 1000.0,
            classes.join(", ")
        );
        self.row(
            "steady control traffic per router",
            figure,
            "≤ 3 kB/s",
            sent <= 3000.0,
        );
    }

    fn spread(&mut self) {
        const RECORDS: usize = 20;
        let routers = self.asked.routers;
        let baseline = self.traffic_over(SECOND * 10).all_sent().bytes as f64 / 10.0;
        let (mut times, mut bytes, mut incomplete) = (Vec::new(), Vec::new(), 0);
        for n in 0..RECORDS {
            let from = HostId(self.random.below(routers as u64) as usize);
            let mac = mac(1, n);
            self.world.watch(mac);
            let start = self.world.now();
            let before = self.world.all_traffic();
            let addresses = vec![[10, 0, 0, 1].into()];
            self.world.input(
                from,
                Input::Attach {
                    vni: Vni(1),
                    mac,
                    addresses,
                },
            );
            self.world.run(SECOND * 3);
            let sent = (self.world.all_traffic() - before).all_sent().bytes as f64;
            bytes.push((sent - 3.0 * baseline) / routers as f64);
            let seen = self.world.seen();
            match seen.get((routers - 1) * 99 / 100) {
                Some(at) => times.push(*at - start),
                None => incomplete += 1,
            }
        }
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or(PATIENCE);
        let most = times.last().copied().unwrap_or(PATIENCE);
        let bytes = bytes.iter().sum::<f64>() / RECORDS as f64;
        let figure = format!(
            "{} median, {} most of {RECORDS}; {bytes:.0} B per router; {incomplete} incomplete after 3 s",
            ms(median),
            ms(most)
        );
        let is_met = most <= Duration::from_millis(120) && incomplete == 0 && bytes <= 500.0;
        self.row(
            "a record known to 99 %",
            figure,
            "≤ 120 ms, ≤ 500 B per router",
            is_met,
        );
    }
}
