//! The far side: three operations that differ in how they may be repeated. Invariant: it acts once per
//! call, late if at all after its sender has stopped, and never later than it promises.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt as _, future::select};
use serde_json::{Value, json};
use snodo::engine::Deadlines;
use snodo_core::{
    adapter::{Adapter, BoxFuture, Call, OpenError, Opening, Operation, Recalled, Receipt},
    fault::{Fault, FaultClass},
    ids::DeliveryId,
    register::{Direction, LedgerEffect, Registration},
    timestamp::Timestamp,
    verdict::EffectKind,
};
use tokio::sync::oneshot;

/// How long a call may still act after its sender has stopped.
pub const SETTLES_WITHIN: Duration = Duration::from_secs(30);
/// A call must be over by then.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A call that has not been answered.
#[derive(Debug)]
pub struct Waiting {
    /// Whose process made it.
    pub owner: usize,
    /// Names the step.
    pub key: String,
    /// Whose step it is.
    pub delivery: DeliveryId,
    /// Whether that belongs to an order.
    pub ordered: bool,
    /// How it may be repeated.
    pub effect: EffectKind,
    /// Whether it has acted.
    pub acted: bool,
    /// When its sender stopped, once it has.
    pub stopped_at: Option<Timestamp>,
    answer: oneshot::Sender<Result<Receipt, Fault>>,
}

/// A question about an earlier call.
#[derive(Debug)]
pub struct Question {
    /// Names the step.
    pub key: String,
    answer: oneshot::Sender<Result<Recalled, Fault>>,
}

/// What the far side knows.
#[derive(Debug, Default)]
pub struct State {
    /// Calls in flight.
    pub calls: Vec<Waiting>,
    /// Questions in flight.
    pub questions: Vec<Question>,
    /// Deadlines that run: firing one ends the work behind it.
    pub timers: Vec<oneshot::Sender<()>>,
    /// How often each step took effect.
    pub log: BTreeMap<String, u32>,
    /// Deliveries of an order, as their first effects came.
    pub first: Vec<DeliveryId>,
}

/// The far side of every instance.
#[derive(Clone, Default)]
pub struct FarSide(Arc<Mutex<State>>);

impl FarSide {
    /// Its state.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FarSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FarSide")
    }
}

impl State {
    /// A call takes effect: at the second time too, unless the far side deduplicates by step key.
    pub fn act(&mut self, index: usize) {
        let call = &mut self.calls[index];
        call.acted = true;
        let times = self.log.entry(call.key.clone()).or_default();
        if *times == 0 && call.ordered {
            self.first.push(call.delivery);
        }
        *times = if call.effect == EffectKind::Idempotent { 1 } else { *times + 1 };
    }

    /// Answers a call that has acted.
    pub fn reply(&mut self, index: usize) {
        let call = self.calls.remove(index);
        let receipt = receipt(&call.key);
        let _ = call.answer.send(Ok(receipt));
    }

    /// Refuses a call that has not acted.
    pub fn refuse(&mut self, index: usize, class: FaultClass) {
        let call = self.calls.remove(index);
        let _ = call.answer.send(Err(Fault::new(class, "SN0799", "the far side said no")));
    }

    /// Answers a question truthfully.
    pub fn recalled(&mut self, index: usize) {
        let question = self.questions.remove(index);
        let done = self.log.get(&question.key).is_some_and(|times| *times > 0);
        let answer = if done { Recalled::Done(receipt(&question.key)) } else { Recalled::NotDone };
        let _ = question.answer.send(Ok(answer));
    }

    /// Notes whose senders have stopped, and forgets calls that will never act.
    pub fn settle(&mut self, now: Timestamp) {
        for call in &mut self.calls {
            if call.stopped_at.is_none() && call.answer.is_closed() {
                call.stopped_at = Some(now);
            }
        }
        self.questions.retain(|question| !question.answer.is_closed());
        self.timers.retain(|timer| !timer.is_closed());
        self.calls.retain(|call| match call.stopped_at {
            Some(stopped) => !call.acted && now < stopped.after(SETTLES_WITHIN),
            None => true,
        });
    }
}

fn receipt(key: &str) -> Receipt {
    Receipt { result: json!({ "ok": true }), reference: Some(key.to_owned()), evidence: None }
}

/// One instance's adapter to the far side: `put`, `ask`, `post`, and the register.
pub struct Far {
    /// Whose.
    pub owner: usize,
    /// The far side.
    pub side: FarSide,
}

fn operation(name: &str, effect: EffectKind) -> Operation {
    let any = Arc::new(json!({
        "type": "object", "additionalProperties": true,
    }));
    Operation {
        name: name.to_owned(),
        input: Arc::clone(&any),
        output: any,
        effect,
        deadline: DEADLINE,
        settles_within: SETTLES_WITHIN,
        fact_only: false,
    }
}

impl Adapter for Far {
    const KIND: &'static str = "far";
    type Options = Value;

    fn open(_: Value, _: &Opening) -> Result<Self, OpenError> {
        Ok(Self { owner: 0, side: FarSide::default() })
    }

    fn operations(&self) -> Vec<Operation> {
        vec![
            operation("put", EffectKind::Idempotent),
            operation("ask", EffectKind::Recallable),
            operation("post", EffectKind::Once),
            operation("number", EffectKind::Ledger),
        ]
    }

    async fn call(&self, call: Call<'_>) -> Result<Receipt, Fault> {
        let effect = match call.operation {
            "put" => EffectKind::Idempotent,
            "ask" => EffectKind::Recallable,
            _ => EffectKind::Once,
        };
        let (answer, answered) = oneshot::channel();
        self.side.state().calls.push(Waiting {
            owner: self.owner,
            key: call.step_key.to_string(),
            delivery: call.step_key.delivery,
            ordered: call.order_no.is_some(),
            effect,
            acted: false,
            stopped_at: None,
            answer,
        });
        answered.await.unwrap_or_else(|_| {
            Err(Fault::new(FaultClass::NoAnswer, "SN0798", "the far side hung up"))
        })
    }

    fn ledger_effect(&self, _: &Call<'_>) -> Result<LedgerEffect, Fault> {
        Ok(LedgerEffect::Register(Registration {
            aoo: "sim".to_owned(),
            direction: Direction::Incoming,
            subject: "simulated".to_owned(),
            record: json!({}),
        }))
    }

    fn recall(&self, call: Call<'_>) -> impl Future<Output = Result<Recalled, Fault>> + Send {
        let (answer, answered) = oneshot::channel();
        self.side.state().questions.push(Question { key: call.step_key.to_string(), answer });
        answered.map(|answer| {
            answer.unwrap_or_else(|_| {
                let class = FaultClass::Transient { retry_after: None };
                Err(Fault::new(class, "SN0797", "the far side does not answer questions"))
            })
        })
    }
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "far side of {}", self.owner)
    }
}

/// Deadlines that come when the world says so.
#[derive(Debug)]
pub struct Timers(pub FarSide);

impl Deadlines for Timers {
    fn within<'a>(&'a self, _: Duration, work: BoxFuture<'a, ()>) -> BoxFuture<'a, ()> {
        let (fire, fired) = oneshot::channel();
        self.0.state().timers.push(fire);
        Box::pin(select(work, fired).map(drop))
    }
}
