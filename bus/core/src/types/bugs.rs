//! Mistakes that a trial puts into the rules on purpose, to see that it would find them.
//!
//! Invariant: outside tests none of them is ever there.

/// One of the mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// `.a` of an optional field is never null.
    OptionalIsRequired,
    /// A join keeps the facts of either side.
    JoinKeepsFacts,
    /// `ascii_downcase` keeps format and pattern.
    CaseKeepsFacts,
    /// `else` is narrowed as `then` is.
    ElseKeepsThen,
    /// `select` always gives a value.
    SelectGivesOne,
    /// `//` forgets its right side.
    DefaultIsDropped,
    /// `.[0]` is never null.
    IndexIsThere,
    /// Alternatives of `oneOf` may overlap.
    OneOfIsAnyOf,
    /// A whole number divided by another is whole.
    DivisionIsWhole,
    /// Fields that are not described never have a declared name.
    OthersNeverCollide,
    /// Of `a + b` the left side wins.
    LeftWins,
    /// `add` of an empty list is not null.
    AddIsThere,
    /// `split` always gives something.
    SplitGivesOne,
    /// `unique` keeps the least length.
    UniqueKeepsLength,
    /// A slice keeps the least length.
    SliceKeepsLength,
    /// `a or b` shows both.
    OrShowsBoth,
    /// `a - b` is bounded as `a + b` is.
    DifferenceGrows,
    /// `min` of an empty list is not null.
    MinIsThere,
    /// A need that may be left without a value never is.
    NeedIsThere,
    /// Of what an expression reads of a fact only that it is there is kept.
    PartIsNotKept,
    /// What one branch asks counts as asked behind it.
    BranchAsksForAll,
    /// What a need reads of another one is not asked before it.
    NeedOfNeedIsNotAsked,
    /// A verification is a yes or no.
    UndeterminedIsForgotten,
    /// Who may declare a fact always does.
    DeclaredIsThere,
}

#[cfg(test)]
thread_local! {
    static SEEDED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Runs with a mistake in the rules.
#[cfg(test)]
pub(crate) fn with<T>(bug: Bug, run: impl FnOnce() -> T) -> T {
    SEEDED.set(Some(bug));
    let result = run();
    SEEDED.set(None);
    result
}

/// Whether a mistake is there now.
#[cfg(test)]
pub(crate) fn seeded(bug: Bug) -> bool {
    SEEDED.get() == Some(bug)
}

/// Whether a mistake is there now: never.
#[cfg(not(test))]
pub(crate) const fn seeded(_: Bug) -> bool {
    false
}
