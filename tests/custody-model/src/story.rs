//! Turns a path into a numbered story in plain words.
//!
//! Invariant: one line per action, and what it changed.

use crate::model::{Act, Commit, Custody};
use crate::state::*;
use stateright::Path;

pub fn tell(m: &Custody, broken: &str, path: Path<State, Act>) -> String {
    let steps: Vec<(State, Option<Act>)> = path.into_vec();
    let mut out = String::new();
    for (i, pair) in steps.windows(2).enumerate() {
        let (before, after) = (&pair[0].0, &pair[1].0);
        let act = pair[0].1.expect("every step but the last has an action");
        out += &format!("{:>3}. {}{}\n", i + 1, line(m, before, act), changes(m, before, after));
    }
    let last = &steps.last().expect("a path has a state").0;
    if broken.starts_with("nothing lost") {
        let mut end = last.clone();
        end.budget = [0; crate::scenarios::FAULTS];
        for _ in 0..300 {
            match m.fair_step(&end) {
                Some(next) => end = next,
                None => break,
            }
        }
        let rows: Vec<_> = (0..end.rows.len())
            .map(|d| format!("{} is {:?}", m.sc.defs[d].name, end.rows[d].st))
            .collect();
        out += &format!("     without further faults it ends so: {}\n", rows.join(", "));
    }
    out + &format!(
        "     BROKEN: {broken}; totals {:?}, far side {:?}",
        last.totals,
        last.far.iter().map(|f| f.applied).collect::<Vec<_>>()
    )
}

fn changes(m: &Custody, a: &State, b: &State) -> String {
    let mut out = Vec::new();
    for d in 0..a.rows.len() {
        let (x, y) = (&a.rows[d], &b.rows[d]);
        if x.st != y.st || x.round != y.round {
            out.push(format!("{} {:?} → {:?} round {}", m.sc.defs[d].name, x.st, y.st, y.round));
        }
        if x.intent != y.intent {
            out.push(format!(
                "{} intent {}",
                m.sc.defs[d].name,
                y.intent.map_or("none".into(), |i| format!("{:?}", i.age))
            ));
        }
        if y.number != x.number {
            out.push(format!("{} number {}", m.sc.defs[d].name, y.number));
        }
    }
    if out.is_empty() { String::new() } else { format!("   [{}]", out.join("; ")) }
}

fn line(m: &Custody, s: &State, a: Act) -> String {
    let name = |d: Id| m.sc.defs[d].name;
    let proc = |p: usize| (b'A' + p as u8) as char;
    let task = |ti: usize| {
        let t = &s.tasks[ti];
        format!(
            "process {}, {} (copy of round {}{})",
            proc(t.p),
            name(t.copy.d),
            t.copy.round,
            if t.tagged { "" } else { ", tag lost" }
        )
    };
    let end = |c: Commit| if c == Commit::AnswerLost { " (committed, answer lost)" } else { "" };
    match a {
        Act::Draw(i) => format!("message {i} draws its order number, not yet committed"),
        Act::Tell(i) => format!("the sender of message {i} is told 202"),
        Act::Accept(i, c) => format!("accept message {i}{}", end(c)),
        Act::Publish(p, d, place) => format!(
            "process {} publishes {}{}",
            proc(p),
            name(d),
            if place == Place::Unrouted { ": unrouted" } else { "" }
        ),
        Act::Mark(p, i) => {
            let (d, r) = s.procs[p].sent[i];
            format!("process {} gets the confirm of {} round {r} and marks", proc(p), name(d))
        }
        Act::ForgetConfirm(p, i) => {
            format!("process {} loses the confirm of {}", proc(p), name(s.procs[p].sent[i].0))
        }
        Act::Take(p, w) => format!(
            "process {} receives {} (round {}, count {})",
            proc(p),
            name(s.wire[w].d),
            s.wire[w].round,
            s.wire[w].count
        ),
        Act::Kill(ti) => format!("{}: processing kills the process", task(ti)),
        Act::EmitEarly(ti) => format!("{}: maps and publishes what it emits", task(ti)),
        Act::Settle(ti, c) => format!("{}: commits its settle{}", task(ti), end(c)),
        Act::Break(ti) => format!("{}: fails, verdict committed", task(ti)),
        Act::Claim(ti, c) => format!("{}: claims{}", task(ti), end(c)),
        Act::Work(ti, c) => format!(
            "{}: step {} commits ({:?}){}",
            task(ti),
            s.tasks[ti].step,
            s.tasks[ti].phase,
            end(c)
        ),
        Act::Send(ti) => format!("{}: the call goes out", task(ti)),
        Act::Recall(ti) => format!("{}: asks the far side (recall)", task(ti)),
        Act::Verdict(ti, c, out) => format!(
            "{}: verdict after {:?}{}{}",
            task(ti),
            s.tasks[ti].phase,
            if out { ", outage" } else { "" },
            end(c)
        ),
        Act::TimeOut(ti) => format!("{}: the call times out", task(ti)),
        Act::ReadBack(ti) => format!("{}: reads the row back", task(ti)),
        Act::Ack(ti) => format!("{}: acknowledged", task(ti)),
        Act::Drop(ti) => {
            format!("{}: the commit fails or the task panics, the copy returns", task(ti))
        }
        Act::FarActs(d, i) => {
            format!("the far side acts for {} (call of fence {})", name(d), s.far[d].calls[i].fence)
        }
        Act::FarReplies(d, _) => format!("the far side's answer for {} arrives", name(d)),
        Act::FarRefuses(d, _) => format!("the far side refuses {}", name(d)),
        Act::FarSettles(d) => format!("time passes for the intent of {}", name(d)),
        Act::Due(d) => format!("T has come for {}", name(d)),
        Act::Wake(d) => format!("{} has no earlier open delivery any more", name(d)),
        Act::Abandoned(d) => format!("the claim of {} is given back: its task has ended", name(d)),
        Act::LeaseExpires(d) => format!("the lease of {} expires while its process lives", name(d)),
        Act::Reconcile(d) => format!("the reconciler republishes {}", name(d)),
        Act::FalseAlarm(d) => format!("the reconciler wrongly republishes {}", name(d)),
        Act::Drain(w, acked) => format!(
            "{:?} copy of {} is drained{}",
            s.wire[w].place,
            name(s.wire[w].d),
            if acked { "" } else { ", its ack is lost" }
        ),
        Act::Crash(p) => format!("process {} crashes", proc(p)),
        Act::Restart(p) => format!("process {} starts again", proc(p)),
        Act::ConnLost(p) => format!("process {} loses its broker connection", proc(p)),
        Act::QueueLost(d) => format!("the queue of {} is lost with its content", name(d)),
        Act::Shutdown(ti) => format!("{}: returned unstarted at shutdown", task(ti)),
        Act::Foreign(d) => format!("a copy of unknown id ({}) arrives in a queue", name(d)),
        Act::Forgotten(i) => {
            let (d, seq) = m.sc.forgotten[i];
            format!("a forgotten copy of {} arrives, with the sequence of {}", name(d), name(seq))
        }
        Act::ForgottenSent(p, i) => {
            let (_, seq) = m.sc.forgotten[i];
            format!(
                "process {} has sent what a failover forgot; {} has its sequence now",
                proc(p),
                name(seq)
            )
        }
        Act::ConfirmForgotten(p, i) => {
            let (seq, round) = s.procs[p].forgotten[i];
            format!(
                "process {} gets the confirm of it (sequence of {}, round {round})",
                proc(p),
                name(seq)
            )
        }
        Act::Reload => "routes are reloaded: v2".into(),
        Act::Replay(d, newest) => format!(
            "a person replays {}{}",
            name(d),
            if newest { " on the newest version" } else { "" }
        ),
        Act::Discard(d) => format!("a person discards {}", name(d)),
        Act::Stores(w) => {
            format!("the broker has stored {} in the party's queue and confirms", name(s.wire[w].d))
        }
        Act::FlightLost(w) => {
            format!("the publish of {} is lost before the broker has it", name(s.wire[w].d))
        }
        Act::PartyTakes(w) => format!("the party takes {}", name(s.wire[w].d)),
        Act::PublisherEnds(p, i) => format!(
            "process {}: the task that was to publish {} ends",
            proc(p),
            name(s.procs[p].own[i].d)
        ),
        Act::Grace(d, early) => format!(
            "{} is 5 s old{}",
            name(d),
            if early { ", its publisher is only slow" } else { "" }
        ),
        Act::Expire(d) => format!("the lease of {} expires, its process is down", name(d)),
        Act::HostDies(p) => format!("the host of process {} dies for good", proc(p)),
        Act::DeclareDead(p) => format!("a person declares process {} dead", proc(p)),
        Act::Orphan(d) => format!(
            "the task that wrote the intent of {} has ended without its claim: stopped",
            name(d)
        ),
        Act::Resolve(d, done) => {
            format!("a person resolves {} as {}", name(d), if done { "done" } else { "not done" })
        }
    }
}
