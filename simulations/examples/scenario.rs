//! Runs scenarios: `cargo run --release -p simulations --example scenario -- FILE|NAME|all [SEED [SEEDS]]`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]
use simulations::scenario::{Scenario, Settings, Watch, builtins, run};
use std::time::Instant;
/// Prints what happens if `TRACE` is set.
struct Trace(bool);

impl Watch for Trace {
    fn happened(&mut self, at: mesh::Instant, router: Option<usize>, what: &str) {
        println!("{:>12} {router:?} {what}", at.0);
    }

    fn listens(&self) -> bool {
        self.0
    }
}

fn main() {
    let args: Vec<_> = std::env::args().collect();
    let number = |at: usize| args.get(at).map_or(1, |text| text.parse::<u64>().unwrap());
    let wanted = |name: &str| args[1] == "all" || args[1] == name;
    let mut texts: Vec<String> = builtins()
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(_, text)| (*text).to_owned())
        .collect();
    if args[1] == "swarm" {
        texts = vec![simulations::swarm::draw(number(2)).unwrap().to_toml().unwrap()];
    }
    if texts.is_empty() {
        texts.push(std::fs::read_to_string(&args[1]).unwrap());
    }
    let mut ok = true;
    for text in texts {
        let scenario = match Scenario::parse(&text) {
            Ok(scenario) => scenario,
            Err(error) => {
                println!("{error}\n{text}");
                continue;
            }
        };
        for seed in number(2)..number(2) + number(3) {
            let start = Instant::now();
            let settings = Settings {
                peers: scenario.peers.default,
                seed,
            };
            let report = run(&scenario, settings, &mut Trace(std::env::var("TRACE").is_ok()))
                .unwrap()
                .report;
            ok &= report.ok;
            if report.ok && args[1] == "all" {
                println!("{:22} seed {seed} ok in {:.2?}", scenario.name, start.elapsed());
            } else {
                println!("{}{:.2?}", report.table(), start.elapsed());
            }
        }
    }
    if !ok {
        std::process::exit(1);
    }
}
