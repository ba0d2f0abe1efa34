//! The register of residents: people, families, and what is written of them in an answer.
//!
//! Invariant: plain data, given by the demo or a test; nobody in it lives.

use serde::Deserialize;
use serde_json::{Value, json};

/// People and families.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Register {
    /// Everybody.
    pub people: Vec<Person>,
    /// Families: each member by code and relation to the head.
    pub households: Vec<Vec<Membership>>,
}

/// A member of a family.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Membership {
    /// Codice fiscale.
    pub tax_code: String,
    /// ANPR's code: 1 is the head, 2 spouse, 3 child.
    pub relation: String,
}

/// A person.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Person {
    /// Codice fiscale; two persons with one code are several.
    pub tax_code: String,
    /// Identificativo unico nazionale.
    #[serde(rename = "idANPR")]
    pub id_anpr: String,
    /// Cognome.
    pub family_name: String,
    /// Nome.
    pub given_name: String,
    /// `1980-01-01`.
    pub birth_date: String,
    /// `F` or `M`.
    pub sex: String,
    /// The day of death.
    #[serde(default)]
    pub died: Option<String>,
    /// Whether the register cannot say if the person lives.
    #[serde(default)]
    pub unsure: bool,
    /// The street and number in Palermo.
    #[serde(default)]
    pub street: Option<(String, String)>,
}

impl Person {
    /// `generalita`.
    pub(super) fn general(&self) -> Value {
        json!({
            "codiceFiscale": { "codFiscale": self.tax_code, "validitaCF": "1" },
            "cognome": self.family_name, "nome": self.given_name, "sesso": self.sex,
            "dataNascita": self.birth_date,
            "luogoNascita": { "comune": palermo() }, "idSchedaSoggettoANPR": "2775118"
        })
    }

    /// `residenza`.
    pub(super) fn residences(&self) -> Value {
        let Some((street, number)) = &self.street else { return json!([]) };
        json!([{
            "tipoIndirizzo": "1",
            "indirizzo": {
                "cap": "90133", "comune": palermo(),
                "toponimo": { "specie": "VIA", "denominazioneToponimo": street, "specieFonte": "1" },
                "numeroCivico": { "numero": number }
            }
        }])
    }

    /// `S`, `N` or `A`: whether the person lives.
    pub(super) fn lives(&self) -> &'static str {
        match &self.died {
            _ if self.unsure => "A",
            Some(_) => "N",
            None => "S",
        }
    }

    /// Whether the person died on that day.
    pub(super) fn died_on(&self, day: Option<&str>) -> &'static str {
        match (&self.died, day) {
            _ if self.unsure => "A",
            (Some(died), Some(day)) if died == day => "S",
            _ => "N",
        }
    }
}

fn palermo() -> Value {
    json!({ "codiceIstat": "082053", "nomeComune": "PALERMO", "siglaProvinciaIstat": "PA" })
}

impl Register {
    /// Whoever has this code, or this id.
    pub(super) fn find(&self, tax_code: Option<&str>, id: Option<&str>) -> Vec<&Person> {
        let fits = |person: &&Person| {
            tax_code.is_none_or(|code| person.tax_code == code)
                && id.is_none_or(|id| person.id_anpr == id)
        };
        if tax_code.is_none() && id.is_none() {
            return Vec::new();
        }
        self.people.iter().filter(fits).collect()
    }

    /// The family of a person, with each one's relation to the head; alone, who is in none.
    pub(super) fn family<'a>(&'a self, person: &'a Person) -> Vec<(&'a Person, &'a str)> {
        let lives_in = |family: &&Vec<Membership>| {
            family.iter().any(|member| member.tax_code == person.tax_code)
        };
        let Some(family) = self.households.iter().find(lives_in) else {
            return vec![(person, "1")];
        };
        let member = |member: &'a Membership| {
            let found = self.people.iter().find(|person| person.tax_code == member.tax_code)?;
            Some((found, member.relation.as_str()))
        };
        family.iter().filter_map(member).collect()
    }
}
