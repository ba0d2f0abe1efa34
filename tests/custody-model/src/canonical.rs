//! Makes states equal that differ only in names and leftovers, so that the exploration stays small.
//!
//! Invariant: a state and its canonical form have the same future.

use crate::model::Custody;
use crate::mutants::Mutant::*;
use crate::state::*;

impl Custody {
    /// Makes states equal that differ in nothing that matters: the order of copies, what a terminal row no longer
    /// needs, confirms whose mark matches nothing, tasks with nothing left to do.
    pub fn canonical(&self, s: &mut State) {
        let marks_matter = matches!(self.mutant, Some(MarkNoRound | MarkAlways | HandOverBlind));
        for p in &mut s.procs {
            p.sent.retain(|(d, round)| {
                marks_matter || s.rows[*d].st == St::Queued && s.rows[*d].round == *round
            });
            p.sent.sort_unstable();
            p.forgotten
                .retain(|(d, round)| s.rows[*d].st == St::Queued && s.rows[*d].round == *round);
            p.forgotten.sort_unstable();
            p.own.retain(|h| s.rows[h.d].st == St::Queued && s.rows[h.d].round == h.round);
            p.own.sort_unstable();
        }
        let State { wire, procs, .. } = s;
        wire.retain(|c| match c.place {
            Place::Returned(p) => procs[p as usize].sent.contains(&(c.d, c.round)), // else: nobody waits for it
            _ => true,
        });
        for d in 0..s.rows.len() {
            let named = s.rows[d].st == St::Queued && s.rows[d].publisher > 0;
            if !named || self.publisher_void(s, d) {
                s.rows[d].publisher = 0;
            }
        }
        s.tasks.retain(|t| t.phase != Phase::Settled || t.tagged);
        for r in s.rows.iter_mut().filter(|r| r.st.terminal()) {
            (r.round, r.fence, r.inc, r.attempts, r.crashes, r.faults) = (0, 0, 0, 0, 0, 0);
            r.suspect = false;
        }
        let rows = &s.rows;
        let forget = |c: &mut Copied| {
            if rows[c.d].st.terminal() && c.place == Place::Ready && c.seq == c.d {
                (c.round, c.alone) = (0, false);
                c.count = c.count.min(1);
            }
        };
        s.wire.iter_mut().for_each(forget);
        for t in s.tasks.iter_mut() {
            forget(&mut t.copy);
            if t.phase == Phase::Settled {
                (t.fence, t.step) = (0, 0);
            }
        }
        for (d, f) in s.far.iter_mut().enumerate() {
            let tasks = &s.tasks;
            f.calls.retain(|c| {
                !c.acted
                    || tasks.iter().any(|t| {
                        t.p == c.p
                            && t.copy.d == d
                            && t.fence == c.fence
                            && t.phase == Phase::Calling
                    })
            });
            f.calls.sort_unstable();
        }
        self.renumber(s);
        s.wire.sort_unstable();
        s.tasks.sort_unstable();
        s.far.iter_mut().for_each(|f| f.calls.sort_unstable());
        if self.mutant.is_none() && s.procs.len() == 2 {
            let other = swapped(s);
            if names_key(&other) < names_key(s) {
                *s = other;
            }
        }
    }

    /// Fences and incarnations are compared for equality only: the ones nobody remembers are forgotten.
    fn renumber(&self, s: &mut State) {
        for d in 0..s.rows.len() {
            let claimed = s.rows[d].st == St::Claimed;
            if let Some(i) = &mut s.rows[d].intent
                && !claimed
                && (i.age != Age::MaySend
                    || !s.tasks.iter().any(|t| t.copy.d == d && t.fence == i.fence))
            {
                i.fence = 0;
            }
            let mut seen: Vec<u8> = vec![s.rows[d].fence];
            seen.extend(s.far[d].calls.iter().map(|c| c.fence));
            seen.extend(s.rows[d].intent.map(|i| i.fence));
            seen.extend(s.tasks.iter().filter(|t| t.copy.d == d && t.fence > 0).map(|t| t.fence));
            seen.sort_unstable();
            seen.dedup();
            let zero = (seen[0] != 0) as u8;
            let new = |f: u8| seen.iter().position(|x| *x == f).map_or(0, |i| i as u8 + zero);
            s.rows[d].fence = new(s.rows[d].fence);
            if let Some(i) = &mut s.rows[d].intent {
                i.fence = new(i.fence);
            }
            s.far[d].calls.iter_mut().for_each(|c| c.fence = new(c.fence));
            s.tasks
                .iter_mut()
                .filter(|t| t.copy.d == d && t.fence > 0)
                .for_each(|t| t.fence = new(t.fence));
        }
        for r in &mut s.rows {
            r.inc *= (r.st == St::Claimed) as u8;
            if let Some(i) = &mut r.intent {
                i.inc *= (i.age == Age::MaySend) as u8;
            }
        }
        for p in 0..s.procs.len() {
            let now = self.incarnation(s, p);
            let mine = |inc: u8| inc > 0 && inc / 64 == p as u8;
            let mut seen: Vec<u8> = s
                .rows
                .iter()
                .flat_map(|r| [r.inc, r.publisher, r.intent.map_or(0, |i| i.inc)])
                .filter(|i| mine(*i))
                .collect();
            seen.push(now);
            seen.sort_unstable();
            seen.dedup();
            let new = |inc: u8| {
                p as u8 * 64 + 1 + seen.iter().position(|x| *x == inc).map_or(0, |i| i as u8)
            };
            for r in &mut s.rows {
                if mine(r.inc) {
                    r.inc = new(r.inc);
                }
                if mine(r.publisher) {
                    r.publisher = new(r.publisher);
                }
                if let Some(i) = &mut r.intent
                    && mine(i.inc)
                {
                    i.inc = new(i.inc);
                }
            }
            s.procs[p].inc = new(now) - p as u8 * 64;
        }
    }
}

/// The same state with the two processes' names exchanged.
fn swapped(s: &State) -> State {
    let mut o = s.clone();
    o.procs.swap(0, 1);
    let turn = |inc: u8| if inc == 0 { 0 } else { inc ^ 64 };
    for r in &mut o.rows {
        r.inc = turn(r.inc);
        r.publisher = turn(r.publisher);
        if let Some(i) = &mut r.intent {
            i.inc = turn(i.inc);
        }
    }
    o.tasks.iter_mut().for_each(|t| t.p = 1 - t.p);
    for c in &mut o.wire {
        c.place = match c.place {
            Place::Flight(p) if p != LOOSE => Place::Flight(1 - p),
            Place::Returned(p) => Place::Returned(1 - p),
            other => other,
        };
    }
    o.wire.sort_unstable();
    o.far.iter_mut().for_each(|f| f.calls.iter_mut().for_each(|c| c.p = 1 - c.p));
    o.tasks.sort_unstable();
    o.far.iter_mut().for_each(|f| f.calls.sort_unstable());
    o
}

/// What can differ between a state and its `swapped` twin.
#[expect(clippy::type_complexity, reason = "a key, made and compared in one place")]
fn names_key(
    s: &State,
) -> (
    &[Task],
    &[Copied],
    Vec<(u8, u8, u8)>,
    Vec<(bool, bool, bool, u8, &[(Id, u8)], &[(Id, u8)], &[Held])>,
    Vec<&[Call]>,
) {
    (
        &s.tasks,
        &s.wire,
        s.rows.iter().map(|r| (r.inc, r.publisher, r.intent.map_or(0, |i| i.inc))).collect(),
        s.procs
            .iter()
            .map(|p| (p.up, p.gone, p.wary, p.inc, &p.sent[..], &p.forgotten[..], &p.own[..]))
            .collect(),
        s.far.iter().map(|f| &f.calls[..]).collect(),
    )
}
