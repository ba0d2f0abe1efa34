//! The rule book: every function is one transaction, its guard is the SQL WHERE. Returns whether a row matched.
//!
//! Invariant: a function changes rows only where its guard holds, and with them their totals.

use crate::model::Custody;
use crate::mutants::Mutant::*;
use crate::scenarios::Def;
use crate::state::*;

/// Three crashes of a delivery that ran alone park it.
const CRASHES: u8 = 3;

impl Custody {
    /// Moves a row and its totals: one commit, by what RETURNING reports.
    pub fn to(&self, s: &mut State, by: Option<usize>, d: Id, st: St) {
        let from = s.rows[d].st;
        if from.terminal() && st != from {
            s.bad |= BAD_TERMINAL;
        }
        let mut delta = Totals::default();
        match from.bucket() {
            Some(b) => delta[b] -= 1,
            None => delta[DELIVERIES] += 1,
        }
        if let Some(b) = st.bucket() {
            delta[b] += 1;
        }
        self.count(s, by, delta);
        s.rows[d].st = st;
    }

    fn count(&self, s: &mut State, by: Option<usize>, delta: Totals) {
        let add = |t: &mut Totals| t.iter_mut().zip(delta).for_each(|(a, b)| *a += b);
        match by {
            Some(p) if self.off(TotalsAbsolute) => {
                add(&mut s.procs[p].cache);
                s.totals = s.procs[p].cache;
            }
            _ => add(&mut s.totals),
        }
    }

    /// Back to the relay: a new round, so that older copies, marks and settles match nothing.
    fn queue(&self, s: &mut State, by: Option<usize>, d: Id) {
        self.to(s, by, d, St::Queued);
        s.rows[d].round += 1;
        s.rows[d].fence += 1;
        s.rows[d].publisher = 0;
    }

    fn insert(&self, s: &mut State, by: Option<usize>, d: Id, st: St, ord: u8) {
        self.to(s, by, d, st);
        s.rows[d].round = 1;
        s.rows[d].version = s.config;
        s.rows[d].ord = ord;
        if let (Some(p), St::Queued, false) = (by, st, self.sc.plain_relay) {
            s.rows[d].publisher = self.incarnation(s, p);
            let held = Held { d, round: 1, dead: false };
            s.procs[p].own.push(held);
            if self.off(HeldAfterCommit) {
                s.procs[p].own.push(held); // once for the relay, which does not see it in time, once for the task
            }
        }
    }

    // ── accept ──────────────────────────────────────────────────────────────────────────────────────────────

    /// INSERT message ON CONFLICT (idempotency key) DO NOTHING; its deliveries; totals; the key's order number.
    pub fn accept(&self, s: &mut State, p: usize, m: usize) -> bool {
        if s.accepted[m] {
            return false;
        }
        s.accepted[m] = true;
        let mut delta = Totals::default();
        delta[RECEIVED] = 1;
        delta[ACCEPTED] = 1;
        self.count(s, Some(p), delta);
        for d in 0..self.sc.defs.len() {
            if self.sc.defs[d].message == Some(m) {
                let ord = match (self.sc.defs[d].ordered, self.off(OrderBySequence)) {
                    (false, _) => 0,
                    (true, true) => s.drawn[m],
                    (true, false) => {
                        s.next_ord += 1;
                        s.next_ord
                    }
                };
                self.insert(s, Some(p), d, St::Queued, ord);
            }
        }
        true
    }

    // ── relay ───────────────────────────────────────────────────────────────────────────────────────────────

    /// UPDATE … SET state = 'published' WHERE id = ? AND state = 'queued' AND round = ?
    pub fn mark(&self, s: &mut State, p: usize, d: Id, round: u8) -> bool {
        let r = &s.rows[d];
        let guard = if self.off(MarkAlways) {
            r.st != St::Absent
        } else {
            r.st == St::Queued && (r.round == round || self.off(MarkNoRound))
        };
        if guard {
            self.to(s, Some(p), d, St::Published);
        }
        guard
    }

    /// WHERE state = 'queued' AND publisher = me OR the named one is void OR the row is 5 s old (then: publisher 0).
    pub fn may_publish(&self, s: &State, p: usize, d: Id) -> bool {
        let r = &s.rows[d];
        if let Some(h) = s.procs[p].own.iter().find(|h| h.d == d && h.round == r.round) {
            return !h.dead;
        }
        r.publisher == 0 || r.publisher == self.incarnation(s, p) || self.publisher_void(s, d)
    }

    pub fn publisher_void(&self, s: &State, d: Id) -> bool {
        let q = (s.rows[d].publisher / 64) as usize;
        s.procs[q].up && s.rows[d].publisher < self.incarnation(s, q) && !self.off(NamedForEver)
    }

    /// A confirm from a party's queue: WHERE state = 'queued' AND round = ?
    pub fn hand_over(&self, s: &mut State, p: usize, d: Id, round: u8) -> bool {
        let r = &s.rows[d];
        let guard = r.st == St::Queued && r.round == round || self.off(HandOverBlind);
        if guard {
            self.to(s, Some(p), d, St::Completed);
        }
        guard
    }

    /// No queue took the publish: retry at T or park, under the same guard.
    pub fn returned(&self, s: &mut State, p: usize, d: Id, round: u8) -> bool {
        let r = &s.rows[d];
        let guard = r.st == St::Queued && r.round == round;
        if guard {
            s.rows[d].attempts += 1;
            s.rows[d].faults += 1;
            let park = s.rows[d].attempts >= self.sc.max_attempts;
            self.to(s, Some(p), d, if park { St::Parked } else { St::Waiting });
        }
        guard
    }

    // ── fast path ───────────────────────────────────────────────────────────────────────────────────────────

    /// WHERE id = ? AND state IN ('queued', 'published') AND round = ? AND version = ?
    fn fast_guard(&self, s: &State, t: &Task) -> bool {
        let r = &s.rows[t.copy.d];
        let same =
            r.round == t.copy.round && (r.version == t.copy.version || self.off(VersionAtDelivery));
        r.st != St::Absent
            && (self.off(SettleBlind)
                || matches!(r.st, St::Queued | St::Published) && (same || self.off(SettleNoRound)))
    }

    /// Settle and, for the rows that the settle matched, the emitted messages with their deliveries.
    pub fn fast_settle(&self, s: &mut State, ti: usize) {
        let t = s.tasks[ti];
        if t.copy.seq != t.copy.d {
            return self.forgotten(s, ti, SettleNoId);
        }
        let (d, version) = (t.copy.d, t.copy.version);
        let state = if self.publish_first() { St::Published } else { St::Queued };
        if s.rows[d].st == St::Absent && self.upserts() {
            self.insert(s, Some(t.p), d, St::Completed, 0); // the upsert of design §8
            s.rows[d].version = version;
        } else if s.rows[d].st == St::Absent {
            s.stray += 1;
        } else if self.fast_guard(s, &t) {
            self.check_version(s, d, version);
            self.to(s, Some(t.p), d, St::Completed);
            self.emit(s, t.p, d, version, state);
        } else if self.off(EmitAlways) || self.off(RandomId) {
            self.emit(s, t.p, d, version, state);
        }
        s.tasks[ti].phase = Phase::Settled;
    }

    /// INSERT … ON CONFLICT (derived id) DO NOTHING: never overwrites.
    fn emit(&self, s: &mut State, p: usize, cause: Id, version: u8, state: St) {
        let mut again = false;
        for d in 0..self.sc.defs.len() {
            let def = &self.sc.defs[d];
            if !def.cause.is_some_and(|(c, mask)| c == cause && mask & version != 0) {
                continue;
            }
            if def.spare && !(self.off(RandomId) && again) {
                continue;
            }
            if s.rows[d].st == St::Absent {
                self.insert(s, Some(p), d, state, 0);
            } else {
                again = true;
            }
        }
    }

    /// A fast delivery failed: retry at T or park, under the same guard.
    pub fn fast_fault(&self, s: &mut State, ti: usize) {
        let t = s.tasks[ti];
        if t.copy.seq != t.copy.d {
            return self.forgotten(s, ti, SettleNoId);
        }
        if s.rows[t.copy.d].st == St::Absent && self.off(PublishFirstUpserts) {
            self.insert(s, Some(t.p), t.copy.d, St::Published, 0);
            s.rows[t.copy.d].version = t.copy.version;
        } else if s.rows[t.copy.d].st == St::Absent {
            s.stray += 1;
        }
        if self.fast_guard(s, &t) {
            self.fail(s, &t, true);
        }
        s.tasks[ti].phase = Phase::Settled;
    }

    /// A copy whose sequence and id no row has: it is kept as a stray, whatever other row has the one or the other.
    fn forgotten(&self, s: &mut State, ti: usize, by_sequence: crate::mutants::Mutant) {
        let t = s.tasks[ti];
        let named = match (self.off(by_sequence), self.off(SettleById)) {
            (true, _) => Some(t.copy.seq),
            (false, true) => Some(t.copy.d),
            (false, false) => None,
        };
        let owes = |d: &Id| {
            let r = &s.rows[*d];
            matches!(r.st, St::Queued | St::Published) && r.round == t.copy.round
        };
        match named.filter(owes) {
            Some(d) => {
                s.bad |= BAD_KNOWN; // the row ends by what another message said
                self.to(s, Some(t.p), d, St::Completed);
            }
            None => s.stray += 1,
        }
        s.tasks[ti].phase = Phase::Settled;
    }

    /// The confirm of a copy that a restored ledger has forgotten.
    pub fn confirm_forgotten(&self, s: &mut State, p: usize, seq: Id, round: u8) {
        if self.sc.defs[seq].party && self.off(HandOverNoId) {
            self.hand_over(s, p, seq, round);
        } else if !self.sc.defs[seq].party && self.off(MarkNoId) {
            self.mark(s, p, seq, round);
        }
    }

    // ── claim and steps ─────────────────────────────────────────────────────────────────────────────────────

    /// What runs alone shares its process with no other claim.
    pub fn alone(&self, s: &State, ti: usize) -> bool {
        let t = s.tasks[ti];
        let busy = |o: &&Task| {
            o.p == t.p && **o != t && !matches!(o.phase, Phase::Arrived | Phase::Settled)
        };
        let suspect = |o: &Task| s.rows[o.copy.d].crashes > 0 || s.rows[o.copy.d].suspect;
        !s.tasks.iter().filter(busy).any(|o| suspect(o) || suspect(&t))
    }

    /// UPDATE … SET claimed, fence = fence + 1, incarnation, lease
    /// WHERE state IN ('queued', 'published') AND round = ?, or 'behind' where an earlier one of its key is open.
    pub fn claim(&self, s: &mut State, ti: usize) {
        let t = s.tasks[ti];
        if t.copy.seq != t.copy.d {
            return self.forgotten(s, ti, ClaimNoId);
        }
        let d = t.copy.d;
        if s.rows[d].st == St::Absent && self.off(PublishFirstUpserts) {
            self.insert(s, Some(t.p), d, St::Published, 0);
            s.rows[d].version = t.copy.version;
        } else if s.rows[d].st == St::Absent {
            s.stray += 1;
        }
        let r = &s.rows[d];
        if !matches!(r.st, St::Queued | St::Published) || r.round != t.copy.round {
            s.tasks[ti].phase = Phase::Settled;
            return;
        }
        if self.earlier_open(s, d) && !self.off(OrderIgnored) {
            if self.off(BehindByEvent) {
                s.tasks[ti].phase = Phase::SawEarlier;
            } else {
                self.to(s, Some(t.p), d, St::Behind);
                s.tasks[ti].phase = Phase::Settled;
            }
            return;
        }
        let ord = s.rows[d].ord;
        for e in s
            .rows
            .iter_mut()
            .filter(|e| e.ord > 0 && e.ord < ord && matches!(e.st, St::Parked | St::Uncertain))
        {
            e.passed = true;
        }
        self.to(s, Some(t.p), d, St::Claimed);
        let inc = self.incarnation(s, t.p);
        let config = s.config;
        let next = self.next_step(d, &s.rows[d]);
        let r = &mut s.rows[d];
        r.fence += 1;
        r.inc = inc;
        let task = &mut s.tasks[ti];
        (task.phase, task.fence, task.step) = (Phase::Claimed, r.fence, next);
        task.copy.version = if self.off(VersionAtDelivery) { config } else { r.version };
    }

    /// EXISTS (an open delivery of the same key with a lower order number; parked and uncertain too, with `hold`).
    pub fn earlier_open(&self, s: &State, d: Id) -> bool {
        let ord = s.rows[d].ord;
        ord > 0
            && s.rows.iter().any(|e| {
                let waits = matches!(e.st, St::Parked | St::Uncertain);
                e.ord > 0 && e.ord < ord && (e.st.open() || waits && !self.sc.skip)
            })
    }

    /// WHERE fence = mine AND state = 'claimed'
    pub fn held(&self, s: &State, t: &Task) -> bool {
        let r = &s.rows[t.copy.d];
        r.st == St::Claimed && (r.fence == t.fence || self.off(NoFence))
    }

    pub fn write_intent(&self, s: &mut State, ti: usize) {
        let t = s.tasks[ti];
        if !self.held(s, &t) {
            s.tasks[ti].phase = Phase::Settled;
            return;
        }
        if !self.off(NoIntent) {
            s.rows[t.copy.d].intent =
                Some(Intent { age: Age::MaySend, inc: self.incarnation(s, t.p), fence: t.fence });
        }
        s.tasks[ti].phase = Phase::Intended;
    }

    /// The step is done (with the last one, the delivery): one commit, guarded by the fence.
    pub fn step_done(&self, s: &mut State, ti: usize, number: bool) {
        let t = s.tasks[ti];
        let d = t.copy.d;
        if !self.held(s, &t) {
            s.tasks[ti].phase = Phase::Settled;
            return;
        }
        self.check_version(s, d, t.copy.version);
        if number {
            s.counter += !self.off(NumberApart) as u8;
            s.rows[d].number = s.counter;
            s.issued.push((d, s.counter));
        }
        s.rows[d].intent = None;
        self.step_row(s, d, t.step);
        s.tasks[ti].step = self.next_step(d, &s.rows[d]);
        if s.tasks[ti].step == NO_STEP {
            self.takes_effect(s, d);
            self.to(s, Some(t.p), d, St::Completed);
            self.emit(s, t.p, d, t.copy.version, St::Queued);
            s.tasks[ti].phase = Phase::Settled;
            self.wake_by_event(s, t.p);
        } else {
            s.tasks[ti].phase = Phase::Claimed;
        }
    }

    /// The steps of a version, in its order, by id.
    pub fn plan(&self, d: Id, version: u8) -> &'static [u8] {
        let def: &Def = &self.sc.defs[d];
        match def.plans[(version == 2) as usize] {
            [] => &[0, 1, 2][..def.steps.len()],
            plan => plan,
        }
    }

    /// The first step of the pinned version, by id, that has no step_done row.
    fn next_step(&self, d: Id, r: &Row) -> u8 {
        let plan = self.plan(d, r.version);
        let by_index = || plan.get(r.step as usize).copied();
        let by_id = || plan.iter().copied().find(|id| r.done & 1 << id == 0);
        if self.off(StepByIndex) { by_index() } else { by_id() }.unwrap_or(NO_STEP)
    }

    fn step_row(&self, s: &mut State, d: Id, step: u8) {
        if step != NO_STEP {
            s.rows[d].step += 1;
            s.rows[d].done |= 1 << step;
        }
    }

    /// decide: retry at T, park or uncertain; guarded by the fence.
    pub fn verdict(&self, s: &mut State, ti: usize, outage: bool) {
        let t = s.tasks[ti];
        let (d, by) = (t.copy.d, Some(t.p));
        s.tasks[ti].phase = Phase::Settled;
        if t.phase == Phase::SawEarlier {
            if matches!(s.rows[d].st, St::Queued | St::Published) && s.rows[d].round == t.copy.round
            {
                self.to(s, by, d, St::Behind);
            }
            return;
        }
        if !self.held(s, &t) {
            return;
        }
        let kind = self.sc.defs[d].steps[t.step as usize];
        match t.phase {
            Phase::RepliedNo if outage => {
                s.rows[d].intent = None;
                self.to(s, by, d, St::Waiting);
            }
            Phase::RepliedNo => {
                s.rows[d].intent = None;
                self.fail(s, &t, true);
            }
            Phase::TimedOut if kind == Kind::Once && !self.off(OnceRetried) => {
                self.sender_stopped(s, d);
                self.to(s, by, d, St::Uncertain);
            }
            Phase::TimedOut => {
                self.sender_stopped(s, d);
                if self.off(OnceRetried) {
                    s.rows[d].intent = None;
                }
                self.fail(s, &t, true);
            }
            Phase::Unsure
                if kind == Kind::Recallable
                    && s.rows[d].intent.is_some_and(|i| i.age != Age::MaySend) =>
            {
                self.to(s, by, d, St::Waiting); // until settles_within has passed; no attempt is burnt
            }
            _ => self.to(s, by, d, St::Uncertain),
        }
    }

    fn fail(&self, s: &mut State, t: &Task, own: bool) {
        let r = &mut s.rows[t.copy.d];
        r.attempts += 1;
        r.faults += own as u8;
        let attempts = if self.off(BrokerAttempts) { t.copy.count } else { r.attempts };
        let st = if attempts >= self.sc.max_attempts { St::Parked } else { St::Waiting };
        if st == St::Parked && r.faults < self.sc.max_attempts {
            s.bad |= BAD_PARK;
        }
        self.to(s, Some(t.p), t.copy.d, st);
    }

    /// The sender's own verdict, or the start that voids it: from now on `settles_within` counts.
    fn sender_stopped(&self, s: &mut State, d: Id) {
        if let Some(i) = &mut s.rows[d].intent
            && i.age == Age::MaySend
        {
            i.age = Age::Stopped;
        }
    }

    /// After a commit whose answer was lost: what does the row say?
    pub fn read_back(&self, s: &mut State, ti: usize) {
        let t = s.tasks[ti];
        if t.copy.seq != t.copy.d {
            s.tasks[ti].phase = Phase::Settled; // it is a stray, and that is committed
            return;
        }
        let r = &s.rows[t.copy.d];
        let token = t.fence == r.fence || self.off(ClaimNoToken);
        let next = self.next_step(t.copy.d, r);
        let task = &mut s.tasks[ti];
        if r.st == St::Claimed && r.inc == self.incarnation_of(&s.procs, t.p) && token {
            let mine = |i: Intent| i.fence == r.fence || self.off(IntentNoFence);
            let wrote_intent = r.intent.is_some_and(mine) && t.step == next;
            (task.fence, task.step) = (r.fence, next);
            task.phase = if wrote_intent { Phase::Intended } else { Phase::Claimed };
            task.copy.version = r.version;
        } else if matches!(r.st, St::Queued | St::Published) && r.round == t.copy.round {
            task.phase = Phase::Arrived;
        } else {
            task.phase = Phase::Settled;
        }
    }

    // ── what runs beside the deliveries ─────────────────────────────────────────────────────────────────────

    /// A start voids the claims of earlier incarnations of its slot (SQLite: of everyone).
    pub fn void_earlier(&self, s: &mut State, p: usize) {
        if self.off(NotVoided) {
            return;
        }
        let now = self.incarnation_of(&s.procs, p);
        let dead = |inc: u8| {
            inc / 64 == p as u8 && inc < now || self.off(SlotNotExclusive) && inc > 0 && inc != now
        };
        let voided: Vec<Id> = (0..s.rows.len())
            .filter(|&d| s.rows[d].st == St::Claimed && dead(s.rows[d].inc))
            .collect();
        let stopped: Vec<Id> =
            (0..s.rows.len()).filter(|&d| s.rows[d].intent.is_some_and(|i| dead(i.inc))).collect();
        stopped.into_iter().for_each(|d| self.sender_stopped(s, d));
        voided.into_iter().for_each(|d| self.crashed(s, Some(p), d));
    }

    fn crashed(&self, s: &mut State, by: Option<usize>, d: Id) {
        s.rows[d].crashes += !self.off(CrashesForgotten) as u8;
        if s.rows[d].crashes >= CRASHES {
            s.rows[d].fence += 1;
            self.to(s, by, d, St::Parked);
            // where nothing is a pill, three crashes and lapsed leases are its own by the rule
            s.bad |=
                BAD_PARK * (!self.sc.defs[d].pill && self.sc.defs.iter().any(|o| o.pill)) as u16;
        } else {
            self.queue(s, by, d);
        }
    }

    /// The lease ran out. `gone`: the process knows that its own task has ended, and so what this claim intended;
    /// an intent of an earlier claim may belong to a sender that lives.
    pub fn expire(&self, s: &mut State, d: Id, gone: bool) {
        let r = &s.rows[d];
        if gone && (r.intent.is_some_and(|i| i.fence == r.fence) || self.off(GiveBackStopsAll)) {
            self.sender_stopped(s, d);
        }
        if gone || self.off(ExpiryCountsNothing) {
            self.queue(s, None, d);
        } else {
            self.crashed(s, None, d);
        }
    }

    /// A person knows that every earlier incarnation of a slot is dead: their calls have stopped.
    pub fn declare_dead(&self, s: &mut State, p: usize) -> bool {
        let dead = |inc: u8| {
            inc > 0
                && inc / 64 == p as u8
                && (inc < self.incarnation_of(&s.procs, p) || self.off(DeclareAlive))
        };
        let stopped: Vec<Id> = (0..s.rows.len())
            .filter(|&d| s.rows[d].intent.is_some_and(|i| i.age == Age::MaySend && dead(i.inc)))
            .collect();
        let any = !stopped.is_empty() && !self.off(NoDeclareDead);
        if any {
            stopped.into_iter().for_each(|d| self.sender_stopped(s, d));
        }
        any
    }

    /// A task of a living process has ended without its claim: UPDATE intent SET stopped_at WHERE fence = mine.
    pub fn orphan(&self, s: &mut State, d: Id) -> bool {
        let Some(i) = s.rows[d].intent else { return false };
        let p = (i.inc / 64) as usize;
        let alive = i.inc > 0 && s.procs[p].up && i.inc == self.incarnation(s, p);
        let worked = s.tasks.iter().any(|t| {
            t.p == p
                && t.copy.d == d
                && (t.fence == i.fence && t.phase != Phase::Settled || t.phase == Phase::Unclear)
        });
        let claimed = s.rows[d].st == St::Claimed && s.rows[d].fence == i.fence; // that is a give back
        let guard =
            i.age == Age::MaySend && alive && !worked && !claimed && !self.off(ZombieNeverEnds);
        if guard {
            self.sender_stopped(s, d);
        }
        guard
    }

    /// Waiting and T has come; with an open intent T is not before `settles_within`.
    pub fn due(&self, s: &mut State, d: Id) -> bool {
        let r = &s.rows[d];
        let settled = r.intent.is_none_or(|i| i.age == Age::Settled) || self.off(RecallEarly);
        let guard = r.st == St::Waiting && settled;
        if guard {
            self.queue(s, None, d);
        }
        guard
    }

    /// Level-triggered: whatever waits behind and has no earlier open delivery any more.
    pub fn wake(&self, s: &mut State, d: Id) -> bool {
        let guard =
            s.rows[d].st == St::Behind && !self.earlier_open(s, d) && !self.off(BehindByEvent);
        if guard {
            self.queue(s, None, d);
        }
        guard
    }

    fn wake_by_event(&self, s: &mut State, p: usize) {
        for d in 0..s.rows.len() {
            if self.off(BehindByEvent) && s.rows[d].st == St::Behind && !self.earlier_open(s, d) {
                self.queue(s, Some(p), d);
            }
        }
    }

    pub fn reconcile(&self, s: &mut State, d: Id) -> bool {
        let guard = s.rows[d].st == St::Published;
        if guard {
            self.queue(s, None, d);
        }
        guard
    }

    /// What the unrouted and the poison queue hold goes back into the ledger, before its ack.
    pub fn drain(&self, s: &mut State, c: Copied) {
        let r = &s.rows[c.d];
        if r.st == St::Absent || c.seq != c.d {
            s.stray += 1;
        } else if matches!(r.st, St::Queued | St::Published) && r.round == c.round {
            match c.place {
                Place::Unrouted if !self.off(UnroutedDropped) => self.to(s, None, c.d, St::Waiting),
                Place::Poison if !self.off(PoisonNoRow) => {
                    s.rows[c.d].suspect = true;
                    self.queue(s, None, c.d);
                }
                _ => {}
            }
        }
    }

    // ── a person ────────────────────────────────────────────────────────────────────────────────────────────

    pub fn replay(&self, s: &mut State, d: Id, newest: bool) -> bool {
        let config = s.config;
        let r = &mut s.rows[d];
        let other = newest && r.version != config;
        let changed = self.sc.defs[d].plans[1].is_empty(); // else every done step is there with the same operation
        if r.st != St::Parked
            || newest && !other
            || other && r.step > 0 && changed && !self.off(ReplayUnpinned)
        {
            return false;
        }
        if other {
            if r.step > 0 && changed {
                s.bad |= BAD_VERSION; // v2's first step uses another operation
            }
            r.version = config;
        }
        (r.attempts, r.crashes, r.suspect, r.faults) = (0, 0, false, 0);
        self.queue(s, None, d);
        true
    }

    pub fn discard(&self, s: &mut State, d: Id) -> bool {
        let guard = s.rows[d].st == St::Parked;
        if guard {
            self.to(s, None, d, St::Discarded);
            self.wake_by_event(s, 0);
        }
        guard
    }

    /// The person has looked at the far side: `done` needs to be true, `not done` must stay true.
    pub fn resolve(&self, s: &mut State, d: Id, done: bool) -> bool {
        let r = &s.rows[d];
        let next = self.next_step(d, r);
        if r.st != St::Uncertain || done != (s.far[d].applied[next as usize] > 0) {
            return false;
        }
        let settled = r.intent.is_none_or(|i| i.age == Age::Settled);
        if !done && !settled && !self.off(ResolveEarly) {
            return false;
        }
        s.rows[d].intent = None;
        if done {
            self.step_row(s, d, next);
        }
        if self.next_step(d, &s.rows[d]) == NO_STEP {
            s.rows[d].fence += 1;
            self.to(s, None, d, St::Completed);
        } else {
            self.queue(s, None, d);
        }
        true
    }

    // ── what the invariants remember ────────────────────────────────────────────────────────────────────────

    fn check_version(&self, s: &mut State, d: Id, ran: u8) {
        if s.rows[d].version != ran {
            s.bad |= BAD_VERSION;
        }
    }

    pub fn takes_effect(&self, s: &mut State, d: Id) {
        let r = &s.rows[d];
        if r.ord > 0 {
            if r.ord < s.last_ord && !r.passed && r.st != St::Discarded {
                s.bad |= BAD_ORDER;
            }
            s.last_ord = s.last_ord.max(r.ord);
        }
    }
}
