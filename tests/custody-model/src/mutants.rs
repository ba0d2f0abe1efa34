//! One rule switched off at a time: the mistakes that others have made, and sentences of design.md §8 taken literally.
//!
//! Invariant: without a mutant every rule is on.

macro_rules! mutants {
    ($($id:ident $name:literal $scenario:literal $about:literal;)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mutant { $($id),* }
        /// Mutant, its name, the scenario that it is tried in, what it does.
        pub const ALL: &[(Mutant, &str, &str, &str)] = &[$((Mutant::$id, $name, $scenario, $about)),*];
    };
}

mutants! {
    PublishFirst "publish-before-commit" "fast retry" "emitted deliveries are published before the commit; settles are upserts (design §8)";
    PublishFirstUpserts "publish-before-commit-upserts" "fast retry" "the same, and verdicts and claims are upserts too";
    PublishFirstStray "publish-before-commit-stray" "stray" "the same: an unknown id is taken for an early one";
    SettleNoUpsert "settle-without-upsert" "fast chain" "publish before commit, and the settle is a plain UPDATE";
    MarkNoRound "mark-without-round" "fast retry" "the mark looks at the state only (\"mark, only from queued\")";
    MarkAlways "unconditional-mark" "fast chain" "the mark is written whatever the state";
    SettleNoRound "settle-without-version" "versions" "a fast settle is guarded by the state, not by the copy's round and version";
    EmitAlways "emit-unconditional" "fast retry" "emitted rows are inserted even where the settle matched no row";
    AckFirst "ack-before-commit" "fast chain" "the broker is acknowledged before the row is durable";
    RandomId "random-id" "random ids" "emitted deliveries get a random id";
    SettleBlind "settle-without-guard" "fast retry" "a settle overwrites whatever state the row has";
    NoFence "claim-without-fence" "two: register" "writes of a claim are not guarded by its fence";
    RecallEarly "recall-too-early" "recallable" "recall's no is believed before settles_within";
    RecallZombie "recall-beside-a-zombie" "two: recallable" "recall's no is believed after deadline + settles_within, whether or not the sender is known to have stopped";
    ResolveEarly "resolve-too-early" "once" "a person may say `not done` before settles_within";
    NoIntent "no-intent" "once" "the intent is not committed before the call";
    ClaimNoToken "claim-without-token" "once" "after a lost answer a claim of one's own incarnation is taken for one's own";
    IntentNoFence "intent-without-fence" "once" "after a lost answer any intent in the row is taken for one's own";
    OnceRetried "once-retried" "once" "a once-effect without outcome is tried again";
    DeadTaskKeepsClaim "claim-kept-by-a-dead-task" "register" "a claim whose task has ended in a living process is never given back";
    AgeReconciler "reconcile-by-age" "quiet" "the reconciler republishes what is old";
    NoReconciler "no-reconciler" "queue lost" "nothing looks for lost copies";
    OrderIgnored "order-ignored" "order hold" "a claim does not look for earlier open deliveries of its key";
    OrderBySequence "order-by-sequence" "two: order" "the order number is drawn before the commit (a PostgreSQL sequence)";
    BehindByEvent "wake-by-event" "two: order" "waiting behind is woken by the predecessor's settle only, and written after the look";
    UpsertNoOrder "upsert-without-order" "two: order" "an overwriting target does not compare order numbers";
    ReplayUnpinned "replay-unpinned" "versions, steps" "a replay runs on the newest version whatever steps are done";
    StepByIndex "step-by-index" "step inserted" "the next step is the one at the index of the done count";
    VersionAtDelivery "version-at-delivery" "versions" "the version is looked up when the copy arrives";
    PoisonNoRow "poison-without-row" "innocent" "the poison queue is emptied without a ledger row";
    CrashesForgotten "crashes-in-broker-only" "poison pill" "crashes alone are not counted in the ledger";
    FastAfterCrash "fast-path-after-crash" "poison pill" "after an unclean end the fast path is taken at once again";
    BrokerAttempts "attempts-in-broker" "innocent" "attempts are the broker's delivery count";
    TotalsAbsolute "totals-absolute" "fast relays" "a process writes its own count of the totals";
    AnswerAsFailure "lost-answer-as-failure" "register" "a lost commit answer is treated as not committed";
    AnswerAsFailureCall "lost-answer-calls-again" "once" "the same, where a once-effect follows";
    NumberApart "number-apart" "register" "the register number is taken in a commit of its own";
    NotVoided "not-voided" "fan-out" "a start does not void the claims of earlier incarnations";
    TellFirst "answer-before-commit" "fan-out" "202 before the commit";
    HandOverAtPublish "handed-over-at-publish" "hand over" "a party's delivery is completed when it is published, not when that is confirmed";
    HandOverUnrouted "handed-over-unrouted" "two: hand over" "a confirm hands over, also one for a publish that only the alternate exchange took";
    HandOverBlind "handed-over-without-guard" "two: hand over" "a confirm hands over whatever the row's state and round";
    NamedForEver "named-for-ever" "two: publisher" "only the incarnation named at the insert ever publishes the row";
    HeldForEver "held-for-ever" "publisher" "a task that ends between commit and publish keeps its hold on the row";
    HeldAfterCommit "held-after-commit" "quiet" "the hold is taken after the commit: the relay of the same process publishes too";
    ExpiryCountsNothing "expiry-counts-nothing" "two: poison pill" "an expired claim counts no crash";
    SlotNotExclusive "slot-not-exclusive" "two: recallable" "a start voids claims of a process that lives";
    DeclareAlive "declared-dead-alive" "two: dead host" "a person declares an incarnation dead that lives";
    NoDeclareDead "no-declare-dead" "two: dead host" "nobody can declare an incarnation dead whose host never comes back";
    GiveBackStopsAll "give-back-stops-all" "two: dead host" "giving back a claim stops the row's intent, whoever wrote it";
    ZombieNeverEnds "zombie-never-ends" "two: dead host" "a task that has lost its claim does not say when it has stopped";
    SettleNoId "settle-without-id" "restored" "a fast settle or verdict finds its row by sequence alone";
    SettleById "settle-by-id-alone" "restored" "the same by id alone: what a forgotten time held runs for the row written anew";
    ClaimNoId "claim-without-id" "restored, effect" "a claim finds its row by sequence alone";
    MarkNoId "mark-without-id" "two: restored" "a mark finds its row by sequence alone";
    HandOverNoId "handed-over-without-id" "two: restored" "the confirm of a party's queue finds its row by sequence alone";
    UnroutedDropped "unrouted-dropped" "queue lost" "the unrouted queue is emptied without a ledger row, no reconciler";
}

pub fn find(name: &str) -> Option<(Mutant, &'static str, &'static str, &'static str)> {
    ALL.iter().copied().find(|m| m.1 == name)
}
