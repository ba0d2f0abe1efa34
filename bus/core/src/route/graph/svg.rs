//! The same picture as SVG: laid out in layers, from who sends to who gets. The only home of `layout`.
//!
//! Invariant: one font size, so that the same house makes the same bytes; colour only repeats what the
//! shape says.

use std::collections::BTreeMap;

use layout::{
    backends::svg::SVGWriter,
    core::{
        base::Orientation,
        color::Color,
        style::{LineStyleKind, StyleAttr},
    },
    std_shapes::{
        render::get_shape_size,
        shapes::{Arrow, Element, LineEndKind, ShapeKind},
    },
    topo::layout::VisualGraph,
};

use super::{Edge, Thing, edges};
use crate::{party::Parties, route::Routes};

const FONT: usize = 15;
/// So many lines are untangled where they cross; of more that would take minutes.
const UNTANGLED: usize = 150;
const WAY: Orientation = Orientation::LeftToRight;

/// The routes and parties of a house as an SVG document.
pub fn svg(routes: &Routes, parties: &Parties) -> String {
    let edges = edges(routes, parties);
    let mut graph = VisualGraph::new(WAY);
    let mut nodes = BTreeMap::new();
    for thing in edges.iter().flat_map(|edge| [&edge.from, &edge.to]) {
        nodes.entry(thing).or_insert_with(|| graph.add_node(element(thing)));
    }
    for edge in &edges {
        graph.add_edge(arrow(edge), nodes[&edge.from], nodes[&edge.to]);
    }
    let mut drawn = SVGWriter::new();
    if !edges.is_empty() {
        graph.do_it(false, edges.len() > UNTANGLED, false, &mut drawn);
    }
    drawn.finalize().replace("Times, serif", "sans-serif")
}

fn element(thing: &Thing) -> Element {
    let (_, name) = thing.parts();
    let (shape, fill, rounded) = match thing {
        Thing::Party(_) => (ShapeKind::new_circle(name), "#fff4d6", 0),
        Thing::Kind(_) => (ShapeKind::new_box(name), "#eef3f8", 15),
        Thing::Route(_) => (ShapeKind::new_box(name), "#dcebdc", 0),
        Thing::Target(_) => (ShapeKind::new_double_circle(name), "#f3e6f0", 0),
    };
    let size = get_shape_size(WAY, &shape, FONT, false);
    let look = StyleAttr::new(Color::fast("#333333"), 1, Some(Color::fast(fill)), rounded, FONT);
    Element::create(shape, look, WAY, size)
}

fn arrow(edge: &Edge) -> Arrow {
    let line = if edge.call { LineStyleKind::Dashed } else { LineStyleKind::Normal };
    let look = StyleAttr::new(Color::fast("#333333"), 1, None, 0, FONT);
    let (none, head) = (LineEndKind::None, LineEndKind::Arrow);
    Arrow::new(none, head, line, &edge.says, &look, &None, &None)
}
