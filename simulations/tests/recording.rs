//! A router's recording: it holds no key of the run, and a core that is told it does the same.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::keys::{found, secret_bytes};
use common::{ms, secs, star};
use crypto::{Identity, Secret};
use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, HEXLOWER};
use simulations::{Failure, HostId, Recording, ReplayError, Replayed, World, replay};
use std::collections::BTreeMap;

/// World, hosts, secrets, and what was recorded.
type Run = (World, Vec<HostId>, Vec<Secret>, Vec<u8>);

/// A run with a bit of everything, and the recording of its second router.
fn run(seed: u64) -> Result<Run, Failure> {
    let mut world = World::new(seed);
    let h = world.add_hosts(5);
    let recording = Recording::default();
    world.set_options(h[1], |options| options.recording = Some(recording.clone()));
    for &host in &h {
        world.launch(host, if host == h[0] { &[] } else { &h[..1] });
        world.attach(host);
    }
    world.all_direct(secs(5))?;
    world.all_deliver(1, ms(300))?;
    let first = world.disk(h[0]).keyring.preferred().clone();
    let second = world.new_secret(2);
    world.network.cut(h[1], h[3]);
    world.run(secs(5));
    world.all_deliver(2, ms(300))?;
    for &host in &h {
        world.add_secret(host, &second);
    }
    world.run(secs(2));
    world.crash(h[4]);
    world.run(secs(4));
    world.launch(h[4], &[]);
    world.network.heal(h[1], h[3]);
    world.run(secs(2));
    for &host in &h {
        world.retire_secret(host, first.id());
    }
    world.run(secs(3));
    world.all_direct(secs(30))?;
    world.stop(h[1]);
    world.run(secs(1));
    Ok((world, h, vec![first, second], recording.bytes()))
}

/// Everything that must not be in a recording, with its name.
fn keys(world: &World, hosts: &[HostId], secrets: &[Secret]) -> BTreeMap<String, Vec<u8>> {
    let mut keys = BTreeMap::new();
    for (number, secret) in secrets.iter().enumerate() {
        let token = secret.token();
        keys.insert(format!("secret {number}"), secret_bytes(&token));
        keys.insert(format!("token {number}"), token.into_bytes());
        keys.insert(format!("link key {number}"), secret.link_psk().to_vec());
        keys.insert(format!("data key {number}"), secret.data_psk().to_vec());
        for host in hosts {
            let proof = secret.admission(&world.id(*host).0).to_vec();
            keys.insert(format!("proof of {host:?} by secret {number}"), proof);
        }
    }
    for host in hosts {
        let identity: &Identity = &world.disk(*host).identity;
        let bytes = identity.to_bytes();
        keys.insert(format!("signing key of {host:?}"), bytes[..32].to_vec());
        keys.insert(format!("private data key of {host:?}"), bytes[32..].to_vec());
        keys.insert(
            format!("public data key of {host:?}"),
            identity.data_public().to_vec(),
        );
    }
    keys
}

#[test]
fn a_recording_holds_no_key_and_replays_to_the_same_outputs() -> Result<(), Failure> {
    for seed in 1..4 {
        let (world, hosts, secrets, recording) = run(seed)?;
        let keys = keys(&world, &hosts, &secrets);
        assert_eq!(keys.len(), 2 * (4 + 5) + 3 * 5);
        assert_eq!(found(&recording, &keys), Vec::<String>::new());
        let replayed = replay(&recording[..], |_| ()).unwrap();
        println!("seed {seed}: {} bytes, {replayed:?}", recording.len());
        assert!(replayed.is_complete && replayed.inputs > 250 && replayed.outputs > 200);
        assert_eq!(
            (replayed.id, replayed.name.as_str()),
            (world.id(hosts[1]), "host-1")
        );
    }
    Ok(())
}

/// The search itself: each key is found in each clothing.
#[test]
fn the_search_finds_what_is_there() -> Result<(), Failure> {
    let mut world = World::new(1);
    let hosts = star(&mut world, 2);
    let secret = world.disk(hosts[0]).keyring.preferred().clone();
    let keys = keys(&world, &hosts, &[secret]);
    assert!(found(&[7; 5000], &keys).is_empty());
    for (name, key) in &keys {
        for around in 0..5 {
            let within = [&vec![9; around][..], key, &[3, 2, 1]].concat();
            let clothes = [
                within.clone(),
                HEXLOWER.encode(&within).into_bytes(),
                BASE32_NOPAD.encode(&within).to_ascii_lowercase().into_bytes(),
                BASE64_NOPAD.encode(&within).into_bytes(),
            ];
            for dressed in clothes {
                let hits = found(&[b"{\"x\":", &dressed[..], b"\"}"].concat(), &keys);
                assert!(
                    hits.iter().any(|hit| hit.starts_with(name.as_str())),
                    "{name} {around}: {hits:?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn damage_and_strangers_are_told_apart() -> Result<(), Failure> {
    let (_, _, _, recording) = run(1)?;
    assert!(matches!(
        replay(&b"something else, long enough"[..], |_| ()),
        Err(ReplayError::Foreign)
    ));
    assert!(matches!(replay(&b""[..], |_| ()), Err(ReplayError::Foreign)));
    let line = mesh::recording::FIRST_LINE.len();
    assert!(matches!(
        replay(&recording[..line], |_| ()),
        Err(ReplayError::Differs(_))
    ));
    // Cut anywhere, as by a power cut: what is there is the same.
    for cut in [
        line + 200,
        recording.len() / 3,
        recording.len() / 2,
        recording.len() - 3,
    ] {
        let Replayed { is_complete, .. } = replay(&recording[..cut], |_| ()).unwrap();
        assert!(!is_complete);
    }
    // A length that lies.
    let mut wrong = recording.clone();
    wrong[line + 3] = 0xff;
    assert!(matches!(replay(&wrong[..], |_| ()), Err(ReplayError::Damaged(0))));
    Ok(())
}
