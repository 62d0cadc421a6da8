//! The one path of a call: resolve, admit, pick, attempt, settle. Each pure decision of it lives in `wharf_core` under the
//! same name; here they are carried out. Nothing here knows HTTP.

pub(crate) mod allowance;
pub(crate) mod answer;
mod attempts;
mod audit;
mod bell;
pub(crate) mod book;
pub(crate) mod call;
pub(crate) mod calls;
pub(crate) mod durable;
mod entered;
pub mod failure;
pub(crate) mod idempotency;
pub(crate) mod refusal;
mod repeat;
pub(crate) mod request;
pub(crate) mod resolved;
pub(crate) mod routing;
pub(crate) mod scope;
mod seat;
mod served;
pub mod spec;
#[cfg(test)]
mod tests;
mod timing;
mod trace;
pub mod view;
mod waiting;

pub use crate::plugin::Ask;
pub use crate::plugin::asks::{Asked, Asks, asks};
pub use audit::ArgumentsView;
pub use book::Wanted;
pub use failure::{Failure, FieldError};
pub use spec::{CallEvent, CallSpec, Edge, Payload, Settled};
pub use view::{AttemptError, AttemptView, CallView};
