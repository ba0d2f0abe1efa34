//! What stands at a place of a file of the house, for whoever writes it in an editor: its type in words,
//! where it is written, what may be written there.
//!
//! Invariant: what is told of a place is what `check` works with there; nothing here says a mistake, and
//! nothing is noted for it while nobody asks.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{
    build::Targets,
    check::{House, read_facts},
    file::{self, RouteFile},
};
use crate::{
    diagnostic::{Place, Problems, SourceFile},
    facts::Catalogue,
    template::compile::{Peek, Peeked},
    yaml,
};

mod expression;
mod names;
mod spot;
mod told;
mod trail;

use names::Naming;
use spot::{On, Spot};

/// What is told of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The bytes of the file of which it is told.
    pub span: Range<usize>,
    /// In Markdown.
    pub text: String,
}

/// Where something is written that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// In a file of the house.
    At(Place),
    /// In the configuration: an adapter instance, and an operation of it.
    Configured {
        /// The instance.
        instance: String,
        /// The operation.
        operation: Option<String>,
    },
}

/// Something that may be written at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What it is called.
    pub label: String,
    /// Its type or title in words.
    pub detail: String,
    /// What it is.
    pub kind: OfferKind,
    /// The bytes of the file whose place it takes.
    pub span: Range<usize>,
    /// What is written there.
    pub text: String,
}

/// What an offer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferKind {
    /// A field of an object.
    Field,
    /// A variable of an expression.
    Variable,
    /// A function of jq, or of ours.
    Function,
    /// A type of the house.
    Type,
    /// An operation of an adapter instance.
    Operation,
    /// A fact, a purpose, a law, a party, an adapter instance.
    Name,
}

/// What is told of the place `at` of a file; nothing where nothing is known of it.
pub fn hover(house: &House, file: &Arc<SourceFile>, at: usize) -> Option<Told> {
    let look = Look { house, file };
    let root = yaml::read(file, &mut Problems::default())?;
    let spot = spot::find(&root, &file.text, at)?;
    if let Some((naming, span, name)) = look.named(&spot) {
        return Some(Told { text: look.of_name(&naming, name)?, span });
    }
    let route = look.route()?;
    match (&spot.on, spot.keys.as_slice()) {
        (On::Key(key), _) => {
            let name = key.text.as_str();
            let step = file::each_step(&route.written.steps).find(|step| step.id.span == key.span);
            let need = route.written.needs.iter().find(|need| need.name.span == key.span);
            let text = match (step, need) {
                (Some(_), _) => route.of_step(name, &route.peek(at))?,
                (None, Some(_)) => route.of_need(name)?,
                (None, None) => return None,
            };
            Some(Told { span: key.span.clone(), text })
        }
        _ => route.of_expression(&route.peeked(at)?, at),
    }
}

/// Where that is written which the place `at` of a file names.
pub fn definition(house: &House, file: &Arc<SourceFile>, at: usize) -> Option<Written> {
    let look = Look { house, file };
    let root = yaml::read(file, &mut Problems::default())?;
    let spot = spot::find(&root, &file.text, at)?;
    if let Some((naming, _, name)) = look.named(&spot) {
        return look.written(&naming, name);
    }
    let route = look.route()?;
    route.where_written(&route.peeked(at)?, at).map(Written::At)
}

/// What may be written at the place `at` of a file.
pub fn offers(house: &House, file: &Arc<SourceFile>, at: usize) -> Vec<Offer> {
    let look = Look { house, file };
    let Some(root) = yaml::read(file, &mut Problems::default()) else { return Vec::new() };
    let Some(spot) = spot::find(&root, &file.text, at) else { return Vec::new() };
    if let Some((naming, span, _)) = look.named(&spot) {
        return look.known(&naming, &span);
    }
    let peeked = look.route().and_then(|route| route.peeked(at));
    peeked.map(|peeked| expression::offers(&peeked, at)).unwrap_or_default()
}

/// A file, and the house around it.
struct Look<'h> {
    house: &'h House,
    file: &'h Arc<SourceFile>,
}

/// A route that is being written, right or wrong.
struct RouteLook<'h> {
    house: &'h House,
    written: RouteFile,
    facts: Catalogue,
}

impl<'h> Look<'h> {
    /// The name at a spot, and what it is to name.
    fn named<'n>(&self, spot: &Spot<'n>) -> Option<(Naming, Range<usize>, &'n str)> {
        let (span, name) = match &spot.on {
            On::Key(_) => return None,
            On::Text { span, text } => (span.clone(), *text),
            On::Nothing(at) => (*at..*at, ""),
        };
        Some((names::of(&self.file.path, spot)?, span, name))
    }

    fn route(&self) -> Option<RouteLook<'h>> {
        if !names::is_route(&self.file.path) {
            return None;
        }
        let written = file::read(self.file, &mut Problems::default())?;
        let facts = read_facts(self.house, &[], &BTreeMap::new(), &mut Problems::default());
        Some(RouteLook { house: self.house, written, facts })
    }
}

impl RouteLook<'_> {
    /// The expression at a place, and what it sees.
    fn peeked(&self, at: usize) -> Option<Peeked> {
        self.peek(at).found
    }

    fn peek(&self, at: usize) -> Peek {
        let targets = Targets::new(&self.house.schemas, &self.house.operations, &self.facts);
        targets.typed(false).without(&self.house.unopened).peek(&self.written, at)
    }
}

#[cfg(test)]
mod tests;
