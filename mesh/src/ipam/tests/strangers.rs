//! What newcomers do not say, and what nobody who exists has said.

use super::*;

fn trust(world: &World, n: usize) -> Trust {
    world.routers[n].ring.as_ref().unwrap().trust()
}

fn record_of(origin: PeerId, ring: RingId, pool: Pool, claim: Option<Span>) -> Arc<Record> {
    let claims = claim.map(|span| body::Claim {
        start: span.start,
        len: span.len(),
        epoch: 9,
    });
    let body = IpamBody {
        vni: Vni(1),
        pool,
        ring,
        serial: 1,
        free: 0,
        claims: claims.into_iter().collect(),
        grants: Vec::new(),
        strays: Vec::new(),
        reclaimed: Vec::new(),
        spare: Vec::new(),
    };
    let key = Key {
        origin,
        kind: kind::IPAM,
        subkey: 1,
    };
    let bytes = postcard::to_stdvec(&body).unwrap();
    Arc::new(Record::sign(&FakeSigner(origin), key, 1, 1, &bytes).unwrap())
}

/// A router whose backup was restored meets one that has just been installed, and only then those that know what it has
/// done since.
#[test]
fn a_newcomer_confirms_nothing() {
    let mut world = World::new(3, 4, 24);
    (0..2).for_each(|n| world.launch(n, n > 0));
    world.run(15 * SECOND);
    world.routers[0].backup = Some((world.routers[0].disk.clone(), world.routers[0].epoch));
    world.run(SECOND);
    // Far from the others.
    world.restore_backup(0);
    (world.routers[0].side, world.routers[2].side) = (7, 7);
    world.launch(2, true);
    world.launch(0, true);
    world.run(3 * SECOND);
    assert!(
        matches!(trust(&world, 0), Trust::Waiting(_)),
        "{:?}",
        trust(&world, 0)
    );
    world.allocate(0);
    world.run(SECOND);
    assert_eq!(world.given, 0);
    // One of the division comes in time.
    world.routers[1].side = 7;
    world.meet(0);
    world.run(2 * SECOND);
    assert_eq!((trust(&world, 0), world.given), (Trust::Confirmed, 1));
}

/// A disk from before the division was left for another: what the others say of that one is taken at once.
#[test]
fn a_division_that_was_forgotten_is_taken_up_with_all_who_are_in_it() {
    let mut world = World::new(5, 4, 24);
    (0..4).for_each(|n| world.routers[n].side = n as u32 / 2);
    (0..4).for_each(|n| world.launch(n, n % 2 > 0));
    world.run(15 * SECOND);
    let before: Vec<_> = (0..4)
        .map(|n| world.routers[n].ring.as_ref().unwrap().state.ring)
        .collect();
    let loser = if before[0] > before[2] { 0 } else { 2 };
    let router = &mut world.routers[loser];
    router.backup = Some((router.disk.clone(), router.epoch));
    world.cut(1);
    world.run(30 * SECOND);
    world.assert_whole();
    world.restore_backup(loser);
    world.launch(loser, true);
    world.run(10 * SECOND);
    world.assert_whole();
    let ring = world.routers[loser].ring.as_ref().unwrap();
    assert!(ring.foreign.is_empty(), "{:?}", ring.foreign);
}

/// Relays say who asks, and one of them may lie.
#[test]
fn nothing_is_given_to_who_is_not_there() {
    let mut world = World::new(4, 2, 24);
    (0..2).for_each(|n| world.launch(n, n > 0));
    world.run(15 * SECOND);
    let ring = world.routers[0].ring.as_ref().unwrap().state.ring;
    let before: Vec<_> = world.routers[0].ring.as_ref().unwrap().owned().collect();
    let ask = AskMessage::Space { ring, at: None };
    world.act(0, |ring, now, around| ring.told_by(now, id(77), &ask, around));
    world.run(SECOND);
    let after: Vec<_> = world.routers[0].ring.as_ref().unwrap().owned().collect();
    assert_eq!(before, after);
}

/// Who has the secret can make up routers, each of which claims everything.
#[test]
fn routers_that_were_made_up_fill_no_book_and_cost_little() {
    let mut world = World::new(6, 2, 24);
    (0..2).for_each(|n| world.launch(n, n > 0));
    world.run(15 * SECOND);
    let (ring, pool) = (
        world.routers[0].ring.as_ref().unwrap().state.ring.unwrap(),
        world.settings.pool,
    );
    for n in 0..9000 {
        world.by_id.insert(id(1000 + n), 0);
        let record = record_of(id(1000 + n), ring, pool, Some(Span::new(0, 256)));
        world.act(0, |ring, now, around| {
            let _ = ring.learn(now, &record, around);
        });
    }
    let router = &world.routers[0];
    assert_eq!(router.ring.as_ref().unwrap().count(), super::super::ring::MANY);
    // Who is there is heard all the same.
    world.launch(1, true);
    world.run(SECOND);
    let version = world.routers[0]
        .ring
        .as_ref()
        .unwrap()
        .version(&world.routers[1].id);
    assert_eq!(version.unwrap().epoch, world.routers[1].epoch);
}

/// Who waits is told that there is nothing to wait for any more.
#[test]
fn a_request_that_is_taken_back_is_answered() {
    let mut world = World::new(7, 1, 28);
    world.settings.init = Some(3);
    world.launch(0, false);
    world.allocate(0);
    world.act(0, |ring, now, _| drop(ring.release(now, "c1")));
    assert_eq!(world.refused.get("Released"), Some(&1));
}
