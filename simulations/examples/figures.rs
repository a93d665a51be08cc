//! The figures of a large mesh, with the goals beside them:
//! `cargo run --release -p simulations --example figures -- [--routers N] [--seed S] [--threads N] [--max-links N]
//! [--wired] [--together] [join|stretch|steady|spread|heal|kill|all]`.
//!
//! Routers join from one bootstrap over 60 virtual seconds, whatever else is asked for. Wires take 0.5 to 100 ms one
//! way, by the distance in a plane, and carry 100 Mb/s. With `--wired` each router is told to dial two near ones and two
//! at random, and nobody else: what the core does with links that are as they should be. With `--together` all start
//! within a second, each with the addresses of two near ones and two at random, as if kept from an earlier run: what
//! can be asked of a mesh whose join would take too long.
#![allow(clippy::print_stdout, clippy::print_stderr)]
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
            "usage: figures [--routers N] [--seed S] [--threads N] [--max-links N] [--wired] [--together] [STAGE…]"
        );
        eprintln!("stages: join stretch steady spread heal kill all");
        std::process::exit(2);
    };
    println!("{}", machine());
    println!(
        "{} routers, seed {}, {} threads; wires of 0.5–100 ms one way in a plane, 100 Mb/s\n",
        asked.routers, asked.seed, asked.threads
    );
    let mut bench = Bench::new(asked);
    bench.join();
    if bench.wants("stretch") {
        bench.stretch();
    }
    if bench.wants("steady") {
        bench.steady();
    }
    if bench.wants("spread") {
        bench.spread();
    }
    if bench.wants("heal") {
        bench.heal();
    }
    if bench.wants("kill") {
        bench.kill();
    }
    println!("\n| what | figure | goal | |\n|---|---|---|---|");
    for [what, figure, goal, verdict] in &bench.rows {
        println!("| {what} | {figure} | {goal} | {verdict} |");
    }
    println!("\n{}", bench.world.trace_hash());
}

/// What the command line asks for.
struct Asked {
    routers: usize,
    seed: u64,
    threads: usize,
    max_links: Option<usize>,
    wired: bool,
    together: bool,
    stages: Vec<String>,
}

impl Asked {
    fn read() -> Option<Self> {
        let mut asked = Self {
            routers: 10_000,
            seed: 1,
            threads: 2,
            max_links: None,
            wired: false,
            together: false,
            stages: Vec::new(),
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut number = || args.next()?.replace(['_', ','], "").parse::<u64>().ok();
            match arg.as_str() {
                "--routers" => asked.routers = (number()? as usize).max(10),
                "--seed" => asked.seed = number()?,
                "--threads" => asked.threads = number()? as usize,
                "--max-links" => asked.max_links = Some(number()? as usize),
                "--wired" => asked.wired = true,
                "--together" => asked.together = true,
                "join" | "stretch" | "steady" | "spread" | "heal" | "kill" | "all" => asked.stages.push(arg),
                _ => return None,
            }
        }
        Some(asked)
    }
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

fn ms(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

fn mac(kind: u8, host: usize) -> Mac {
    let [_, _, _, _, a, b, c, d] = (host as u64).to_be_bytes();
    Mac([2, kind, a, b, c, d])
}

impl Bench {
    fn new(asked: Asked) -> Self {
        let profile = Profile::Plane {
            least: Duration::from_micros(500),
            most: Duration::from_millis(100),
            seed: asked.seed,
        };
        let mut world = BigWorld::new(asked.seed, asked.routers, profile, asked.threads);
        if let Some(most) = asked.max_links {
            world.limit_links(most);
        }
        if asked.wired {
            world.forbid_discovery();
        }
        let random = Random::new(asked.seed).fork("figures", 0);
        Self {
            asked,
            world,
            random,
            rows: Vec::new(),
        }
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

    /// Until links are chosen and nothing changes any more.
    fn rest(&mut self) {
        let started = Instant::now();
        for _ in 0..3 {
            self.world.run(SECOND * 20);
            self.said(started, "resting");
        }
        if self.agree(SECOND / 4).is_none() {
            println!("routers do not agree at rest");
        }
    }

    fn stretch(&mut self) {
        let routers = self.asked.routers;
        let sources: Vec<_> = (0..20.min(routers))
            .map(|n| HostId(n * routers / 20.min(routers)))
            .collect();
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

    fn heal(&mut self) {
        let started = Instant::now();
        let routers = self.asked.routers;
        let side = |host: HostId| host.0.is_multiple_of(2);
        self.world.cut(side, None);
        self.world.run(SECOND * 20);
        for host in 0..routers {
            let place = HostId(host);
            let addresses = [true, false]
                .map(|second| self.world.address(place, second))
                .to_vec();
            self.world.input(place, Input::Addresses(addresses));
            let addresses = vec![[10, 0, 0, 2].into()];
            self.world.input(
                place,
                Input::Attach {
                    vni: Vni(1),
                    mac: mac(2, host),
                    addresses,
                },
            );
            if host % 100 == 99 {
                self.world.run(SECOND / 10);
            }
        }
        self.world.run(SECOND * 20);
        self.said(started, "cut, every record changed");
        let (a, b) = (HostId(0), HostId(1));
        self.world.cut(side, Some((a, b)));
        let targets = vec![self.world.address(b, false).to_string()];
        self.world.input(
            a,
            Input::Connect {
                targets,
                replace: false,
            },
        );
        let before_link = self.world.now();
        let step = Duration::from_millis(1);
        let is_linked =
            |world: &BigWorld| world.linked_with(a).contains(&b) && world.linked_with(b).contains(&a);
        if self.world.until(step, SECOND * 60, is_linked).is_none() {
            return self.row(
                "50/50 heal over one link",
                "never linked".to_owned(),
                "≤ 2.5 s",
                false,
            );
        }
        let linked = self.world.linked_at(b).unwrap_or(before_link);
        let size = |world: &BigWorld, even: bool| -> u64 {
            let of_side = (0..routers).map(HostId).filter(|host| side(*host) == even);
            of_side
                .filter_map(|host| Some(world.mesh(host)?.own_bytes() as u64))
                .sum()
        };
        let (evens, odds) = (size(&self.world, true), size(&self.world, false));
        let half = routers as u64 / 2;
        let minimal = evens * half + odds * (routers as u64 - half);
        let before = self.world.all_traffic();
        let healed = self
            .agree(Duration::from_millis(10))
            .map(|_| self.world.now() - linked);
        self.said(started, "healed");
        // What follows late counts, too.
        self.world.run(SECOND);
        let traffic = self.world.all_traffic() - before;
        let sent = traffic.sent(Class::Control).bytes + traffic.sent(Class::Ack).bytes;
        let share = sent as f64 / minimal as f64;
        let figure = format!(
            "{}; {share:.2} × the minimal {:.0} MB",
            healed.map_or("never".to_owned(), ms),
            minimal as f64 / 1e6
        );
        let is_met = healed.is_some_and(|time| time <= Duration::from_millis(2500)) && share <= 1.2;
        self.row(
            "50/50 heal, every record changed, one link",
            figure,
            "≤ 2.5 s, ≤ 1.2 ×",
            is_met,
        );
        self.world.heal();
        self.rest();
    }

    fn kill(&mut self) {
        let started = Instant::now();
        let mut alive: Vec<_> = self.world.running();
        let survivors = alive.len().div_ceil(10);
        while alive.len() > survivors {
            let at = self.random.below(alive.len() as u64) as usize;
            self.world.crash(alive.swap_remove(at));
        }
        let joined = self.world.until(SECOND / 4, SECOND * 60, BigWorld::all_routable);
        self.said(started, "90 % killed");
        let agreed = self.agree(SECOND / 4).is_some();
        let figure = format!(
            "{}; {}",
            joined.map_or("never".to_owned(), ms),
            if agreed {
                "all agree then"
            } else {
                "they do not agree later"
            }
        );
        let is_met = joined.is_some_and(|time| time <= SECOND * 10) && agreed;
        self.row(
            "90 % killed at once: one component, routable",
            figure,
            "≤ 10 s",
            is_met,
        );
    }
}
