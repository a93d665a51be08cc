//! The page in a real browser, where one is installed: no errors on its console, and the drawing done.

#![allow(clippy::unwrap_used)]

mod common;

use common::browser::{browser, open};
use simulations::{Film, Page, PageEvent, RouterState, World};
use std::path::Path;
use std::time::Duration;

/// A mesh that falls in two halves and comes together.
fn halves(count: u32) -> Page {
    let near = |a: u32| [1, 2, 7, 31].map(|step| (a, (a + step) % count));
    let all: Vec<_> = (0..count).flat_map(near).filter(|(a, b)| a != b).collect();
    let half = count / 2;
    let apart: Vec<_> = all
        .iter()
        .copied()
        .filter(|(a, b)| (*a < half) == (*b < half))
        .collect();
    let mut film = Film::default();
    let settled_to = |share: u32| -> Vec<_> {
        (0..count)
            .map(|n| match (n * 7919) % 100 < share {
                true => RouterState::Settled,
                false => RouterState::Unsettled,
            })
            .collect()
    };
    for (at, share, links) in [
        (0, 0, &[][..]),
        (200, 40, &all),
        (900, 100, &all),
        (5000, 0, &apart),
        (5600, 100, &apart),
    ] {
        film.look(at, &settled_to(share), links.iter().copied());
    }
    for step in 0..20 {
        film.look(
            10_000 + 60 * step,
            &settled_to(5 * step as u32),
            all.iter().copied(),
        );
    }
    film.look(20_000, &settled_to(100), all.iter().copied());
    let event = |at_ms, what: &str, converged_ms| PageEvent {
        at_ms,
        what: what.into(),
        converged_ms,
        bytes_per_router: Some(1234.5),
    };
    Page {
        name: "partition-heal".into(),
        about: "Half of the routers lose the other half, and find it again.".into(),
        seed: 1,
        trace_hash: "ab".repeat(32),
        routers: (0..count).map(|n| format!("host-{n}")).collect(),
        film,
        events: vec![
            event(0, "launch", Some([300.0, 880.0, 900.0])),
            event(5000, "partition into two halves", Some([600.0, 600.0, 600.0])),
            event(10_000, "heal", Some([580.0, 1100.0, 1140.0])),
            event(18_000, "</td><b>nothing</b>", None),
        ],
        figures: vec![
            ("path stretch".into(), "1.04".into()),
            ("frames lost".into(), "3".into()),
        ],
        ..Page::default()
    }
}

/// The same of real routers.
fn real_halves(count: usize) -> Page {
    let mut world = World::new(1);
    let (mut film, mut events) = (Film::default(), Vec::new());
    let hosts = world.add_hosts(count);
    let across: Vec<_> = (0..count / 2)
        .flat_map(|a| (count / 2..count).map(move |b| (a, b)))
        .collect();
    let begin = |world: &World, events: &mut Vec<PageEvent>, what: &str| {
        events.push(PageEvent {
            at_ms: world.now().0 / 1000,
            what: what.into(),
            ..PageEvent::default()
        });
    };
    let run = |world: &mut World, film: &mut Film, seconds: u64| {
        for _ in 0..seconds * 20 {
            world.look(film);
            world.run(Duration::from_millis(50));
        }
    };
    begin(&world, &mut events, "launch");
    for &host in &hosts {
        world.launch(host, &hosts[..usize::from(host != hosts[0])]);
    }
    run(&mut world, &mut film, 4);
    begin(&world, &mut events, "partition into two halves");
    across
        .iter()
        .for_each(|&(a, b)| world.network.cut(hosts[a], hosts[b]));
    run(&mut world, &mut film, 6);
    begin(&world, &mut events, "heal");
    across
        .iter()
        .for_each(|&(a, b)| world.network.heal(hosts[a], hosts[b]));
    run(&mut world, &mut film, 20);
    assert_eq!(film.curve().last().unwrap().1, 1000, "all are settled");
    Page {
        routers: hosts.iter().map(|host| format!("host-{}", host.0)).collect(),
        film,
        events,
        ..halves(2)
    }
}

#[test]
fn pages_render_without_errors() {
    for count in [6, 2000] {
        let started = std::time::Instant::now();
        let page = if count == 6 { real_halves(6) } else { halves(count) };
        let html = page.render();
        println!(
            "{count} routers: {} kB in {:?}",
            html.len() / 1000,
            started.elapsed()
        );
        assert!(html.len() < 100_000 + 1500 * count as usize);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{count}.html"));
        std::fs::write(&path, html).unwrap();
        let Some(browser) = browser() else {
            println!("skipped: no Chromium is installed");
            continue;
        };
        let shown = open(&browser, &path, Some(5300));
        assert!(shown.contains("data-rendered=\"yes\""));
        assert!(shown.contains("5.30 s") && shown.contains("all held"));
        assert!(count == 6 || shown.contains("&lt;/td&gt;&lt;b&gt;nothing"));
        let clock = shown.split("id=\"happening\">").nth(1).unwrap();
        assert!(clock.starts_with("partition into two halves"));
        let playing = open(&browser, &path, None);
        assert!(playing.contains("data-rendered=\"yes\""));
        // How many frames it draws in a headless browser's virtual time is up to the browser.
        let button = playing.split("id=\"play\"").nth(1).unwrap();
        assert!(
            button.split(['>', '<']).nth(1).unwrap() == "⏸",
            "it does not play"
        );
    }
}
