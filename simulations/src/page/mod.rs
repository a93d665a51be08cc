//! One self-contained page about a run: `weft simulate --html`.
//!
//! [`Film`] keeps what was seen while the run went on, [`Page`] adds what was measured, and [`Page::render`] puts both
//! as JSON into a template whose style and script are plain files (`simulations/page/`). The page asks the network
//! for nothing, and forbids itself to.

mod film;
mod layout;

pub use film::Film;

use serde::Serialize;
use serde::ser::{SerializeSeq as _, Serializer};

/// How a router is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It does not run.
    Down,
    /// It runs, and does not yet know what those it can reach know.
    Unsettled,
    /// It runs and knows all there is to know.
    Settled,
}

/// A link between two routers: it came, went, came again, … at these times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkLife {
    /// The lower number.
    pub a: u32,
    /// The higher one.
    pub b: u32,
    /// Milliseconds; it stands after the first, third, …
    pub turns: Vec<u64>,
}

/// Something that was done to the world, and how the routers took it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PageEvent {
    /// When.
    pub at_ms: u64,
    /// What, in words.
    pub what: String,
    /// Until half, 99 of 100, and all routers were settled again, in milliseconds; `None`: not measured.
    pub converged_ms: Option<[f64; 3]>,
    /// Control bytes per router from this event to the next.
    pub bytes_per_router: Option<f64>,
}

/// An expectation that failed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PageFailure {
    /// When.
    pub at_ms: u64,
    /// What should have been.
    pub expected: String,
    /// What was.
    pub seen: String,
    /// The command that replays it.
    pub replay: String,
}

/// All that the page shows.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The scenario's name.
    pub name: String,
    /// What it is about, in a sentence.
    pub about: String,
    /// The run's seed.
    pub seed: u64,
    /// Proof that two runs were the same.
    pub trace_hash: String,
    /// The routers' names, in the order of their numbers.
    pub routers: Vec<String>,
    /// What was seen.
    pub film: Film,
    /// What was done.
    pub events: Vec<PageEvent>,
    /// What failed.
    pub failures: Vec<PageFailure>,
    /// Figures of the whole run: what, and how much.
    pub figures: Vec<(String, String)>,
}

const TEMPLATE: &str = include_str!("../../page/index.html");
const STYLE: &str = include_str!("../../page/page.css");
const SCRIPT: &str = include_str!("../../page/page.js");

impl Page {
    /// The page as one HTML file.
    #[must_use]
    pub fn render(&self) -> String {
        let data = serde_json::to_string(&self.data()).unwrap_or_default();
        let title = escape_html(&format!("{} – weft simulate", self.name));
        let parts = [
            ("title", title.as_str()),
            ("style", STYLE),
            ("data", &escape_json(&data)),
            ("script", SCRIPT),
        ];
        fill(TEMPLATE, &parts)
    }

    fn data(&self) -> Data<'_> {
        let links: Vec<_> = self.film.links().collect();
        let end = self.film.last_ms();
        let stood = |link: &LinkLife| {
            let spans = link.turns.chunks(2);
            spans
                .map(|span| span.get(1).unwrap_or(&end).saturating_sub(span[0]))
                .sum::<u64>()
        };
        let ends: Vec<_> = links.iter().map(|link| (link.a, link.b, stood(link))).collect();
        let states = self.film.states();
        let count = self.routers.len().max(states.len());
        let of_link = |link: &LinkLife| {
            Flat(
                [u64::from(link.a), u64::from(link.b)]
                    .into_iter()
                    .chain(link.turns.iter().copied())
                    .collect(),
            )
        };
        let of_router = |life: &Vec<(u64, State)>| {
            Flat(life.iter().flat_map(|(at, state)| [*at, *state as u64]).collect())
        };
        let told = self.events.iter().map(|event| event.at_ms);
        let last_told = told
            .chain(self.failures.iter().map(|failure| failure.at_ms))
            .max()
            .unwrap_or(0);
        Data {
            name: &self.name,
            about: &self.about,
            ok: self.failures.is_empty(),
            seed: self.seed.to_string(),
            trace_hash: &self.trace_hash,
            length_ms: self.film.last_ms().max(last_told).max(1),
            stopped_ms: self.film.stopped_ms(),
            routers: (0..count)
                .map(|at| {
                    self.routers
                        .get(at)
                        .cloned()
                        .unwrap_or_else(|| format!("router {at}"))
                })
                .collect(),
            places: Flat(
                layout::layout(count, &ends)
                    .into_iter()
                    .flatten()
                    .map(u64::from)
                    .collect(),
            ),
            links: links.iter().map(of_link).collect(),
            states: states.iter().map(of_router).collect(),
            curve: Flat(
                self.film
                    .curve()
                    .into_iter()
                    .flat_map(|(at, share)| [at, u64::from(share)])
                    .collect(),
            ),
            events: &self.events,
            failures: &self.failures,
            figures: &self.figures,
        }
    }
}

/// What the script reads. Lists of numbers are flat: 2,000 routers make many.
#[derive(Serialize)]
struct Data<'a> {
    name: &'a str,
    about: &'a str,
    ok: bool,
    /// As text: JavaScript's numbers are too short for it.
    seed: String,
    trace_hash: &'a str,
    length_ms: u64,
    stopped_ms: Option<u64>,
    routers: Vec<String>,
    /// x, y, x, y, …
    places: Flat,
    /// a, b, came, went, came, …
    links: Vec<Flat>,
    /// at, state, at, state, …
    states: Vec<Flat>,
    /// at, thousandths, …
    curve: Flat,
    events: &'a [PageEvent],
    failures: &'a [PageFailure],
    figures: &'a [(String, String)],
}

struct Flat(Vec<u64>);

impl Serialize for Flat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for number in &self.0 {
            list.serialize_element(number)?;
        }
        list.end()
    }
}

/// Puts each part in the place of `{{its name}}`, in one pass: what a part holds is never taken for a place.
fn fill(template: &str, parts: &[(&str, &str)]) -> String {
    let mut page = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        page.push_str(before);
        page.push_str(
            parts
                .iter()
                .find(|(part, _)| *part == name)
                .map_or("", |(_, text)| text),
        );
        rest = after;
    }
    page + rest
}

fn escape_html(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
        escaped
    })
}

/// JSON that may stand inside a script element, whatever its texts hold.
fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
            escaped.push_str(&format!("\\u{:04x}", c as u32));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
