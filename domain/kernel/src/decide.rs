//! Decisions: synchronous, pure, on a state that folding events gave.

use cqrs_es::Aggregate;

use crate::upcast::Upcaster;

/// What came of a command: something to record, or nothing because it was done before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a decision that is dropped was never made"]
pub enum Idempotent<T> {
    /// It was decided now.
    Executed(T),
    /// It was done before; nothing is to be recorded.
    AlreadyDone,
}

impl<T> Idempotent<T> {
    /// What was decided now, if anything.
    pub fn executed(self) -> Option<T> {
        match self {
            Self::Executed(value) => Some(value),
            Self::AlreadyDone => None,
        }
    }
}

/// An aggregate that decides without IO. Facts are looked up first and put into the command; the
/// fold cannot fail.
pub trait Decide:
    Aggregate<Services = (), Command: Clone + Send + Sync, Error: Send + Sync + 'static> + Clone + 'static
{
    /// A snapshot is saved each time so many events have come; 0 for streams that stay short.
    const SNAPSHOT_EVERY: u64 = 0;

    /// How earlier forms of its events are read: a form is current where nothing here leads on from it.
    const UPCASTERS: &'static [Upcaster] = &[];

    /// The events that follow from the command in this state.
    fn decide(&self, command: Self::Command) -> Result<Idempotent<Vec<Self::Event>>, Self::Error>;
}

/// The state that these events lead to, from nothing.
pub fn fold<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> A {
    events.into_iter().fold(A::default(), |mut state, event| {
        state.apply(event);
        state
    })
}

/// Makes a type with `decide`-style inherent functions a cqrs-es [`Aggregate`] and [`Decide`].
///
/// The type has `fn decide_command(&self, Command) -> Result<Idempotent<Vec<Event>>, Error>` and
/// `fn fold_event(&mut self, Event)`; each event has `fn event_type(&self) -> &'static str` and
/// `fn event_version(&self) -> &'static str`. Where events have changed, `upcasters = …` names [`Decide::UPCASTERS`].
#[macro_export]
macro_rules! aggregate {
    ($state:ty, $name:literal, $command:ty, $event:ty, $error:ty) => {
        $crate::aggregate!($state, $name, $command, $event, $error, snapshot_every = 0, upcasters = &[]);
    };
    ($state:ty, $name:literal, $command:ty, $event:ty, $error:ty, snapshot_every = $every:literal) => {
        $crate::aggregate!($state, $name, $command, $event, $error, snapshot_every = $every, upcasters = &[]);
    };
    (
        $state:ty, $name:literal, $command:ty, $event:ty, $error:ty, snapshot_every = $every:literal,
        upcasters = $upcasters:expr
    ) => {
        impl $crate::__cqrs_es::DomainEvent for $event {
            fn event_type(&self) -> String {
                <$event>::event_type(self).to_owned()
            }

            fn event_version(&self) -> String {
                <$event>::event_version(self).to_owned()
            }
        }

        impl $crate::__cqrs_es::Aggregate for $state {
            const TYPE: &'static str = $name;
            type Command = $command;
            type Event = $event;
            type Error = $error;
            type Services = ();

            async fn handle(
                &mut self,
                command: Self::Command,
                (): &Self::Services,
                sink: &$crate::__cqrs_es::event_sink::EventSink<Self>,
            ) -> Result<(), Self::Error> {
                if let $crate::Idempotent::Executed(events) = self.decide_command(command)? {
                    for event in events {
                        sink.write(event, self).await;
                    }
                }
                Ok(())
            }

            fn apply(&mut self, event: Self::Event) {
                self.fold_event(event);
            }
        }

        impl $crate::Decide for $state {
            const SNAPSHOT_EVERY: u64 = $every;
            const UPCASTERS: &'static [$crate::upcast::Upcaster] = $upcasters;

            fn decide(&self, command: Self::Command) -> Result<$crate::Idempotent<Vec<Self::Event>>, Self::Error> {
                self.decide_command(command)
            }
        }
    };
}
