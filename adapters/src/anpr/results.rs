//! What the operations take and give, in our words.
//!
//! Invariant: what ANPR does not say is left out, never null and never made up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// About whom a question is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct About {
    /// Codice fiscale.
    #[schemars(extend("format" = "codice-fiscale"))]
    pub tax_code: String,
}

/// A death to be verified.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Death {
    /// Codice fiscale of the dead.
    #[schemars(extend("format" = "codice-fiscale"))]
    pub tax_code: String,
    /// The day of the death.
    #[schemars(extend("format" = "date"))]
    pub date: String,
    /// The municipality where it was, by its ISTAT code.
    #[serde(default)]
    #[schemars(with = "String", extend("format" = "istat-comune"))]
    pub municipality: Option<String>,
}

/// A declaration to be verified, for services whose interface is not public.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Declaration {
    /// Codice fiscale of whom it is about.
    #[schemars(extend("format" = "codice-fiscale"))]
    pub tax_code: String,
    /// What was declared, in ANPR's own members: what stands under `verifica`.
    #[serde(default)]
    #[schemars(with = "Map<String, Value>")]
    pub declared: Option<Map<String, Value>>,
}

/// The members of a family (stato di famiglia).
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Household {
    /// Everybody in it, whoever was asked about included.
    pub members: Vec<Member>,
    /// ANPR's codes of what it found odd.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A member of a family.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    /// Codice fiscale.
    #[schemars(extend("format" = "codice-fiscale"))]
    pub tax_code: String,
    /// Cognome; empty where a person has none.
    pub family_name: String,
    /// Nome; empty where a person has none.
    pub given_name: String,
    /// When born, where the whole day is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "date"))]
    pub birth_date: Option<String>,
    /// Sex in the register.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Sex")]
    pub sex: Option<Sex>,
    /// When dead, where a death is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "date"))]
    pub death_date: Option<String>,
    /// What the person is to the head of the family.
    pub role: Role,
    /// The same in ANPR's code (table *Relazione di parentela*).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub relation: Option<String>,
}

/// Sex in the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Sex {
    /// Female.
    F,
    /// Male.
    M,
}

/// What a member is to the head of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Intestatario della scheda.
    Head,
    /// Marito, moglie.
    Spouse,
    /// Unito civilmente.
    CivilPartner,
    /// Figlio, figlia; adopted too.
    Child,
    /// Figliastro, figliastra.
    Stepchild,
    /// Nipote (discendente).
    Grandchild,
    /// Padre, madre.
    Parent,
    /// Patrigno, matrigna.
    Stepparent,
    /// Nonno, nonna.
    Grandparent,
    /// Fratello, sorella.
    Sibling,
    /// Fratellastro, sorellastra.
    Stepsibling,
    /// Another relative by blood.
    Relative,
    /// A relative by marriage.
    InLaw,
    /// Convivente with ties of affection.
    Cohabitant,
    /// Tutore.
    Guardian,
    /// What the register does not say, or a code that is not in its table.
    Other,
}

impl Role {
    /// By ANPR's code.
    pub(super) fn of(code: Option<&str>) -> Self {
        match code.and_then(|code| code.parse::<u16>().ok()) {
            Some(1) => Self::Head,
            Some(2) => Self::Spouse,
            Some(28) => Self::CivilPartner,
            Some(3 | 80) => Self::Child,
            Some(14) => Self::Stepchild,
            Some(4) => Self::Grandchild,
            Some(6) => Self::Parent,
            Some(15) => Self::Stepparent,
            Some(7) => Self::Grandparent,
            Some(9) => Self::Sibling,
            Some(19) => Self::Stepsibling,
            Some(5 | 8 | 10..=13 | 81) => Self::Relative,
            Some(16..=18 | 20..=22) => Self::InLaw,
            Some(23) => Self::Cohabitant,
            Some(26) => Self::Guardian,
            // 24, 25: communities that are no families; 99: not told.
            _ => Self::Other,
        }
    }
}

/// The answer to a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is as declared.
    Holds,
    /// It is not as declared.
    Fails,
    /// The register cannot say: neither yes nor no.
    Undetermined,
}

/// The result of a verification.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verified {
    /// Whether the declaration holds.
    pub outcome: Outcome,
    /// ANPR's codes of what it found odd.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The national id of a person.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Identificativo unico nazionale.
    #[serde(rename = "idANPR")]
    pub id_anpr: String,
    /// ANPR's codes of what it found odd.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A person with addresses.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Person {
    /// Codice fiscale.
    #[schemars(extend("format" = "codice-fiscale"))]
    pub tax_code: String,
    /// Identificativo unico nazionale.
    #[serde(rename = "idANPR", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub id_anpr: Option<String>,
    /// Cognome; empty where a person has none.
    pub family_name: String,
    /// Nome; empty where a person has none.
    pub given_name: String,
    /// When born, where the whole day is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "date"))]
    pub birth_date: Option<String>,
    /// Sex in the register.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Sex")]
    pub sex: Option<Sex>,
    /// Whether the person is alive.
    pub alive: Outcome,
    /// Every address that the service gives.
    pub addresses: Vec<Address>,
    /// ANPR's codes of what it found odd.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// An address of a person.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Address {
    /// What it is to the person.
    pub kind: AddressKind,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "date"))]
    pub since: Option<String>,
    /// The municipality by its ISTAT code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub municipality: Option<String>,
    /// The municipality, or the place abroad, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub municipality_name: Option<String>,
    /// The province's two letters, or what divides the country abroad.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub province: Option<String>,
    /// The country abroad, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub country: Option<String>,
    /// CAP.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub postcode: Option<String>,
    /// Frazione.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub hamlet: Option<String>,
    /// Species and name: VIA AMERIGO VESPUCCI.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub street: Option<String>,
    /// House number with its letter: 55/A.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub number: Option<String>,
    /// Scala.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub staircase: Option<String>,
    /// Piano.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub floor: Option<String>,
    /// Interno.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub unit: Option<String>,
    /// Presso.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub care_of: Option<String>,
}

/// What an address is to a person (table *Tipo indirizzo*).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AddressKind {
    /// 1 Residenza, 4 Residenza estera, and 10, 11: the same, as corrected.
    Residence,
    /// 2 Dimora abituale.
    HabitualAbode,
    /// 3 Domicilio eletto.
    Domicile,
    /// 5, 6 Presso.
    CareOf,
    /// 7 Ultima residenza italiana.
    LastResidenceInItaly,
    /// 8 Residenza temporanea.
    TemporaryResidence,
    /// 9, and what is not in the table.
    #[default]
    Other,
}

impl AddressKind {
    /// By ANPR's code.
    pub(super) fn of(code: Option<&str>) -> Self {
        match code.and_then(|code| code.parse::<u16>().ok()) {
            Some(1 | 4 | 10 | 11) => Self::Residence,
            Some(2) => Self::HabitualAbode,
            Some(3) => Self::Domicile,
            Some(5 | 6) => Self::CareOf,
            Some(7) => Self::LastResidenceInItaly,
            Some(8) => Self::TemporaryResidence,
            _ => Self::Other,
        }
    }
}
