//! What happens to the records of one consumed partition, decided without IO.
//!
//! [`Partition`] is a state machine: records, outcomes, acknowledgements, rebalances and the time
//! go in through [`Partition::handle`]; what is to be done comes out of [`Partition::poll`]; the
//! next moment it wants to hear of is [`Partition::poll_timeout`]. It knows no runtime, no client
//! library, no clock and no thread, so that it can be simulated by the million and read in one go.
//!
//! | file | what |
//! |---|---|
//! | `partition` | the machine: its state, and how records come in |
//! | `settle`, `revoke`, `history` | the machine: outcomes and acknowledgements, rebalances, offsets that begin anew |
//! | `workers` | the machine: routes that close, and workers that take over from each other |
//! | `dispatch` | the machine: state to actions |
//! | `batch` | the machine: several records for one call, when it starts and what comes of it |
//! | `events` | the inputs and the actions |
//! | `window` | the records not yet done, and the watermark |
//! | `route`, `lanes` | what one route runs next: order, concurrency, attempts |
//! | `staging` | the machine: what is published with a record waits for it |
//! | `letters` | dead letters that wait for their acknowledgement |
//! | `transactions` | what goes into the transactions of a member, and what an abort undoes: a machine of its own |
//! | `commits` | when to commit, and what a failed commit means |
//! | `policy`, `backoff` | what a user may choose |
//! | `flood` | the guard against dead letters by the thousand |
//! | `sabotage`, `simulation` | the proof: random schedules, invariants, faults that must be found |

mod backoff;
mod batch;
mod commits;
mod config;
mod dispatch;
mod events;
mod flood;
mod history;
mod lanes;
mod letters;
mod partition;
mod policy;
mod revoke;
mod route;
mod sabotage;
mod settle;
mod staging;
mod time;
pub(crate) mod transactions;
mod window;
mod workers;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use policy::{Batch, Concurrency, Exhausted, OnUndecodable, OnUnmatched, Retry};

#[cfg(test)]
pub(crate) use config::Marks;
pub(crate) use config::Start;
pub(crate) use config::{CommitMode, PartitionConfig, RouteOptions};
pub(crate) use events::{
    Action, Failure, Heir, Input, Outcome, Plan, Reason, RouteId, Started, Ticket, Worker,
};
pub(crate) use flood::{FloodGuard, FloodOptions};
pub(crate) use partition::Partition;
pub(crate) use sabotage::{Sabotage, chosen as chosen_sabotage};
pub(crate) use time::Time;
