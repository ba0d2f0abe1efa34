//! What must hold in every reachable state.
//!
//! Invariant: nothing here changes a state.

use crate::model::Custody;
use crate::scenarios::{FAULTS, Fault};
use crate::state::*;
use stateright::Property;
use std::hash::{DefaultHasher, Hash, Hasher};

pub struct Invariant {
    pub name: &'static str,
    /// Column head in the table.
    pub short: &'static str,
    pub holds: fn(&Custody, &State) -> bool,
}

pub const ALL: &[Invariant] = &[
    Invariant {
        name: "nothing lost: told means accepted, and a fair run ends",
        short: "lost",
        holds: not_stuck,
    },
    Invariant { name: "totals equal a scan", short: "totals", holds: totals },
    Invariant { name: "done once, and done where it says completed", short: "once", holds: once },
    Invariant {
        name: "terminal stays terminal",
        short: "final",
        holds: |_, s| s.bad & BAD_TERMINAL == 0,
    },
    Invariant {
        name: "ack only after the row is durable",
        short: "ack",
        holds: |_, s| s.bad & BAD_ACK == 0,
    },
    Invariant {
        name: "runs under its pinned version",
        short: "pinned",
        holds: |_, s| s.bad & BAD_VERSION == 0,
    },
    Invariant { name: "register numbers gapless, one per step", short: "number", holds: numbers },
    Invariant { name: "order per key", short: "order", holds: |_, s| s.bad & BAD_ORDER == 0 },
    Invariant {
        name: "emitted exactly once per completed cause",
        short: "emitted",
        holds: emitted,
    },
    Invariant {
        name: "parked for a cause of its own",
        short: "cause",
        holds: |_, s| s.bad & BAD_PARK == 0,
    },
    Invariant { name: "only what was accepted is in the ledger", short: "known", holds: known },
    Invariant {
        name: "published means that a copy is on its way",
        short: "carried",
        holds: carried,
    },
    Invariant { name: "one copy while nothing fails", short: "copies", holds: copies },
];

/// One property each; only the first violation is reported, so that its path is the shortest.
pub fn properties() -> Vec<Property<Custody>> {
    macro_rules! list { ($($i:literal)*) => { vec![$(Property::always(ALL[$i].name, first::<$i>)),*] } }
    list![0 1 2 3 4 5 6 7 8 9 10 11 12]
}

fn first<const I: usize>(m: &Custody, s: &State) -> bool {
    let mut broken = m.broken.lock().unwrap();
    if broken[I] || (ALL[I].holds)(m, s) {
        return true;
    }
    broken[I] = true;
    false
}

/// From here on without faults: everything accepted ends terminal, or waits for a person.
fn not_stuck(m: &Custody, s: &State) -> bool {
    let mark = |s: &State| {
        let mut h = DefaultHasher::new();
        s.hash(&mut h);
        h.finish()
    };
    let mut now = s.clone();
    now.budget = [0; FAULTS];
    let mut path = Vec::new();
    for _ in 0..300 {
        let print = mark(&now);
        if m.fine.lock().unwrap().contains(&print) {
            m.fine.lock().unwrap().extend(path);
            return true;
        }
        path.push(print);
        match m.fair_step(&now) {
            Some(next) => now = next,
            None if quiet(m, &now) => {
                m.fine.lock().unwrap().extend(path);
                return true;
            }
            None => return false,
        }
    }
    false
}

fn quiet(m: &Custody, s: &State) -> bool {
    let rests = |d: usize| {
        let r = &s.rows[d];
        // a party has what was handed over to it, unless its own queue was lost after the confirm
        let handed = !m.sc.defs[d].party || s.far[d].seen || s.far[d].lost_there;
        r.st == St::Absent
            || r.st.terminal() && (handed || r.st != St::Completed)
            || r.st == St::Parked
            || r.st == St::Uncertain && !m.sc.hands
            || r.st == St::Behind && m.earlier_open(s, d)
    };
    s.accepted.iter().all(|a| *a)
        && s.tasks.is_empty()
        && s.wire.is_empty()
        && (0..s.rows.len()).all(rests)
}

fn totals(_: &Custody, s: &State) -> bool {
    let mut scan = Totals::default();
    for r in &s.rows {
        if let Some(b) = r.st.bucket() {
            scan[b] += 1;
            scan[DELIVERIES] += 1;
        }
    }
    scan[ACCEPTED] = s.accepted.iter().filter(|a| **a).count() as i8;
    scan[RECEIVED] = scan[ACCEPTED];
    scan == s.totals
}

fn once(m: &Custody, s: &State) -> bool {
    (0..s.rows.len()).all(|d| {
        m.sc.defs[d].steps.iter().enumerate().all(|(i, kind)| {
            let n = s.far[d].applied[i];
            let r = &s.rows[d];
            let owed = r.st == St::Completed && m.plan(d, r.version).contains(&(i as u8));
            let done = (owed || r.done & 1 << i != 0) && *kind != Kind::Ledger;
            n <= 1 && (!done || n == 1)
        })
    })
}

fn numbers(_: &Custody, s: &State) -> bool {
    s.issued.len() == s.counter as usize
        && s.issued.iter().enumerate().all(|(i, (d, n))| {
            *n as usize == i + 1
                && s.rows[*d].number == *n
                && s.issued.iter().filter(|x| x.0 == *d).count() == 1
        })
}

/// Completed causes have what their version emits, each once; nothing is emitted by a cause that has not completed.
fn emitted(m: &Custody, s: &State) -> bool {
    (0..s.rows.len()).all(|d| {
        let Some((cause, mask)) = m.sc.defs[d].cause else { return true };
        let (up, here) = (&s.rows[cause], s.rows[d].st != St::Absent);
        if m.publish_first() {
            // the design's weaker reading: the row may come first, but its cause may not end otherwise
            let due = up.st == St::Completed && mask & up.version != 0 && !m.sc.defs[d].spare;
            return !(here && matches!(up.st, St::Parked | St::Discarded)) && (here || !due);
        }
        here == (up.st == St::Completed && mask & up.version != 0 && !m.sc.defs[d].spare)
    })
}

fn known(m: &Custody, s: &State) -> bool {
    s.bad & BAD_KNOWN == 0
        && (0..s.rows.len()).all(|d| {
            let def = &m.sc.defs[d];
            s.rows[d].st == St::Absent
                || def.cause.is_some()
                || def.message.is_some_and(|i| s.accepted[i])
        })
}

fn copies(m: &Custody, s: &State) -> bool {
    let n = |d: usize| {
        s.wire.iter().filter(|c| c.d == d).count()
            + s.tasks.iter().filter(|t| t.tagged && t.copy.d == d).count()
    };
    m.sc.name != "quiet" || (0..s.rows.len()).all(|d| n(d) <= 1)
}

/// The reconciler is for queues that were lost, and for nothing else.
fn carried(m: &Custody, s: &State) -> bool {
    let lossy = m.sc.faults.iter().any(|f| f.0 == Fault::QueueLost);
    let has_copy = |d: usize, round: u8| {
        let its = |c: &Copied| c.d == d && c.seq == d && c.round == round;
        s.wire.iter().any(its) || s.tasks.iter().any(|t| t.tagged && its(&t.copy))
    };
    lossy
        || (0..s.rows.len()).all(|d| s.rows[d].st != St::Published || has_copy(d, s.rows[d].round))
}
