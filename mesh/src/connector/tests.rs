//! The policy, tried with many routers that ask each other to leave, and no network.

use super::policy::{Bounds, Hold, Holds, Role};
use crate::testing::id;
use crate::{Instant, PeerId};
use proptest::prelude::*;

#[test]
fn max_links_bounds_them_all() {
    let usual = Bounds::of(32);
    assert_eq!((usual.full, usual.bounded, usual.hard), (32, 40, 64));
    assert_eq!(
        (usual.most, usual.target, usual.near, usual.random),
        (12, 8, 2, 2)
    );
    assert_eq!((usual.enough, usual.least), (6, 4));
    for links in 0..=4096 {
        let bounds = Bounds::of(links);
        assert!(bounds.near + bounds.random <= bounds.enough, "{links}");
        assert!(0 < bounds.least && bounds.least <= bounds.enough && bounds.enough <= bounds.target);
        assert!(bounds.target < bounds.most && bounds.most <= bounds.hard && bounds.most <= links.max(4));
    }
}

/// Routers by their holds; each link is held at both ends.
struct Model {
    bounds: Bounds,
    now: Instant,
    routers: Vec<Holds>,
}

/// What happens to two of them.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The first dials the second.
    Dial(u8, u8, Role),
    /// The first asks the second to leave.
    Ask(u8, u8, bool),
    /// The first looks whether it can leave.
    Leave(u8),
    /// The first asks those above the bound.
    Shed(u8),
    /// A second passes.
    Wait,
}

fn peer(n: usize) -> PeerId {
    id(u8::try_from(n).unwrap())
}

impl Model {
    fn hold(&self, role: Role) -> Hold {
        Hold {
            role,
            since: self.now,
            is_pinned: false,
            is_surplus: false,
            asked: None,
            must_go: false,
        }
    }

    fn dial(&mut self, a: usize, b: usize, role: Role) {
        let links = self.routers[b].0.len();
        let is_new = a != b && !self.routers[a].0.contains_key(&peer(b));
        if is_new && self.routers[b].has_room(&self.bounds, links) {
            let (mine, theirs) = (self.hold(role), self.hold(Role::Other));
            self.routers[a].0.insert(peer(b), mine);
            self.routers[b].0.insert(peer(a), theirs);
        }
    }

    fn ask(&mut self, a: usize, b: usize, must: bool) {
        if let Some(hold) = self.routers[a].0.get_mut(&peer(b)) {
            (hold.asked, hold.role) = (Some(self.now), Role::Other);
            self.routers[b].note_asked(&peer(a), must);
        }
    }

    fn leave(&mut self, a: usize) {
        for left in self.routers[a].to_leave(self.now, &self.bounds) {
            let b = (0..self.routers.len()).find(|b| peer(*b) == left).unwrap();
            self.routers[a].0.remove(&left);
            self.routers[b].0.remove(&peer(a));
        }
    }

    fn shed(&mut self, a: usize) {
        let degree = |peer: &PeerId| usize::from(peer.0[0]);
        for victim in self.routers[a].victims(self.now, self.bounds.target, |_| false, degree) {
            let b = (0..self.routers.len()).find(|b| peer(*b) == victim).unwrap();
            self.ask(a, b, true);
        }
    }

    fn step(&mut self, step: Step) {
        let n = self.routers.len();
        let of = |at: u8| usize::from(at) % n;
        match step {
            Step::Dial(a, b, role) => self.dial(of(a), of(b), role),
            Step::Ask(a, b, must) => self.ask(of(a), of(b), must),
            Step::Leave(a) => self.leave(of(a)),
            Step::Shed(a) => self.shed(of(a)),
            Step::Wait => self.now = Instant(self.now.0 + 1_000_000),
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let role = prop_oneof![Just(Role::Near), Just(Role::Random), Just(Role::Other)];
    prop_oneof![
        6 => (any::<u8>(), any::<u8>(), role).prop_map(|(a, b, role)| Step::Dial(a, b, role)),
        2 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(a, b, must)| Step::Ask(a, b, must)),
        3 => any::<u8>().prop_map(Step::Leave),
        1 => any::<u8>().prop_map(Step::Shed),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whoever asks whom, and in what order: who leaves has enough left and loses no near one that it may keep, both ends
    /// agree, and nobody takes in more than it may.
    #[test]
    fn nobody_is_stranded(steps in prop::collection::vec(step(), 0..600), links in 4..40_usize) {
        let routers = (0..24).map(|_| Holds::default()).collect();
        let mut model = Model { bounds: Bounds::of(links), now: Instant(0), routers };
        for step in steps {
            let before: Vec<_> = model.routers.iter().map(|holds| (holds.0.len(), holds.of(Role::Near))).collect();
            model.step(step);
            for (a, holds) in model.routers.iter().enumerate() {
                if let Step::Leave(of) = step {
                    let is_leaver = usize::from(of) % 24 == a;
                    prop_assert!(!is_leaver || holds.0.len() >= model.bounds.enough || holds.0.len() == before[a].0);
                    prop_assert!(!is_leaver || holds.of(Role::Near) == before[a].1);
                }
                let is_dialler = matches!(step, Step::Dial(of, ..) if usize::from(of) % 24 == a);
                prop_assert!(is_dialler || holds.0.len() <= before[a].0.max(model.bounds.most));
                for b in (0..24).filter(|b| holds.0.contains_key(&peer(*b))) {
                    prop_assert!(model.routers[b].0.contains_key(&peer(a)));
                }
            }
        }
    }

    /// All linked with all at first, as when a mesh outgrows being full: everybody ends within the bounds.
    #[test]
    fn a_full_mesh_thins_out(order in prop::collection::vec(any::<u8>(), 60), links in 12..33_usize) {
        let routers = (0..41).map(|_| Holds::default()).collect();
        let mut model = Model { bounds: Bounds::of(links), now: Instant(0), routers };
        let other = model.hold(Role::Other);
        for (a, b) in (0..41).flat_map(|a| (0..41).map(move |b| (a, b))).filter(|(a, b)| a != b) {
            model.routers[a].0.insert(peer(b), other);
        }
        for round in 0..60 {
            for nth in 0..41 {
                let a = (usize::from(order[round % 20]) + nth * 7) % 41;
                if model.routers[a].total() > model.bounds.most {
                    model.shed(a);
                }
                let b = (a + usize::from(order[20 + round % 19])) % 41;
                model.leave(b);
                let from = usize::from(order[40 + round % 17]);
                for c in (0..41).map(|c| (c + from) % 41) {
                    if model.routers[b].total() < model.bounds.enough {
                        model.dial(b, c, Role::Other);
                    }
                }
            }
            model.now = Instant(model.now.0 + 5_000_000);
        }
        // Who finds no room anywhere gets by with fewer than enough, but nobody is in need.
        for holds in &model.routers {
            prop_assert!(holds.0.len() >= model.bounds.least, "{}", holds.0.len());
            prop_assert!(holds.total() <= model.bounds.most, "{}", holds.total());
        }
    }
}
