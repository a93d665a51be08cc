//! Where the page draws each router: near those it links with, apart from all others.
//!
//! 1. The ways to a few far-apart routers (pivots) give each router a point of many dimensions; the two in which those
//!    points differ most are the drawing (pivot MDS, Brandes and Pich 2007). Rings come out round and grids square.
//! 2. A few rounds of springs and repulsion spread what lies on top of each other, looking only at what is near.
//!
//! Nothing in here is random: one graph has one drawing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Routers from which ways are measured.
const PIVOTS: usize = 40;
/// Rounds of springs.
const ROUNDS: usize = 120;
/// The drawing is a square of this side.
pub(crate) const SIDE: u16 = 10_000;

type Point = [f64; 2];

/// Others that a router has links with, each with a share: how long that link stood, of the one that stood longest.
type Near = [Vec<(usize, f64)>];

/// A place for each of `count` routers, by the links that ever stood and how long each did. What is linked for a short
/// while lies less close: so halves that part for a time lie apart.
pub(crate) fn layout(count: usize, links: &[(u32, u32, u64)]) -> Vec<[u16; 2]> {
    let mut near = vec![Vec::new(); count];
    let longest = links.iter().map(|(_, _, stood)| *stood).max().unwrap_or(0).max(1);
    for &(a, b, stood) in links {
        let (a, b) = (a as usize, b as usize);
        let share = stood as f64 / longest as f64;
        if a != b && a < count && b < count {
            near[a].push((b, share));
            near[b].push((a, share));
        }
    }
    let mut points = spectral(&near);
    relax(&mut points, &near);
    fit(&points)
}

/// The way from `from` to all, over links that are the longer the shorter they stood; those it can't reach are as far
/// as the farthest and half as much again.
fn ways(near: &Near, from: usize) -> Vec<f64> {
    let mut found = vec![u64::MAX; near.len()];
    let mut queue = BinaryHeap::from([Reverse((0, from))]);
    found[from] = 0;
    let mut far = 1000;
    while let Some(Reverse((way, at))) = queue.pop() {
        if way > found[at] {
            continue;
        }
        far = far.max(way);
        for &(next, share) in &near[at] {
            let longer = way + 1000 + (8000.0 * (1.0 - share)) as u64;
            if longer < found[next] {
                found[next] = longer;
                queue.push(Reverse((longer, next)));
            }
        }
    }
    let reached = |way: u64| if way == u64::MAX { far * 3 / 2 } else { way };
    found
        .into_iter()
        .map(|way| reached(way) as f64 / 1000.0)
        .collect()
}

fn spectral(near: &Near) -> Vec<Point> {
    let count = near.len();
    // Each pivot is the router farthest from those before it.
    let mut columns: Vec<Vec<f64>> = Vec::new();
    let (mut pivot, mut nearest) = (0, vec![f64::INFINITY; count]);
    while columns.len() < PIVOTS.min(count) {
        let column = ways(near, pivot);
        for (least, way) in nearest.iter_mut().zip(&column) {
            *least = least.min(*way);
        }
        columns.push(column);
        pivot = farthest(&nearest);
    }
    centre(&mut columns, count);
    let [x, y] = two_axes(&columns);
    let place = |router: usize, axis: &[f64]| -> f64 {
        columns
            .iter()
            .zip(axis)
            .map(|(column, share)| column[router] * share)
            .sum()
    };
    (0..count)
        .map(|router| [place(router, &x), place(router, &y)])
        .collect()
}

fn farthest(distances: &[f64]) -> usize {
    let mut best = 0;
    for (at, distance) in distances.iter().enumerate() {
        if *distance > distances[best] {
            best = at;
        }
    }
    best
}

/// Squared distances, with the means of rows and columns taken away.
fn centre(columns: &mut [Vec<f64>], count: usize) {
    columns.iter_mut().flatten().for_each(|hops| *hops *= *hops);
    let width = columns.len().max(1) as f64;
    let rows: Vec<f64> = (0..count)
        .map(|row| columns.iter().map(|column| column[row]).sum::<f64>() / width)
        .collect();
    let all = rows.iter().sum::<f64>() / count.max(1) as f64;
    for column in columns {
        let mean = column.iter().sum::<f64>() / count.max(1) as f64;
        for (value, row) in column.iter_mut().zip(&rows) {
            *value = -0.5 * (*value - mean - row + all);
        }
    }
}

/// The two directions in which the rows differ most, by repeated multiplication.
fn two_axes(columns: &[Vec<f64>]) -> [Vec<f64>; 2] {
    let width = columns.len();
    let product: Vec<Vec<f64>> = columns
        .iter()
        .map(|a| columns.iter().map(|b| dot(a, b)).collect())
        .collect();
    let mut axes: [Vec<f64>; 2] = Default::default();
    for number in 0..2 {
        // Any start that is not at right angles to the answer.
        let mut axis: Vec<f64> = (0..width)
            .map(|at| 1.0 + ((at * 7 + number * 3) % 11) as f64)
            .collect();
        for _ in 0..100 {
            if number == 1 {
                let along = dot(&axis, &axes[0]);
                axis.iter_mut()
                    .zip(&axes[0])
                    .for_each(|(value, first)| *value -= along * first);
            }
            let next: Vec<f64> = product.iter().map(|row| dot(row, &axis)).collect();
            let length = dot(&next, &next).sqrt();
            if length < 1e-9 {
                break;
            }
            axis = next.into_iter().map(|value| value / length).collect();
        }
        axes[number] = axis;
    }
    axes
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Springs along links, repulsion from whatever is within two lengths (Fruchterman and Reingold's forces).
fn relax(points: &mut [Point], near: &Near) {
    let count = points.len();
    if count < 2 {
        return;
    }
    normalise(points, near);
    // Routers that have the same distances from everywhere lie in one place: a spiral takes them apart.
    let mut turn = [1.0_f64, 0.0];
    for (at, point) in points.iter_mut().enumerate() {
        let [c, s] = turn;
        turn = [
            c * -0.737_368_878 - s * 0.675_490_294,
            c * 0.675_490_294 - s * 0.737_368_878,
        ];
        let radius = 0.3 * (at as f64 / count as f64).sqrt() + 0.02;
        point[0] += turn[0] * radius;
        point[1] += turn[1] * radius;
    }
    for round in 0..ROUNDS {
        let step = 0.4 * (1.0 - round as f64 / ROUNDS as f64) + 0.01;
        let cells = Cells::new(points);
        let moves: Vec<Point> = (0..count).map(|at| force(at, points, near, &cells)).collect();
        for (point, force) in points.iter_mut().zip(moves) {
            let length = (force[0] * force[0] + force[1] * force[1]).sqrt().max(1e-9);
            let scale = step.min(length) / length;
            point[0] += force[0] * scale;
            point[1] += force[1] * scale;
        }
    }
}

fn force(at: usize, points: &[Point], near: &Near, cells: &Cells) -> Point {
    let here = points[at];
    let mut sum = [0.0; 2];
    for &other in cells.around(here).flatten() {
        let (x, y) = (here[0] - points[other][0], here[1] - points[other][1]);
        let square = (x * x + y * y).max(0.01);
        if other != at && square < 4.0 {
            sum[0] += x / square;
            sum[1] += y / square;
        }
    }
    // A router with many links is not pulled harder than one with few: hubs stay where they are.
    let weight = 0.6 / (near[at].len() as f64).sqrt().max(1.0);
    for &(other, share) in &near[at] {
        let weight = weight * share * share;
        let (x, y) = (points[other][0] - here[0], points[other][1] - here[1]);
        let length = (x * x + y * y).sqrt();
        sum[0] += x * length * weight;
        sum[1] += y * length * weight;
    }
    sum
}

/// Who is in which square. Squares are as wide as repulsion reaches, or wider if there were too many.
struct Cells {
    low: Point,
    width: f64,
    across: usize,
    squares: Vec<Vec<usize>>,
}

impl Cells {
    fn new(points: &[Point]) -> Self {
        let [x, y] = [0, 1].map(|axis| bounds(points, axis));
        let extent = (x.1 - x.0).max(y.1 - y.0);
        let width = (extent / 200.0).max(2.0);
        let across = (extent / width) as usize + 1;
        let mut cells = Self {
            low: [x.0, y.0],
            width,
            across,
            squares: vec![Vec::new(); across * across],
        };
        for (at, point) in points.iter().enumerate() {
            let (column, row) = cells.square(*point);
            cells.squares[row * across + column].push(at);
        }
        cells
    }

    fn square(&self, point: Point) -> (usize, usize) {
        let index =
            |axis: usize| (((point[axis] - self.low[axis]) / self.width) as usize).min(self.across - 1);
        (index(0), index(1))
    }

    fn around(&self, point: Point) -> impl Iterator<Item = &Vec<usize>> {
        let (column, row) = self.square(point);
        let span = |at: usize| at.saturating_sub(1)..=(at + 1).min(self.across - 1);
        span(row)
            .flat_map(move |row| span(column).map(move |column| &self.squares[row * self.across + column]))
    }
}

fn bounds(points: &[Point], axis: usize) -> (f64, f64) {
    let values = || points.iter().map(|p| p[axis]);
    (
        values().fold(f64::INFINITY, f64::min),
        values().fold(f64::NEG_INFINITY, f64::max),
    )
}

/// Centres the points. Links become one long on average, or each router gets a square of side one, whichever takes
/// more room: rings must not be pressed together, nor random graphs.
fn normalise(points: &mut [Point], near: &Near) {
    let [x, y] = [0, 1].map(|axis| bounds(points, axis));
    let extent = (x.1 - x.0).max(y.1 - y.0);
    let ends = || {
        near.iter()
            .enumerate()
            .flat_map(|(a, others)| others.iter().map(move |(b, _)| (a, *b)))
    };
    let length = |(a, b): (usize, usize)| {
        let [x, y] = [0, 1].map(|axis| points[a][axis] - points[b][axis]);
        (x * x + y * y).sqrt()
    };
    let mean = ends().map(length).sum::<f64>() / ends().count().max(1) as f64;
    let side = (points.len() as f64).sqrt();
    let share = |of: f64, length: f64| if length > 1e-9 { of / length } else { 0.0 };
    let scale = share(side, extent).max(share(1.0, mean).min(share(points.len() as f64, extent)));
    for point in points {
        *point = [
            (point[0] - (x.0 + x.1) / 2.0) * scale,
            (point[1] - (y.0 + y.1) / 2.0) * scale,
        ];
    }
}

/// Into the square, both directions by one scale.
fn fit(points: &[Point]) -> Vec<[u16; 2]> {
    let bounds = [0, 1].map(|axis| bounds(points, axis));
    let extent = bounds.iter().map(|(low, high)| high - low).fold(0.0, f64::max);
    let scale = if extent > 1e-9 {
        f64::from(SIDE) / extent
    } else {
        0.0
    };
    let place = |point: &Point, axis: usize| {
        let middle = (bounds[axis].0 + bounds[axis].1) / 2.0;
        ((point[axis] - middle) * scale + f64::from(SIDE) / 2.0)
            .round()
            .clamp(0.0, f64::from(SIDE)) as u16
    };
    points
        .iter()
        .map(|point| [place(point, 0), place(point, 1)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(a: [u16; 2], b: [u16; 2]) -> f64 {
        let [x, y] = [0, 1].map(|axis| f64::from(a[axis]) - f64::from(b[axis]));
        (x * x + y * y).sqrt()
    }

    fn ring(count: u32) -> Vec<(u32, u32, u64)> {
        (0..count).map(|at| (at, (at + 1) % count, 9)).collect()
    }

    #[test]
    fn a_ring_is_round() {
        let places = layout(60, &ring(60));
        let middle = [SIDE / 2; 2];
        for at in 0..60 {
            let next = distance(places[at], places[(at + 1) % 60]);
            assert!(next < f64::from(SIDE) / 6.0, "{at}: {next}");
            assert!(
                distance(places[at], middle) > f64::from(SIDE) / 5.0,
                "{at}: {:?}",
                places[at]
            );
        }
    }

    #[test]
    fn two_halves_lie_apart() {
        let mut links = Vec::new();
        for half in [0, 20] {
            for a in 0..20 {
                links.extend((0..a).map(|b| (half + a, half + b, 5)));
            }
        }
        links.push((0, 20, 5));
        let places = layout(40, &links);
        let middle = |range: std::ops::Range<usize>| {
            [0, 1]
                .map(|axis| range.clone().map(|at| u32::from(places[at][axis])).sum::<u32>() / 20)
                .map(|v| v as u16)
        };
        let apart = distance(middle(0..20), middle(20..40));
        assert!(apart > f64::from(SIDE) / 4.0, "{apart}");
    }

    #[test]
    fn halves_that_part_for_a_time_lie_apart() {
        let all = (0..8_u32).flat_map(|a| (0..a).map(move |b| (a, b)));
        let links: Vec<_> = all
            .map(|(a, b)| (a, b, if (a < 4) == (b < 4) { 100 } else { 60 }))
            .collect();
        let places = layout(8, &links);
        let within = (0..4).flat_map(|a| (0..a).map(move |b| (a, b)));
        let widest = within
            .map(|(a, b)| distance(places[a], places[b]))
            .fold(0.0, f64::max);
        let between = (0..4).flat_map(|a| (4..8).map(move |b| (a, b)));
        let nearest = between
            .map(|(a, b)| distance(places[a], places[b]))
            .fold(f64::MAX, f64::min);
        assert!(nearest > 0.4 * widest, "{nearest} {widest} {places:?}");
    }

    #[test]
    fn no_two_routers_lie_in_one_place_and_one_graph_has_one_drawing() {
        let full: Vec<_> = (0..12).flat_map(|a| (0..a).map(move |b| (a, b, 1))).collect();
        let star: Vec<_> = (1..50).map(|leaf| (0, leaf, 7)).collect();
        for (count, links) in [(12, full), (50, star), (9, Vec::new()), (30, ring(10))] {
            let places = layout(count, &links);
            assert_eq!(places, layout(count, &links));
            for a in 0..count {
                for b in 0..a {
                    assert!(
                        distance(places[a], places[b]) > 50.0,
                        "{count}: {a} {b} {:?}",
                        places[a]
                    );
                }
            }
        }
        assert!(layout(0, &[]).is_empty());
        assert_eq!(layout(1, &[(0, 0, 1), (0, 9, 1)]).len(), 1);
    }
}
