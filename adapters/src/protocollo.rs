//! `protocollo`: the embedded protocol register of one area organizzativa omogenea (AOO).
//!
//! Invariant: it decides what may be registered and nothing else; the number is drawn by the ledger, in
//! the commit that records the registration. What it makes of the register is made of days that are over.

mod daily;
mod record;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use snodo_core::{
    adapter::{Adapter, Call, Example, OpenError, Opening, Operation, Receipt, WRONG_OPTION},
    fault::{Fault, FaultClass},
    register::{
        Annulled, Found, LedgerEffect, NUMBER_PATTERN, Registered, Registration, read_number,
    },
    verdict::EffectKind,
};

pub use self::daily::{DailyRegister, MadeRegister};
pub use self::record::{Correspondent, Document, Incomplete, ReceivedProtocol, Register};
use crate::typed::{input_schema, output_schema, unknown};

/// What stands under an instance of kind `protocollo`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The AOO whose register it is, e.g. `c_g273`.
    pub aoo: String,
}

/// The register of one AOO.
#[derive(Debug)]
pub struct Protocollo {
    aoo: String,
}

/// The input of `annul`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Annul {
    /// `0001234/2026`.
    #[schemars(extend("pattern" = NUMBER_PATTERN))]
    pub number: String,
    /// The act that annuls, or the reason (DPR 445/2000 art. 54).
    pub reason: String,
}

/// The input of `lookup`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// `0001234/2026`.
    #[schemars(extend("pattern" = NUMBER_PATTERN))]
    pub number: String,
}

impl Adapter for Protocollo {
    const KIND: &'static str = "protocollo";
    const EXAMPLE: Example = Example {
        options: "aoo: c_x000    # the area organizzativa omogenea whose register it is, as IPA knows it",
        schemas: &[],
    };
    type Options = Options;

    fn open(options: Options, _opening: &Opening) -> Result<Self, OpenError> {
        if !is_aoo(&options.aoo) {
            return Err(OpenError {
                code: WRONG_OPTION,
                pointer: "/aoo".to_owned(),
                text: "`aoo` is no code of an area organizzativa omogenea".to_owned(),
                help: "write 1 to 16 letters, digits, `_`, `.` or `-`, such as c_g273".to_owned(),
            });
        }
        Ok(Self { aoo: options.aoo })
    }

    fn operations(&self) -> Vec<Operation> {
        vec![
            operation::<Register, Registered>("register"),
            operation::<Annul, Annulled>("annul"),
            operation::<Lookup, Found>("lookup"),
            Operation {
                effect: EffectKind::Idempotent,
                deadline: Duration::from_mins(5),
                ..operation::<DailyRegister, MadeRegister>("daily_register")
            },
        ]
    }

    /// All operations but the daily register are of kind `ledger`.
    async fn call(&self, call: Call<'_>) -> Result<Receipt, Fault> {
        match call.operation {
            "daily_register" => self.daily_register(&call).await,
            other => Err(unknown(other)),
        }
    }

    fn ledger_effect(&self, call: &Call<'_>) -> Result<LedgerEffect, Fault> {
        match call.operation {
            "register" => self.register(call),
            "annul" => self.annul(call),
            "lookup" => self.lookup(call),
            other => Err(unknown(other)),
        }
    }
}

impl Protocollo {
    fn register(&self, call: &Call<'_>) -> Result<LedgerEffect, Fault> {
        let input: Register = read(call)?;
        input.check().map_err(|why| refused(why.words(), why.code()))?;
        Ok(LedgerEffect::Register(Registration {
            aoo: self.aoo.clone(),
            direction: input.direction,
            subject: input.subject,
            record: call.input.clone(),
        }))
    }

    fn annul(&self, call: &Call<'_>) -> Result<LedgerEffect, Fault> {
        let input: Annul = read(call)?;
        let (number, year) = number(&input.number)?;
        if input.reason.trim().is_empty() {
            return Err(refused("the act or reason of the annulment is missing", "missing_reason"));
        }
        Ok(LedgerEffect::Annul { aoo: self.aoo.clone(), year, number, reason: input.reason })
    }

    fn lookup(&self, call: &Call<'_>) -> Result<LedgerEffect, Fault> {
        let input: Lookup = read(call)?;
        let (number, year) = number(&input.number)?;
        Ok(LedgerEffect::Lookup { aoo: self.aoo.clone(), year, number })
    }
}

fn operation<Input: JsonSchema, Output: JsonSchema>(name: &str) -> Operation {
    Operation {
        name: name.to_owned(),
        input: input_schema::<Input>(),
        output: output_schema::<Output>(),
        effect: EffectKind::Ledger,
        // The ledger's own commit: it makes no call.
        deadline: Duration::from_secs(10),
        settles_within: Duration::ZERO,
        fact_only: false,
    }
}

fn is_aoo(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    (1..=16).contains(&text.len()) && text.chars().all(allowed)
}

/// The words of a serde error may repeat a value, which may be a person's: they are not passed on.
fn read<T: DeserializeOwned>(call: &Call<'_>) -> Result<T, Fault> {
    T::deserialize(call.input).map_err(|_| {
        let text = format!("the input of `{}` is not of its shape", call.operation);
        Fault::new(FaultClass::Poison, "SN0771", text)
    })
}

fn number(text: &str) -> Result<(i64, i16), Fault> {
    let words = "a number of the register is written 0001234/2026";
    read_number(text).ok_or_else(|| refused(words, "no_such_number"))
}

fn refused(text: &str, reason: &str) -> Fault {
    Fault::new(FaultClass::Refused, "SN0770", text).with_reason(reason)
}
