//! What must be so at rest, and who thinks what if it is not.

use super::*;

impl World {
    /// What each router thinks of one address, and why.
    pub(super) fn explain(&self, at: u32) -> String {
        let mut text = format!("{at} at {}\n", self.now);
        for ring in self.running() {
            let holder = ring.view.get(at);
            text += &format!("{:?}: {holder:?}, denied {:?}\n", ring.own, ring.denied);
            for (peer, body) in ring
                .book
                .keys()
                .filter_map(|peer| Some((peer, ring.member(peer)?)))
            {
                let claims = body
                    .claims
                    .iter()
                    .filter(|claim| (claim.span().start..claim.span().end).contains(&at));
                let grants = body
                    .grants
                    .iter()
                    .filter(|grant| (grant.span().start..grant.span().end).contains(&at));
                let (claims, grants): (Vec<_>, Vec<_>) = (claims.collect(), grants.collect());
                let reclaimed = &body.reclaimed;
                text += &format!(
                    "    {peer:?} serial {}: {claims:?} {grants:?} {reclaimed:?}\n",
                    body.serial
                );
            }
        }
        text
    }

    /// What a router has of another's that it does not take.
    fn explain_denied(&self, ring: &Ring, peer: &PeerId) -> String {
        let body = ring.member(peer).unwrap();
        let is_other = |claim: &&body::Claim| {
            let mut parts = ring.view.over(claim.span());
            parts.any(|(_, holder)| holder.peer != Some(*peer))
        };
        let claims = body.claims.iter().filter(is_other);
        let at: Vec<_> = claims.map(|claim| self.explain(claim.start)).collect();
        format!(
            "{} denies what {peer} says: {} grants {:?}",
            ring.own,
            at.concat(),
            body.grants
        )
    }

    /// At rest: one division, one view, and nothing is missing.
    pub(super) fn assert_whole(&self) {
        let rings: BTreeSet<_> = self.running().map(|ring| ring.state.ring).collect();
        assert_eq!(rings.len(), 1, "one division: {rings:?}");
        let size = self.settings.pool.size();
        let owned: u32 = self
            .running()
            .flat_map(Ring::owned)
            .map(|(span, _)| span.len())
            .sum();
        let first: Vec<_> = self.running().next().unwrap().view.iter().collect();
        for ring in self.running() {
            assert_eq!(ring.view.gaps(Span::new(0, size)), [], "no range is lost");
            assert!(
                ring.view.iter().all(|(_, holder)| holder.peer.is_some()),
                "nobody's: {:?}",
                ring.view
            );
            let view: Vec<_> = ring.view.iter().collect();
            let other = view.iter().zip(&first).find(|(a, b)| a != b);
            if let Some((one, another)) = other {
                let at = one
                    .0
                    .start
                    .max(another.0.start)
                    .max(one.0.end.min(another.0.end).min(size - 1));
                panic!("not all see the same: {}", self.explain(at));
            }
            let denied = ring.denied.first().map(|peer| self.explain_denied(ring, peer));
            assert!(denied.is_none(), "{}", denied.unwrap_or_default());
            let is_gone = |peer: &PeerId| self.routers[self.by_id[peer]].id != *peer;
            assert!(ring.state.fence.iter().all(is_gone), "{:?}", ring.state.fence);
        }
        let running: BTreeSet<_> = self.running().map(|ring| Some(ring.own)).collect();
        let away = first.iter().filter(|(_, holder)| !running.contains(&holder.peer));
        assert_eq!(
            owned + away.map(|(span, _)| span.len()).sum::<u32>(),
            size,
            "the union is the whole"
        );
    }
}

/// The one that was asked died before it answered, and what was asked for is no longer needed.
#[test]
fn who_never_answers_is_not_waited_for_for_ever() {
    let mut world = World::new(3, 2, 24);
    (0..2).for_each(|n| world.launch(n, n > 0));
    world.run(5 * SECOND);
    let request = |number: u64| Request {
        number,
        holder: format!("x{number}"),
        want: None,
    };
    let mut number = 0;
    while world.routers[1].ring.as_ref().unwrap().asked.is_none() {
        number += 1;
        assert!(number < 200);
        world.act(1, |ring, now, around| ring.allocate(now, request(number), around));
    }
    world.crash(0);
    for number in 1..100 {
        world.act(1, |ring, now, _| drop(ring.release(now, &format!("x{number}"))));
    }
    world.run(30 * SECOND);
    let ring = world.routers[1].ring.as_ref().unwrap();
    assert_eq!(ring.waiting.len(), 0);
    assert_eq!(ring.next_timeout(), None, "{:?}", ring.asked);
}

/// Who has used up what it was given is given more, by the same router, with nobody else about.
#[test]
fn who_asks_again_is_given_again() {
    for n in 0..2 {
        let mut world = World::new(3, 2, 26);
        (0..2).for_each(|n| world.launch(n, n > 0));
        world.run(5 * SECOND);
        for _ in 0..12 {
            (0..4).for_each(|_| world.allocate(n));
            world.run(5 * SECOND);
        }
        assert_eq!(
            (world.given, world.refused.len()),
            (48, 0),
            "{n}: {:?}",
            world.refused
        );
    }
}

/// The disk forgets what happened after the pool was divided among many that went before they had heard of it.
#[test]
fn what_is_remembered_is_not_said_twice() {
    let mut world = World::new(3, 80, 20);
    let first = (0..80).min_by_key(|n| world.routers[*n].id).unwrap();
    let other = (first + 1) % 80;
    for n in 0..80 {
        world.launch(n, true);
        world.routers[n].side = 7;
    }
    world.routers[first].side = 0;
    world.run(SECOND);
    (0..80).for_each(|n| world.routers[n].side = 0);
    world.act(first, |ring, _, around| {
        ring.trust = Trust::Confirmed;
        ring.has_exchanged = true;
        ring.found(around);
    });
    world.act(first, |ring, now, around| ring.look(now, around));
    for n in (0..80).filter(|n| *n != first && *n != other) {
        world.crash(n);
    }
    world.run(30 * SECOND);
    let grants = |world: &World| world.routers[first].ring.as_ref().unwrap().state.grants.len();
    assert!(grants(&world) >= 78);
    world.routers[first].backup = Some((world.routers[first].disk.clone(), world.routers[first].epoch));
    (0..60).for_each(|_| world.allocate(other));
    world.run(10 * SECOND);
    world.restore_backup(first);
    world.launch(first, true);
    world.run(30 * SECOND);
    assert!(grants(&world) <= body::MAX_GRANTS, "{}", grants(&world));
    let ring = world.routers[other].ring.as_ref().unwrap();
    let id = world.routers[first].id;
    assert_eq!(
        ring.version(&id).map(|version| version.epoch),
        Some(world.routers[first].epoch)
    );
}
