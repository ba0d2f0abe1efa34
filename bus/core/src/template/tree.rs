//! jq's syntax tree, as jaq's parser makes it: for the allow-list, native code and types.
//!
//! Invariant: nothing outside the template's folder names jaq itself.

pub(crate) use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Pattern, Term},
    },
    ops::{Cmp, Math},
    path::{Opt, Part, Path},
};
