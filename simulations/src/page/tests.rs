use super::*;

const HOSTILE: &str =
    "</script><script>alert(1)</script><img src=x onerror=alert(2)> {{script}} & \"' \u{2028}";

fn page() -> Page {
    let mut film = Film::default();
    film.look(0, &[State::Unsettled; 3], [(0, 1)]);
    film.look(500, &[State::Settled; 3], [(0, 1), (1, 2)]);
    film.look(900, &[State::Settled, State::Settled, State::Down], [(0, 1)]);
    let event = PageEvent {
        at_ms: 900,
        what: HOSTILE.into(),
        converged_ms: Some([1.0, 2.5, 3.0]),
        bytes_per_router: Some(812.0),
    };
    let failure = PageFailure {
        at_ms: 950,
        expected: HOSTILE.into(),
        seen: HOSTILE.into(),
        replay: HOSTILE.into(),
    };
    Page {
        name: HOSTILE.into(),
        about: HOSTILE.into(),
        seed: u64::MAX,
        trace_hash: "00".into(),
        routers: vec![HOSTILE.into(); 3],
        film,
        events: vec![event],
        failures: vec![failure],
        figures: vec![(HOSTILE.into(), HOSTILE.into())],
    }
}

/// Text of the element that begins with `open`, up to `close`.
fn inside<'a>(html: &'a str, open: &str, close: &str) -> &'a str {
    let (_, rest) = html.split_once(open).unwrap();
    rest.split_once(close).unwrap().0
}

#[test]
fn hostile_names_stay_text() {
    let html = page().render();
    assert!(
        !html.contains("<script>alert") && !html.contains("<img"),
        "markup got through"
    );
    assert_eq!(html.matches("</script>").count(), 2);
    assert_eq!(html.matches("<script").count(), 2);
    let data = inside(&html, "id=\"data\">", "</script>");
    assert!(!data.contains(['<', '>', '&', '\u{2028}']));
    let read: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(read["routers"][2], HOSTILE);
    assert_eq!(read["events"][0]["what"], HOSTILE);
    assert_eq!(read["failures"][0]["replay"], HOSTILE);
    assert_eq!(read["seed"], u64::MAX.to_string());
    assert_eq!(read["ok"], false);
    assert_eq!(read["links"][0], serde_json::json!([0, 1, 0]));
    assert_eq!(read["links"][1], serde_json::json!([1, 2, 500, 900]));
    let title = inside(&html, "<title>", "</title>");
    assert!(title.starts_with("&lt;/script&gt;") && title.contains("{{script}}"));
    // The script sets names as text, nowhere as markup.
    for sink in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
    ] {
        assert!(!html.contains(sink), "{sink}");
    }
}

#[test]
fn the_page_names_nothing_outside_itself() {
    let html = page().render();
    let template = [TEMPLATE, STYLE, SCRIPT].concat();
    for text in [&html, &template] {
        for outside in [
            "http:",
            "https:",
            "//cdn",
            "src=\"",
            "@import",
            "url(",
            "fetch(",
            "XMLHttpRequest",
            "import(",
        ] {
            assert!(!text.contains(outside), "{outside}");
        }
    }
    assert_eq!(html.matches("href=").count(), 1);
    assert!(html.contains("href=\"data:,\"") && html.contains("default-src 'none'"));
}

#[test]
fn every_element_is_closed() {
    let html = page().render();
    let mut open: Vec<String> = Vec::new();
    let mut rest = html.as_str();
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').unwrap();
        let name: String = tag
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '/')
            .collect();
        rest = after;
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "</{name}>");
        } else if !tag.starts_with('!') && !["meta", "link", "input", "br"].contains(&name.as_str()) {
            // What these hold is no markup.
            if name == "script" || name == "style" {
                rest = &rest[rest.find(&format!("</{name}>")).unwrap()..];
            }
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    let id = |text: &str| {
        text.split("id=\"")
            .skip(1)
            .map(|s| s.split('"').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let ids = id(TEMPLATE);
    for asked in SCRIPT.split("$(\"").skip(1).map(|s| s.split('"').next().unwrap()) {
        assert!(ids.iter().any(|id| id == asked), "no element {asked}");
    }
}
