//! Accept: a message from outside comes into custody, or its refusal is written down.
//!
//! Invariant: the answer is given after the commit; an answer `New` means that the rows are durable.

use std::sync::Arc;

use snodo_core::{
    adapter::Cursor,
    document::DocumentKey,
    envelope::{IdempotencyKey, Message},
    ids::{Digest, MessageId},
};

use super::{Engine, emission::Prepared};
use crate::{
    faults::{self, CrashPoint},
    ledger::{Accept, Action, CommitError, Outcome, Subscriber},
};

/// A message that passed admission, ready to be taken into custody.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The message under an id of [`Engine::new_message_id`].
    pub message: Arc<Message>,
    /// (party, source, the sender's id).
    pub key: IdempotencyKey,
    /// Digest of type, subject and canonical data.
    pub digest: Digest,
    /// The label under which the source is counted.
    pub source: Subscriber,
    /// Parties to whom it is addressed, beside those that receive its type.
    pub to: Vec<String>,
    /// The documents that it cites.
    pub documents: Vec<DocumentKey>,
    /// Where its source has read up to.
    pub cursor: Option<Cursor>,
}

/// What the sender is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptAnswer {
    /// In custody now.
    New {
        /// Its id.
        id: MessageId,
    },
    /// This key is in custody already.
    Repeated {
        /// The id of the first answer.
        id: MessageId,
        /// Whether it is the same message; another one under the same key is the sender's mistake.
        same_body: bool,
    },
}

impl Engine {
    /// Takes a message into custody and publishes it, as far as this process has room, at once.
    ///
    /// An error means: the sender must ask or send again, under the same key.
    pub async fn accept(&self, admitted: Admitted) -> Result<AcceptAnswer, CommitError> {
        let id = admitted.message.envelope.id;
        let prepared =
            self.prepare(&self.routes(), &admitted.message, &admitted.to, &admitted.documents);
        let action = accept_action(&admitted, &prepared);
        match self.write.submit(vec![action]).await {
            Ok(outcomes) => self.accepted(&admitted, prepared, outcomes),
            Err(_) if faults::off("answer-before-commit") => Ok(AcceptAnswer::New { id }),
            Err(CommitError::NotCommitted(why)) => {
                self.observer.commit_failed("accept", false);
                Err(CommitError::NotCommitted(why))
            }
            Err(unclear) => {
                drop(prepared); // the relay publishes what was written
                self.observer.commit_failed("accept", true);
                self.accepted_after_all(&admitted, unclear).await
            }
        }
    }

    fn accepted(
        &self,
        admitted: &Admitted,
        prepared: Prepared,
        outcomes: Vec<Outcome>,
    ) -> Result<AcceptAnswer, CommitError> {
        faults::crash(CrashPoint::Cp3);
        let id = admitted.message.envelope.id;
        match outcomes.into_iter().next() {
            Some(Outcome::Repeated { id: first, digest }) if first != id => {
                let same_body = digest == admitted.digest;
                Ok(AcceptAnswer::Repeated { id: first, same_body })
            }
            Some(Outcome::Repeated { .. }) => Ok(AcceptAnswer::New { id }),
            Some(Outcome::Accepted { created }) => {
                self.send(prepared, &created);
                Ok(AcceptAnswer::New { id })
            }
            Some(Outcome::Failed(why)) => Err(CommitError::NotCommitted(why)),
            _ => Err(CommitError::Unclear("the ledger reported no outcome".to_owned())),
        }
    }

    /// Reads back by key. Where another message has the key, only the ledger can compare the two.
    async fn accepted_after_all(
        &self,
        admitted: &Admitted,
        unclear: CommitError,
    ) -> Result<AcceptAnswer, CommitError> {
        let id = admitted.message.envelope.id;
        match self.ledger.message_by_key(&admitted.key).await {
            Ok(Some(found)) if found == id => Ok(AcceptAnswer::New { id }),
            Ok(Some(_)) => {
                let prepared = self.prepare(
                    &self.routes(),
                    &admitted.message,
                    &admitted.to,
                    &admitted.documents,
                );
                let action = accept_action(admitted, &prepared);
                let outcomes = self.write.submit(vec![action]).await?;
                self.accepted(admitted, prepared, outcomes)
            }
            Ok(None) | Err(_) => Err(unclear),
        }
    }

    /// Writes down that an identified party's message was refused for its content.
    pub async fn reject(
        &self,
        source: Subscriber,
        key: IdempotencyKey,
        digest: Digest,
        code: &str,
    ) -> Result<(), CommitError> {
        let action = Action::Reject { source, key, digest, code: code.to_owned() };
        self.write.submit(vec![action]).await.map(drop)
    }
}

fn accept_action(admitted: &Admitted, prepared: &Prepared) -> Action {
    Action::Accept(Box::new(Accept {
        message: Arc::clone(&admitted.message),
        key: admitted.key.clone(),
        digest: admitted.digest,
        source: Arc::clone(&admitted.source),
        deliveries: prepared.emission.deliveries.clone(),
        documents: prepared.emission.documents.clone(),
        cursor: admitted.cursor.clone(),
        outdates: prepared.emission.outdates.clone(),
    }))
}
