//! Associations for the kernel, agreed on inside a session.

use crate::harness::{World, ip, ms, secs};
use crypto::EspKey;
use sleeve::io::memory::Wire;
use sleeve::{EspEnds, EspRefusal, Input, Output};
use std::collections::BTreeSet;
use std::net::IpAddr;

fn ends(here: usize, there: usize) -> EspEnds {
    EspEnds {
        here: ip(here),
        there: ip(there),
    }
}

/// An association: its SPI, key and ends.
type Association = (u32, EspKey, EspEnds);

/// What a router's kernel was given: SPI, key and ends, of what it opens and of what it seals by.
fn given(world: &World, n: usize) -> (Vec<Association>, Vec<Association>) {
    let (mut inbound, mut outbound) = (Vec::new(), Vec::new());
    for output in &world.nodes[n].esp {
        match output {
            Output::EspInbound { spi, key, ends, .. } => inbound.push((*spi, key.clone(), *ends)),
            Output::EspOutbound { spi, key, ends, .. } => outbound.push((*spi, key.clone(), *ends)),
            _ => {}
        }
    }
    (inbound, outbound)
}

fn refusals(world: &World, n: usize) -> Vec<EspRefusal> {
    let refusal = |output: &Output| match output {
        Output::EspRefused { why, .. } => Some(*why),
        _ => None,
    };
    world.nodes[n].esp.iter().filter_map(refusal).collect()
}

/// A wire on which all is lost.
fn dead() -> Wire {
    Wire {
        loss: 1.0,
        ..Wire::default()
    }
}

fn linked() -> World {
    let mut world = World::new(2);
    world.link(0, 1);
    world.run(secs(2));
    world
}

fn ready(world: &mut World, n: usize, ends: Result<EspEnds, EspRefusal>) {
    let peer = world.nodes[1 - n].id;
    world.input(n, Input::Esp { peer, ends });
}

fn ask(world: &mut World, n: usize) {
    let peer = world.nodes[1 - n].id;
    world.input(n, Input::EspAsk { peer });
}

#[test]
fn both_ends_have_the_same_key_and_no_two_are_alike() {
    let mut world = linked();
    ready(&mut world, 0, Ok(ends(0, 1)));
    ready(&mut world, 1, Ok(ends(1, 0)));
    let mut keys = BTreeSet::new();
    // Over two renewals of the session, and by turns.
    for round in 0..10 {
        ask(&mut world, 0);
        ask(&mut world, 1);
        world.run(secs(30));
        for [from, to] in [[0, 1], [1, 0]] {
            let (_, outbound) = given(&world, from);
            let (inbound, _) = given(&world, to);
            assert_eq!((outbound.len(), inbound.len()), (round + 1, round + 1));
            let (spi, key, at) = outbound.last().unwrap();
            let (other_spi, other_key, other_at) = inbound.last().unwrap();
            assert_eq!((spi, key), (other_spi, other_key));
            assert_eq!((at.here, at.there), (other_at.there, other_at.here));
            assert!(*spi >= 256 && keys.insert(*key.bytes()), "a key came twice");
        }
    }
}

#[test]
fn what_is_lost_is_asked_for_again_and_answered_alike() {
    let mut world = linked();
    ready(&mut world, 0, Ok(ends(0, 1)));
    ready(&mut world, 1, Ok(ends(1, 0)));
    world.wire(0, 1, Some(dead()));
    ask(&mut world, 0);
    world.run(ms(1200));
    assert!(given(&world, 0).1.is_empty());
    world.wire(0, 1, Some(Wire::default()));
    world.run(secs(3));
    let (_, outbound) = given(&world, 0);
    let (inbound, _) = given(&world, 1);
    assert_eq!((outbound.len(), inbound.len()), (1, 1));
    assert_eq!(outbound[0].1, inbound[0].1);
}

#[test]
fn it_is_refused_where_addresses_differ_or_there_is_none_yet() {
    let mut world = linked();
    ready(&mut world, 0, Ok(ends(0, 1)));
    ask(&mut world, 0);
    world.run(secs(1));
    assert_eq!(refusals(&world, 0), [EspRefusal::NotYet]);
    ready(&mut world, 1, Err(EspRefusal::NoEsp));
    ask(&mut world, 0);
    world.run(secs(1));
    // As behind a translator: the other knows this router by another address.
    let there: IpAddr = "203.0.113.9".parse().unwrap();
    ready(&mut world, 1, Ok(EspEnds { here: ip(1), there }));
    ask(&mut world, 0);
    world.run(secs(1));
    assert_eq!(
        refusals(&world, 0),
        [EspRefusal::NotYet, EspRefusal::NoEsp, EspRefusal::Elsewhere]
    );
    assert!(given(&world, 0).1.is_empty() && given(&world, 1).0.is_empty());
}

#[test]
fn who_gets_no_answer_hears_of_that_too() {
    let mut world = linked();
    ready(&mut world, 0, Ok(ends(0, 1)));
    ready(&mut world, 1, Ok(ends(1, 0)));
    world.wire(0, 1, Some(dead()));
    ask(&mut world, 0);
    world.run(secs(10));
    assert_eq!(refusals(&world, 0), [EspRefusal::NoAnswer]);
    // Without ends there is nothing to ask.
    ready(&mut world, 0, Err(EspRefusal::NotYet));
    ask(&mut world, 0);
    assert_eq!(refusals(&world, 0).len(), 2);
}

#[test]
fn a_router_that_asks_and_asks_is_given_little() {
    let mut world = linked();
    ready(&mut world, 0, Ok(ends(0, 1)));
    ready(&mut world, 1, Ok(ends(1, 0)));
    for _ in 0..200 {
        ask(&mut world, 0);
        world.run(ms(10));
    }
    // A question that comes too soon is asked again later.
    world.run(secs(10));
    assert!(given(&world, 1).0.len() <= 12, "{}", given(&world, 1).0.len());
}
