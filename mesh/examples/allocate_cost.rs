//! What giving out an address costs: `cargo run --release -p mesh --example allocate_cost`.
//!
//! One router, alone, gives out a hundred thousand addresses and takes some back in between. Each time is that of the core
//! for one address: the request, what is to be stored handed over, the word that it is, and the answer. The disk is not
//! in it. With other routers there it is the same, as none is asked.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement, not the core"
)]

use mesh::ipam::{Settings, Setup};
use mesh::{Admission, Config, Input, Instant, Mesh, Output, PeerId, Signer, Vni};
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

const ADDRESSES: u64 = 100_000;

/// Signs nothing: an address given out needs no record.
struct Blank;

impl Signer for Blank {
    fn sign(&self, _: &[u8]) -> [u8; 64] {
        [0; 64]
    }

    fn verify(&self, _: &PeerId, _: &[u8], _: &[u8; 64]) -> bool {
        true
    }

    fn admissions(&self) -> Vec<Admission> {
        Vec::new()
    }

    fn admits(&self, _: &PeerId, _: &[Admission]) -> bool {
        true
    }
}

/// Drains the core, telling it that all is stored. True if an address was given out.
fn drain(mesh: &mut Mesh, now: Instant) -> bool {
    let mut is_given = false;
    while let Some(output) = mesh.poll_output() {
        match output {
            Output::KeepAddresses { vni, batch } => {
                let number = batch.number;
                mesh.handle_input(now, Input::AddressesKept { vni, number });
            }
            Output::Allocated { result, .. } => is_given = result.is_ok(),
            _ => {}
        }
    }
    is_given
}

fn main() {
    let name = "alone".parse().unwrap();
    let mut config = Config::new(PeerId([1; 32]), name, [1; 32], 1, Arc::new(Blank));
    config.addresses_of = Setup {
        networks: [(Vni::DEFAULT, Settings::default())].into(),
        ..Setup::default()
    };
    let now = Instant(1_000_000);
    let mut mesh = Mesh::new(config, [1; 32], now);
    drain(&mut mesh, now);
    let mut times = Vec::new();
    for number in 0..ADDRESSES {
        let holder = format!("container-{number}");
        let (vni, want) = (Vni::DEFAULT, None);
        let start = Clock::now();
        mesh.handle_input(
            now,
            Input::Allocate {
                vni,
                number,
                holder,
                want,
            },
        );
        let is_given = drain(&mut mesh, now);
        times.push(start.elapsed());
        assert!(is_given);
        if number % 4 == 3 {
            let holder = format!("container-{}", number - 2);
            mesh.handle_input(now, Input::Release { vni, holder });
            drain(&mut mesh, now);
        }
    }
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    let mean: Duration = times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap();
    println!(
        "{ADDRESSES} addresses: mean {mean:?}, median {:?}, p99 {:?}, p99.9 {:?}, longest {:?}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}
