//! The words of the report, in the languages in which an office publishes it.
//!
//! Invariant: every word is here in each language; nothing else of the report depends on one.

use super::{Row, Sight};
use crate::compliance::{AskedOf, Verdict};

/// A language of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Italian.
    #[default]
    Italian,
    /// English.
    English,
}

/// Everything that is said in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phrase {
    Title,
    Route,
    Office,
    Kind,
    Field,
    AskedOf,
    Verdict,
    HeldBy,
    Law,
    Unseen,
    NotSaid,
    Nobody,
    Spared,
    Whole,
    NoRoute,
    Nothing,
}

impl Language {
    pub(super) fn say(self, phrase: Phrase) -> &'static str {
        let (italian, english) = phrase_of(phrase);
        self.of(italian, english)
    }

    fn of<T>(self, italian: T, english: T) -> T {
        match self {
            Self::Italian => italian,
            Self::English => english,
        }
    }

    /// Whom a field is asked of.
    pub(super) fn asked_of(self, row: &Row) -> &'static str {
        match (row.spared, row.asked_of) {
            (true, _) => self.say(Phrase::Nobody),
            (false, Some(who)) => self.who(who),
            (false, None) => self.say(Phrase::NotSaid),
        }
    }

    fn who(self, who: AskedOf) -> &'static str {
        match who {
            AskedOf::Citizen => self.of("cittadino", "citizen"),
            AskedOf::Business => self.of("impresa", "business"),
            AskedOf::Administration => self.of("amministrazione", "administration"),
            AskedOf::System => self.of("sistema", "system"),
            AskedOf::Login => self.of("identità digitale", "login"),
        }
    }

    /// Why it is asked.
    pub(super) fn verdict(self, row: &Row) -> &'static str {
        match (row.spared, row.verdict) {
            (true, _) => self.say(Phrase::Spared),
            (false, Some(Verdict::Key)) => self.of("chiave di ricerca", "key to what is held"),
            (false, Some(Verdict::New)) => self.of("dato nuovo", "new"),
            (false, Some(Verdict::SelfDeclared)) => self.of("autodichiarato", "self-declared"),
            (false, Some(Verdict::NotHeld)) => {
                self.of("non detenuto da amministrazioni", "held by no administration")
            }
            (false, None) => "",
        }
    }

    /// What cannot be seen.
    pub(super) fn sight(self, sight: &Sight) -> String {
        let (italian, english) = match sight {
            Sight::NoFacts => (
                "il catalogo dei fatti è vuoto: di nulla si sa quale amministrazione lo detiene",
                "the catalogue of facts is empty: of nothing is it known which administration holds it",
            ),
            Sight::NotJudged => (
                "il tipo non dice di alcun campo chi lo compila",
                "the type says of no field who fills it in",
            ),
            Sight::NotAsked(AskedOf::Login) => (
                "detto dell'identità digitale: se qualcuno lo digita non si vede",
                "said to come from the login: whether somebody types it cannot be seen",
            ),
            Sight::NotAsked(_) => (
                "detto del sistema: se qualcuno lo digita non si vede",
                "said to come from a system: whether somebody types it cannot be seen",
            ),
            Sight::NoMeaning => (
                "non dice che cosa significa (`x-fact`, `x-term`): un sinonimo di ciò che è detenuto \
                 non si nota",
                "does not say what it means (`x-fact`, `x-term`): a synonym of what is held is not noticed",
            ),
            Sight::FreeText => (
                "testo libero: che cosa vi è chiesto non si vede",
                "free text: what is asked in it cannot be seen",
            ),
            Sight::Undescribed => {
                ("valori che lo schema non descrive", "values that the schema does not describe")
            }
            Sight::Untyped => (
                "documento senza tipo (`x-document`): che cosa attesta non si vede",
                "document without a type (`x-document`): what it proves cannot be seen",
            ),
            Sight::NameOfPart(_) => (
                "ha il nome di una parte di un fatto, e non dice che cosa significa",
                "has the name of a part of a fact, and does not say what it means",
            ),
            Sight::UnusedKey => {
                ("chiave con cui non si chiede nulla", "key with which nothing is asked")
            }
            Sight::Unchecked => (
                "autodichiarato, e nessun fatto lo verifica",
                "self-declared, and no fact checks it",
            ),
        };
        let said = self.of(italian, english);
        match sight {
            Sight::NameOfPart(fact) => format!("{said}: `{fact}`"),
            _ => said.to_owned(),
        }
    }
}

fn phrase_of(phrase: Phrase) -> (&'static str, &'static str) {
    match phrase {
        Phrase::Title => ("Che cosa si chiede, a chi e perché", "What is asked, of whom and why"),
        Phrase::Route => ("rotta", "route"),
        Phrase::Office => ("ufficio", "office"),
        Phrase::Kind => ("tipo", "type"),
        Phrase::Field => ("campo", "field"),
        Phrase::AskedOf => ("chiesto a", "asked of"),
        Phrase::Verdict => ("perché", "why"),
        Phrase::HeldBy => ("detenuto da", "held by"),
        Phrase::Law => ("norma", "law"),
        Phrase::Unseen => ("che cosa la verifica non vede", "what the check cannot see"),
        Phrase::NotSaid => ("non detto", "not said"),
        Phrase::Nobody => ("nessuno", "nobody"),
        Phrase::Spared => ("acquisito d'ufficio", "asked of the authority"),
        Phrase::Whole => ("(tutto)", "(the whole)"),
        Phrase::NoRoute => ("nessuna rotta lo prende", "taken by no route"),
        Phrase::Nothing => ("nulla entra in questa casa", "nothing comes into this house"),
    }
}
