//! A stream of full sets: one answer at once, then one for each change.

use super::{messages::Documents, status};
use crate::workloads::{Caller, Denial, Pulse};
use futures_util::{Stream, StreamExt as _, future::BoxFuture, stream};
use std::pin::Pin;
use tokio::sync::watch;
use tonic::{Response, Status};

/// What tonic sends to the caller.
pub(super) type PushStream<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// Makes an answer: the message, and a tag that differs when it does.
pub(super) trait Answer: Send + Sync + 'static {
    /// The message.
    type Message: Send + 'static;

    /// The full set as it is now. `first` is true for the answer to the call.
    fn answer(&self, first: bool) -> BoxFuture<'_, Result<(Self::Message, Tag), Denial>>;
}

/// Two answers with the same tag are the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Tag {
    /// The bundle documents that are part of the answer.
    pub bundles: Documents,
    /// Serial number or `jti` of each SVID.
    pub svids: Vec<String>,
}

struct State<A> {
    answer: A,
    pulse: watch::Receiver<Pulse>,
    last: Tag,
    ended: bool,
    _caller: Caller,
}

/// Answers the call and keeps the answer up to date.
///
/// A denial before the first answer is the call's status; later ones end the
/// stream.
pub(super) async fn open<A: Answer>(
    caller: Caller,
    answer: A,
) -> Result<Response<PushStream<A::Message>>, Status> {
    // Subscribed before the answer is made: no change falls between.
    let mut pulse = caller.process().pulse();
    pulse.mark_unchanged();
    let (message, last) = answer
        .answer(true)
        .await
        .map_err(|denial| status::of_denial(&denial))?;
    let state = State {
        answer,
        pulse,
        last,
        ended: false,
        _caller: caller,
    };
    let first = stream::once(std::future::ready(Ok(message)));
    let later = stream::unfold(state, |state| Box::pin(next(state)));
    Ok(Response::new(Box::pin(first.chain(later))))
}

/// Waits for a change that makes a difference.
async fn next<A: Answer>(mut state: State<A>) -> Option<(Result<A::Message, Status>, State<A>)> {
    if state.ended {
        return None;
    }
    loop {
        let answered = match wait(&mut state).await {
            Ok(()) => state.answer.answer(false).await,
            Err(denial) => Err(denial),
        };
        match answered {
            Ok((_, tag)) if tag == state.last => {}
            Ok((message, tag)) => {
                state.last = tag;
                return Some((Ok(message), state));
            }
            Err(denial) => {
                state.ended = true;
                return Some((Err(status::of_denial(&denial)), state));
            }
        }
    }
}

/// Waits for the next beat; a denial where the process is over.
async fn wait<A>(state: &mut State<A>) -> Result<(), Denial> {
    // It may have ended while the first answer was made.
    if !state.pulse.borrow().ended && state.pulse.changed().await.is_err() {
        return Err(Denial::ProcessChanged);
    }
    if state.pulse.borrow_and_update().ended {
        return Err(Denial::ProcessChanged);
    }
    Ok(())
}
