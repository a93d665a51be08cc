//! How many ranges a router may own.

use super::*;

/// Who wants one address here and one there gets them as long as what it owns, and what is left to the others, can be
/// said in one record.
#[test]
fn ranges_are_cut_no_smaller_than_a_record_can_say() {
    let mut world = World::new(1, 2, 20);
    (0..2).for_each(|n| world.launch(n, n > 0));
    world.run(15 * SECOND);
    let parts: Vec<_> = world.routers[0].ring.as_ref().unwrap().owned().collect();
    let (span, _) = parts.into_iter().max_by_key(|(span, _)| span.len()).unwrap();
    assert!(span.len() > 1500, "{span:?}");
    for index in (span.start + 1..span.end).step_by(2) {
        world.requests += 1;
        let (number, holder) = (world.requests, format!("c{index}"));
        world.routers[1].asked.insert(number, holder.clone());
        let request = Request {
            number,
            holder,
            want: Some(index),
        };
        world.act(1, |ring, now, around| ring.allocate(now, request, around));
        world.run(SECOND / 4);
    }
    let counts: Vec<_> = world.running().map(|ring| ring.owned().count()).collect();
    assert!(
        counts.iter().all(|count| (400..body::MAX_CLAIMS).contains(count)),
        "{counts:?}"
    );
    world.run(30 * SECOND);
    world.assert_whole();
}
